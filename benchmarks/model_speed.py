"""Prefill and decoding speed of LongSkywork against stock Llama with the same weights.

    python benchmarks/model_speed.py [--rounds 15] [--prompt 1024] [--new-tokens 64]

The two models take turns, each round in the other order, so that whatever else the machine does hits both; the ratio
of the two medians is printed (1 is equal, below 1 is faster), for plain attention and with a temperature.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

import torch
import transformers
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

from lsw_hf.models import LongSkyworkForCausalLM
from lsw_hf.models.presets import preset_config

SHAPE = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}


def build(slope: float) -> tuple[LongSkyworkForCausalLM, LlamaForCausalLM]:
    """Our model and its stock twin, with equal weights."""
    config = preset_config("tiny", **SHAPE, num_key_value_heads=8, vocab_size=8_000, max_position_embeddings=8_192)
    config.attention_temperature_slope = slope
    torch.manual_seed(0)
    ours = LongSkyworkForCausalLM(config).eval()
    known = {key: value for key, value in config.to_dict().items() if hasattr(LlamaConfig(), key)}
    known = {key: value for key, value in known.items() if key not in ("model_type", "rope_scaling")}
    stock = LlamaForCausalLM(LlamaConfig(**known)).eval()
    stock.load_state_dict(ours.state_dict())
    return ours, stock


@torch.inference_mode()
def prefill(model: torch.nn.Module, ids: torch.Tensor, new_tokens: int) -> None:
    """One forward pass over the prompt."""
    model(ids, logits_to_keep=1)


@torch.inference_mode()
def decode(model: torch.nn.Module, ids: torch.Tensor, new_tokens: int) -> None:
    """Greedy steps after a short prompt."""
    cache = DynamicCache(config=model.config)
    token = model(ids[:, :64], past_key_values=cache, logits_to_keep=1).logits.argmax(-1)
    for _ in range(new_tokens):
        token = model(token, past_key_values=cache).logits.argmax(-1)


def ratio(work: Callable, ours: torch.nn.Module, stock: torch.nn.Module, options: argparse.Namespace) -> float:
    """Median time of ours over median time of the stock model."""
    ids = torch.randint(0, 8_000, (1, options.prompt), generator=torch.Generator().manual_seed(1))
    times: dict[torch.nn.Module, list[float]] = {ours: [], stock: []}
    for turn in range(options.rounds + 2):
        for model in (ours, stock) if turn % 2 else (stock, ours):
            start = time.perf_counter()
            work(model, ids, options.new_tokens)
            times[model].append(time.perf_counter() - start)
    return statistics.median(times[ours][2:]) / statistics.median(times[stock][2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--prompt", type=int, default=1_024, help="tokens of the prefill")
    parser.add_argument("--new-tokens", type=int, default=64)
    options = parser.parse_args()
    figures = {}
    for kind, slope in (("plain", 0.0), ("temperature", 0.1)):
        ours, stock = build(slope)
        for work in (prefill, decode):
            figures[f"{work.__name__}_{kind}_time_over_llama"] = round(ratio(work, ours, stock, options), 4)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()},", end=" ")
    print(f"{torch.get_num_threads()} threads; 8 layers of 512, prompt {options.prompt}, {options.rounds} rounds")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
