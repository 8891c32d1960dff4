"""Reads saved models for the table of classes, in whatever transformers runs this file.

Prints its version, then for each folder named on a line of its input one JSON object: the largest difference between
the logits it computes and the stored ones, relative to the largest logit; or why it refused; or that it does not know
the class. Imports nothing of the package, which older interpreters lack.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    StopIteration,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""Whatever a call may end with: the table reports it, and goes on."""


def logits_of(model: transformers.PreTrainedModel, row: dict[str, torch.Tensor]) -> torch.Tensor:
    """The logits of one row of tokens at explicit positions, with a mask, so that skips are not document ends."""
    mask = torch.ones_like(row["input_ids"])
    with torch.no_grad():
        return model(**row, attention_mask=mask, use_cache=False).logits


def load(folder: Path) -> transformers.PreTrainedModel | None:
    """The model of a folder; `None` where this transformers has no class for it."""
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    auto = getattr(transformers, raw["architectures"][0], None)
    if raw["model_type"] in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        auto = auto or AutoModelForCausalLM
    if auto is None or raw["model_type"] not in CONFIG_MAPPING:
        return None
    config = AutoConfig.from_pretrained(folder)
    return auto.from_pretrained(folder, config=config, attn_implementation="eager", dtype=torch.float32).eval()


def read_folder(folder: Path) -> dict[str, object]:
    """What this transformers makes of one folder."""
    stored = torch.load(folder / "expected.pt")
    try:
        model = load(folder)
        if model is None:
            return {"unknown": True}
        logits = logits_of(model, stored["row"])
    except FAULTS as error:
        return {"refused": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    if logits.shape != stored["logits"].shape:
        return {"difference": float("inf")}
    difference = (logits - stored["logits"]).abs().max() / stored["logits"].abs().max()
    return {"difference": float(difference) if torch.isfinite(difference) else float("inf")}


def main() -> int:
    """Runs the command line."""
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    print(transformers.__version__, flush=True)
    for line in sys.stdin:
        print(json.dumps(read_folder(Path(line.strip()))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
