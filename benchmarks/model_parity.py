"""How far LongSkywork's logits are from what they should be, for each RoPE type.

    python benchmarks/model_parity.py [--output-dir benchmarks/results]

Each column is the largest difference between logits relative to the largest logit, in float32, on a tiny random model:
against a reference forward in float64 that knows no transformers (it stands in `tests/models/conftest.py`), whole and
token by token with a cache; read in pieces, left-padded in a batch, and by each attention backend against reading the
row alone at once with `eager`; and against stock Llama with the same weights, logits and gradients. "equal" means bit
for bit. Prints a Markdown table and as its last line one JSON object; with `--output-dir` both are written there too.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import warnings
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from benchmarks.figures import benchmark_parser, compact_table, finish, parse
from lsw_hf.evaluation.reading.caches import cache_argument
from lsw_hf.models import LongSkyworkConfig, LongSkyworkForCausalLM

ROOT = Path(__file__).parents[1]
NUM_TOKENS = 41
TEMPERATURE = {"attention_temperature_slope": 0.7, "attention_temperature_length": 9}
Cell = float | str


def load_reference() -> Any:
    """The module of the tests that holds shapes, RoPE parameters and the float64 forward."""
    spec = importlib.util.spec_from_file_location("reference", ROOT / "tests" / "models" / "conftest.py")
    if spec is None or spec.loader is None:
        raise ImportError("tests/models/conftest.py is missing; run this from a checkout of the repository.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def relative(got: torch.Tensor, truth: torch.Tensor) -> Cell:
    """Largest difference relative to the largest value, or "equal" where every bit is."""
    if got.dtype == truth.dtype and torch.equal(got, truth):
        return "equal"
    return ((got.double() - truth.double()).abs().max() / truth.abs().max()).item()


def against_llama(model: LongSkyworkForCausalLM, shape: dict, ids: torch.Tensor) -> Cell:
    """Logits and gradients of stock Llama with the same weights."""
    twin = LlamaForCausalLM(LlamaConfig(**shape, rope_parameters=dict(model.config.rope_parameters))).eval()
    twin.load_state_dict(model.state_dict(), strict=True)
    outputs = []
    for each in (model, twin):
        each.zero_grad()
        output = each(ids, labels=ids, use_cache=False)
        output.loss.backward()
        outputs.append(torch.cat([output.logits.detach().flatten(), *(p.grad.flatten() for p in each.parameters())]))
    return relative(*outputs)


@torch.no_grad()
def row(reference: Any, rope: dict, extra: dict) -> dict[str, Cell]:
    """All columns for one RoPE type."""
    torch.manual_seed(11)
    model = LongSkyworkForCausalLM(LongSkyworkConfig(**reference.SHAPE, rope_parameters=dict(rope), **extra)).eval()
    ids = torch.randint(1, reference.SHAPE["vocab_size"], (1, NUM_TOKENS), generator=torch.Generator().manual_seed(5))

    slope, start = extra.get("attention_temperature_slope", 0.0), extra.get("attention_temperature_length", 1)

    def temper(position: int) -> float:
        return 1 + slope * max(0.0, math.log((position + 1) / start))

    truth = reference.oracle_forward(model.state_dict(), rope, ids[0].tolist(), list(range(NUM_TOKENS)), temper)[None]
    model.set_attn_implementation("eager")
    whole = model(ids).logits
    cells: dict[str, Cell] = {"float64 reference": relative(whole, truth)}
    for title, size in (("token by token", 1), ("in pieces", 7)):
        cache = DynamicCache(config=model.config)
        parts = [model(part, **{cache_argument(model.forward): cache}).logits for part in ids.split(size, dim=1)]
        cells[title] = relative(torch.cat(parts, dim=1), truth if size == 1 else whole)
    padded = torch.cat([torch.zeros(1, 6, dtype=torch.long), ids], dim=1)
    longer = torch.randint(1, reference.SHAPE["vocab_size"], padded.shape, generator=torch.Generator().manual_seed(6))
    mask = torch.ones(2, padded.shape[1], dtype=torch.long)
    mask[0, :6] = 0
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    batch = model(torch.cat([padded, longer]), attention_mask=mask, position_ids=positions).logits
    cells["left-padded"] = relative(batch[:1, 6:], whole)
    for backend in ("sdpa", "flex_attention"):
        model.set_attn_implementation(backend)
        cells[backend.partition("_")[0]] = relative(model(ids).logits, whole)
    model.set_attn_implementation("eager")
    with torch.enable_grad():
        model.set_attn_implementation("sdpa")
        cells["stock Llama"] = against_llama(model, reference.SHAPE, ids) if not extra else "has none"
    return cells


def main() -> None:
    parser = benchmark_parser(__doc__)
    options = parse(parser)
    warnings.filterwarnings("ignore")  # torch 2.13 and transformers 5.23 about each other, when flex is compiled
    reference = load_reference()
    rows = {name: row(reference, rope, {}) for name, rope in reference.ROPES.items()}
    rows["yarn + temperature"] = row(reference, reference.ROPES["yarn"], TEMPERATURE)
    titles = list(rows["default"])
    shown = [
        [name, *(f"{cell:.0e}" if isinstance(cell, float) else cell for cell in cells.values())]
        for name, cells in rows.items()
    ]
    page = compact_table(["RoPE", *titles], shown) + "\n"
    numbers = [cell for cells in rows.values() for cell in cells.values() if isinstance(cell, float)]
    figures = {"cells": sum(map(len, rows.values())), "largest_relative_difference": max(numbers), "rows": rows}
    finish("model_parity", page, figures, options.output_dir)


if __name__ == "__main__":
    main()
