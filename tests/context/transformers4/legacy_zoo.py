"""A tiny configuration of every class that transformers 4.57 has too, under every scaling that it has formulas for."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING, PreTrainedConfig, PreTrainedModel

from lsw_hf.context.live_rotary import RotaryState, rebuilt, rotary_modules, rotary_states

MODEL_TYPES_457 = frozenset(json.loads((Path(__file__).parent / "model_types_457.json").read_text()))
"""Every `model_type` of transformers 4.57.3."""

BASE, LOCAL_BASE, WINDOW, ORIGINAL = 54_321.0, 777.0, 512, 128
SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 16,
    "max_position_embeddings": WINDOW,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_local_experts": 4,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "sliding_window": 64,
}
TWO_KINDS = {"layer_types": ["sliding_attention", "full_attention"] * 2}
CHANGES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "dots1": {"n_shared_experts": 1},
    "falcon_h1": {"mamba_d_ssm": 128},
    "gemma3_text": TWO_KINDS,
    "gemma3n_text": {**TWO_KINDS, "hidden_size_per_layer_input": 16, "num_kv_shared_layers": 0},
    "granitemoehybrid": {"position_embedding_type": "rope", "layer_types": ["attention", "mamba"] * 2},
    "kyutai_speech_to_text": {"audio_pad_token_id": 3},
    "zamba2": {"use_mem_rope": True},
}
SIZES_TO_LEAVE = {"zamba2": ("num_hidden_layers",)}
FACTORS = {"factor": 4.0, "original_max_position_embeddings": ORIGINAL}
SCALINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 4.0},
    "yarn": {**FACTORS, "attention_factor": 1.3, "beta_fast": 16.0},
    "llama3": {**FACTORS, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "longrope": {**FACTORS, "attention_factor": 1.2},
    "longrope derived": {**FACTORS},
}


def tiny(model_type: str, **changes: Any) -> PreTrainedConfig:
    """A small configuration; sizes that the class does not know are left out."""
    config_class = CONFIG_MAPPING[model_type]
    known = config_class.__dataclass_fields__
    names = {**config_class.attribute_map}
    left = SIZES_TO_LEAVE.get(model_type, ())
    sizes = {names.get(key, key): value for key, value in SIZES.items() if key not in left}
    sizes = {key: value for key, value in sizes.items() if key in known}
    return config_class(**copy.deepcopy({**sizes, **CHANGES.get(model_type, {}), **changes}))


def scaled(
    model_type: str, scaling: str, *, local_base: float = LOCAL_BASE, pairs: int | None = None, **changes: Any
) -> PreTrainedConfig:
    """
    A small configuration with an odd base and one of `SCALINGS`; sliding layers stay unscaled.

    Longrope has one factor for each of `pairs`; without that number the model is built and its table counted.
    """
    plain = tiny(model_type)
    nested = isinstance(plain.rope_parameters.get("full_attention"), dict)
    present = plain.rope_parameters["full_attention"] if nested else plain.rope_parameters
    kept = {key: value for key, value in present.items() if key == "partial_rotary_factor"}
    rope_type = scaling.split()[0]
    parameters = {"rope_type": rope_type, "rope_theta": BASE, **kept, **SCALINGS[scaling]}
    if rope_type == "longrope":
        pairs = pairs or len(tables(plain)[0].inv_freq.flatten())
        parameters["short_factor"] = [1.0 + 0.1 * pair for pair in range(pairs)]
        parameters["long_factor"] = [1.0 + 0.3 * pair for pair in range(pairs)]
    if nested:
        local = {"rope_type": "default", "rope_theta": local_base}
        parameters = {"full_attention": parameters, "sliding_attention": local}
    if "original_max_position_embeddings" in type(plain).__dataclass_fields__:
        changes = {"original_max_position_embeddings": ORIGINAL, **changes}
    return tiny(model_type, rope_parameters=parameters, **changes)


def skeleton(config: PreTrainedConfig) -> PreTrainedModel:
    """The model without memory."""
    mapping = MODEL_FOR_CAUSAL_LM_MAPPING if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else MODEL_MAPPING
    with torch.device("meta"):
        return mapping[type(config)](config)


def tables(config: PreTrainedConfig) -> list[RotaryState]:
    """What this transformers computes from `config`."""
    return [
        state
        for name, module in rotary_modules(skeleton(config)).items()
        for state in rotary_states(rebuilt(module, config), name)
    ]
