"""Any causal LM of transformers, made tiny: the same kinds of layers and rotary fields, almost no weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    MllamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 97
LENGTH = 256
"""Window in tokens of a configuration that is made from class defaults."""

SIZES: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "lru_width", "hidden_size_global"), 64),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "swa_num_attention_heads"), 2),
    **dict.fromkeys(("head_dim", "qk_head_dim", "index_head_dim", "swa_head_dim", "attention_head_dim"), 32),
    **dict.fromkeys(
        ("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "rotary_dim", "kv_channels", "query_pre_attn_scalar"),
        16,
    ),
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "o_lora_rank", "gated_norm_rank", "d_rel", "adapter_rank"), 16),
    **dict.fromkeys(("linear_key_head_dim", "linear_value_head_dim", "linear_head_dim"), 16),
    **dict.fromkeys(("router_hidden_size", "hc_lowrank", "loop_gate_rank"), 16),
    **dict.fromkeys(("linear_num_key_heads", "linear_num_value_heads", "linear_num_heads"), 2),
    **dict.fromkeys(("mamba_d_state", "ssm_state_size", "state_size", "laurel_rank", "mamba_dt_rank"), 8),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size", "block_multiple_of"), 16),
    **dict.fromkeys(("mamba_n_heads", "n_mamba_heads", "mamba_num_heads"), 4),
    **dict.fromkeys(("n_groups", "mamba_n_groups", "mamba_ngroups", "o_groups", "index_n_heads"), 2),
    **dict.fromkeys(("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts"), 4),
    **dict.fromkeys(
        ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k", "top_k_experts"), 2
    ),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group", "first_k_dense_replace", "num_dense_layers"), 1),
    **dict.fromkeys(("zero_expert_num", "hidden_size_per_layer_input", "ple_embed_dim"), 4),
    **dict.fromkeys(("num_nextn_predict_layers", "num_mtp_layers"), 0),
    **dict.fromkeys(("mamba_d_head", "mamba_headdim", "mamba_head_dim"), 32),
    "mamba_d_ssm": 128,
    **dict.fromkeys(("ext_pw_out_channel", "depthwise_separable_out_channel", "nemo_conv_channels"), 128),
    **dict.fromkeys(("embed_dim", "out_hidden_size", "num_position_embeddings", "adapter_out_dim"), 64),
    **dict.fromkeys(("num_blocks", "depth", "num_heads"), 2),
    "image_size": 112,
    "crop_size": 112,
    "ngram_vocab_size_base": 50,
}
"""What a size becomes, if it is larger than that, in every configuration."""

WIDTHS = ("intermediate_size", "ffn_hidden_size", "ffn_dim", "intermediate_size_mlp", "feed_forward_size")
LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
HEAD_COUNTS = ("num_key_value_heads", "num_kv_heads", "num_query_groups", "swa_num_key_value_heads", "kv_n_heads")
WINDOWS = ("sliding_window", "attention_chunk_size", "sliding_window_size", "local_attention", "attention_window_size")
DERIVED = ("hybrid_layer_ids", "qk_head_dim", "time_step_limit")
"""Fields that a class computes from others, and one that holds an infinity, which JSON spells its own way."""

LENGTHS = ("max_position_embeddings", "original_max_position_embeddings", "model_max_length", "n_positions")

INDEXER = {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 32}
NOT_A_KIND = ("intermediate_size", "_ids", "_idxs", "moe_layers")
"""Ends of the names of lists that do not tell one kind of layer from another."""

CHANGES: dict[str, dict[str, Any]] = {
    **{key: {"head_dim": 32} for key in ("ministral", "hunyuan_v1_dense", "hunyuan_v1_moe")},
    "bamba": {"attn_layer_indices": [1], "num_hidden_layers": 2},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 10_000.0, "clip_qkv": 8.0}},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "deepseek_v4": {
        "head_dim": 64,
        "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8},
    },
    "dory": {
        "num_hidden_layers": 8,
        "layer_types": ["sliding_attention", "mlp", "full_attention", "mlp"] * 2,
        "n_input_layers": 2,
        "n_recurrent_layers": 4,
        "n_output_layers": 2,
    },
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": {
        "rope_parameters": {
            "indexed_attention": {"rope_type": "default", "rope_theta": 8e7, "partial_rotary_factor": 0.5},
            "sliding_attention": {"rope_type": "default", "rope_theta": 5e4, "partial_rotary_factor": 0.5},
        }
    },
    "dots3_note_vision_encoder": {"adapter_in_dim": 64},
    "dots3_note_audio_encoder": {"adapter_input_size": 64},
    "falcon_h1": {"mamba_d_ssm": 128, "mamba_n_heads": 4, "mamba_d_head": 32},
    "gemma3n_text": {"num_kv_shared_layers": 0, "vocab_size_per_layer_input": 97, "intermediate_size": 32},
    **{key: {"num_kv_shared_layers": 0} for key in ("gemma4_text", "gemma4_unified_text")},
    **{key: {"deepstack_visual_indexes": [0]} for key in ("qwen3_vl", "qwen3_vl_moe")},
    "hrm_text": {"num_layers_per_stack": 1, "H_cycles": 1, "L_cycles": 1, "L_bp_cycles": [1]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "nemotron": {"num_key_value_heads": 2},
    "recurrent_gemma": {"num_hidden_layers": 3},
    "zamba2": {"use_mem_rope": True, "attention_hidden_size": 128, "attention_head_dim": 64},
    "qwen4_exp_text": {**INDEXER, "indexer_budget": 64, "indexer_compress_ratio": 4},
}
"""What a class needs beyond the rules."""


def causal_lm_types() -> list[str]:
    """`model_type` of every configuration for which the installed transformers has a causal LM."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def default_config(model_type: str) -> PreTrainedConfig:
    """The class defaults of `model_type`, tiny, its window scaled to `LENGTH` and its local windows with it."""
    raw = CONFIG_MAPPING[model_type]().to_dict()
    return config_from(tiny_fields(raw, scaled=True))


def config_from(raw: dict[str, Any]) -> PreTrainedConfig:
    """The configuration object of a `config.json`'s content."""
    fields = {key: value for key, value in copy.deepcopy(raw).items() if key not in DERIVED}
    return CONFIG_MAPPING[fields.pop("model_type")].from_dict(fields)


def tiny_fields(raw: dict[str, Any], *, scaled: bool) -> dict[str, Any]:
    """
    The content of a `config.json` with almost no weights.

    Args:
        raw (`dict`):
            Every field of the configuration.
        scaled (`bool`):
            Also scale window and local windows, so that the window is `LENGTH` tokens; else lengths stay.
    """
    tiny = {key: copy.deepcopy(value) for key, value in raw.items() if key not in DERIVED}
    _keep_one_layer_of_each_kind(tiny)
    for key, value in list(tiny.items()):
        if isinstance(value, dict) and "model_type" in value:
            tiny[key] = tiny_fields(value, scaled=scaled)
        else:
            tiny[key] = _tiny_value(raw, key, value)
    for layer in (tiny.get("per_layer_config") or {}).values():
        layer |= {key: _tiny_value(raw | layer, key, value) for key, value in layer.items()}
    _fit_sections(raw, tiny)
    if scaled:
        _scale_lengths(tiny)
    if _factor_count(raw):
        _keep_head_size(raw, tiny)
    if raw.get("head_dim") and raw.get("head_dim") == raw.get("qk_rope_head_dim"):
        tiny["head_dim"] = tiny["qk_rope_head_dim"]
    return tiny | CHANGES.get(tiny.get("model_type", ""), {})


def tiny_model(config: PreTrainedConfig, seed: int = 7) -> PreTrainedModel:
    """A model of `config` whose matrices are drawn from one seed and are large enough for positions to matter."""
    torch.manual_seed(seed)
    config = copy.deepcopy(config)
    auto = AutoModelForCausalLM if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING else AutoModelForImageTextToText
    if config.model_type == "mllama_text_model":  # a causal LM that no Auto class knows by its configuration
        model = MllamaForCausalLM._from_config(config, attn_implementation="eager").eval()
    else:
        model = auto.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1 or not weight.any():  # gates and temperatures that start at zero hide what is behind
                weight.copy_(torch.empty_like(weight).normal_(0.0, 0.1, generator=generator))
    model.tie_weights()
    return model


def _tiny_value(raw: dict[str, Any], key: str, value: Any) -> Any:
    if key.endswith(("_token_id", "_token_index")):
        return _tiny_token(key, value)
    if key == "num_attention_heads_per_layer" and value:
        return [2] * len(value)
    if key == "initializer_range":
        return 0.2
    if not _is_int(value):
        return value
    if key in SIZES:
        return min(value, SIZES[key])
    if key in HEAD_COUNTS:
        return _tiny_kv_heads(raw, value)
    if key.endswith(WIDTHS):
        return min(value, 32)
    return min(value, VOCABULARY) if "vocab" in key else value


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tiny_kv_heads(raw: dict[str, Any], value: int) -> int:
    heads = raw.get("num_attention_heads") or raw.get("n_head") or raw.get("n_heads") or value
    return 2 if value >= heads else 1


def _tiny_token(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return [min(token, 2) for token in value]
    named = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return min(value, named.get(key, 3)) if _is_int(value) and value >= 0 else value


def _keep_one_layer_of_each_kind(tiny: dict[str, Any]) -> None:
    """Cuts every list by layer to the first layer of each kind, two at least, in the order of the model."""
    count = next((key for key in LAYER_COUNTS if _is_int(tiny.get(key))), None)
    if count is None:
        return
    number = tiny[count]
    lists = {key: list(value) for key, value in tiny.items() if isinstance(value, list) and len(value) == number > 2}
    special = tiny.get("per_layer_config") or {}
    kinds: dict[str, list[int]] = {}
    for layer in range(number):
        told = [repr(lists[key][layer]) for key in lists if not key.endswith(NOT_A_KIND)]
        kinds.setdefault(repr([*told, special.get(f"{layer:02d}")]), []).append(layer)
    if len(kinds) > 8:
        kinds = dict(list(kinds.items())[:8])
    kept = sorted(layers[0] for layers in kinds.values())
    spare = [layer for layer in range(number) if layer not in kept]
    kept = sorted([*kept, *spare[: max(0, 2 - len(kept))]])
    tiny |= {key: [values[layer] for layer in kept] for key, values in lists.items()}
    if tiny.get("moe_layers"):
        tiny["moe_layers"] = list(range(len(kept)))
    if special:
        again = {f"{new:02d}": special[f"{old:02d}"] for new, old in enumerate(kept) if f"{old:02d}" in special}
        tiny["per_layer_config"] = again
    tiny[count] = len(kept)


def _factor_count(fields: dict[str, Any]) -> int:
    """Pairs that longrope's lists name, 0 without them."""
    return max((len(entry.get("short_factor") or ()) for entry in _rope_entries(fields)), default=0)


def _keep_head_size(raw: dict[str, Any], tiny: dict[str, Any]) -> None:
    """Longrope names a factor a pair, so its heads keep their size."""
    if raw.get("qk_rope_head_dim"):
        tiny["qk_rope_head_dim"] = raw["qk_rope_head_dim"]
        return
    size = raw.get("head_dim") or raw["hidden_size"] // raw["num_attention_heads"]
    tiny["hidden_size"] = size * tiny["num_attention_heads"]
    if raw.get("head_dim"):
        tiny["head_dim"] = size


def _fit_sections(raw: dict[str, Any], tiny: dict[str, Any]) -> None:
    """Makes the sections of a multimodal rotary embedding add up to the pairs of the smaller head."""
    for entry in _rope_entries(tiny):
        sections = entry.get("mrope_section")
        if not sections:
            continue
        size = tiny.get("head_dim") or tiny["hidden_size"] // tiny["num_attention_heads"]
        pairs = int(size * _partial(tiny, entry)) // 2
        small = [max(1, value * pairs // sum(sections)) for value in sections]
        small[0] += pairs - sum(small)
        entry["mrope_section"] = small


def _partial(tiny: dict[str, Any], entry: dict[str, Any]) -> float:
    return entry.get("partial_rotary_factor") or tiny.get("partial_rotary_factor") or 1.0


def _rope_entries(fields: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name in ("rope_parameters", "rope_scaling"):
        entry = fields.get(name)
        if isinstance(entry, dict):
            found += [entry, *(value for value in entry.values() if isinstance(value, dict))]
    return found


def _scale_lengths(tiny: dict[str, Any]) -> None:
    window = tiny.get("max_position_embeddings") or tiny.get("model_max_length") or LENGTH
    if not _is_int(window):
        return
    for key in (*WINDOWS, *LENGTHS):
        if _is_int(tiny.get(key)) and tiny[key] > 0:
            lowest, highest = (8, 16) if key in WINDOWS else (32, LENGTH)
            tiny[key] = min(max(lowest, tiny[key] * LENGTH // window), highest)
    for entry in _rope_entries(tiny):
        if "original_max_position_embeddings" in entry:
            entry["original_max_position_embeddings"] = max(
                32, entry["original_max_position_embeddings"] * LENGTH // window
            )
