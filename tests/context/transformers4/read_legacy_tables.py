"""Prints the rotary tables that the running transformers computes from saved configurations; needs nothing of ours.

python read_legacy_tables.py FOLDER_OF_FOLDERS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, AutoConfig

REFUSALS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)


def on_the_cpu(initializer):
    def initialize(self, *args, **kwargs):
        with torch.device("cpu"):
            initializer(self, *args, **kwargs)

    initialize.on_the_cpu = True
    return initialize


def build(config):
    """The model on `meta`, its rotary tables on the CPU."""
    mapping = MODEL_FOR_CAUSAL_LM_MAPPING if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else MODEL_MAPPING
    model_class = mapping[type(config)]
    for name, value in vars(sys.modules[model_class.__module__]).items():
        if isinstance(value, type) and value is not object and "RotaryEmbedding" in name and "__init__" in vars(value):
            if hasattr(value.__init__, "on_the_cpu"):
                continue
            value.__init__ = on_the_cpu(value.__init__)
    try:
        with torch.device("meta"):
            return model_class(config)
    except NotImplementedError:  # an activation that copies its own numbers
        return model_class(config)


def read(folder):
    try:
        config = AutoConfig.from_pretrained(folder)
        model = build(config)
    except REFUSALS as error:
        return {"refused": f"{type(error).__name__}: {str(error)[:200]}"}
    found = {}
    for name, module in model.named_modules():
        if "RotaryEmbedding" not in type(module).__name__ or "Vision" in type(module).__name__:
            continue
        table, factor = getattr(module, "inv_freq", None), getattr(module, "attention_scaling", 1.0)
        if table is None:  # Phi-3.5-MoE computes its table in the forward pass
            table, factor = module.rope_init_fn(module.config, "cpu")
        found[name] = {
            "inv_freq": table.flatten().tolist(),
            "attention_factor": float(factor),
            "rope_type": getattr(module, "rope_type", "default"),
        }
    lengths = [getattr(config, f"{which}max_position_embeddings", None) for which in ("original_", "")]
    switch = lengths[0] or lengths[1]
    return {"tables": found, "switch": switch, "layer_types": getattr(config, "layer_types", None)}


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    folders = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
    print(json.dumps({folder.name: read(folder) for folder in folders}))
