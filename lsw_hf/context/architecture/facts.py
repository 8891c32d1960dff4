"""What beyond RoPE decides how well a model extends: facts about one model, without a verdict."""

from __future__ import annotations

from transformers import PreTrainedConfig

from .layers import attention_layers, shared_table
from .layout import RopeLayout, layer_config
from .origin import RECORD_KEY

QK_NORM_TYPES = frozenset(
    """
    afmoe apertus apertus1p5_text beam doge dory dots1 exaone4 exaone_moe flex_olmo flint gemma3_text gemma3n_text
    gemma4_text gemma4_unified_text hunyuan_v1_dense hunyuan_v1_moe hy_v3 kolibri1 laguna lara_mini lfm2 lfm2_moe lfm3
    mellum minimax_m2 minimax_m3_vl_text nanochat olmo2 olmo3 olmo_hybrid olmoe qwen3 qwen3_5_moe_text qwen3_5_text
    qwen3_moe qwen3_next qwen4_exp_text zaya
    """.split()
)
"""Model types whose attention normalizes queries and keys, as far as transformers 5.24 has them."""

QK_NORM_FIELDS = ("use_qk_norm", "qk_layernorm", "use_qk_layernorm", "qk_norm")
"""Fields by which other classes switch such norms on or off; where one is there, it decides."""


def beyond_rope(layout: RopeLayout) -> tuple[str, ...]:
    """Facts that the long-context quality of otherwise equal models was found to depend on (OlmPool, April 2026).

    Args:
        layout ([`RopeLayout`]):
            The model.

    Returns:
        `tuple[str, ...]`: sentences without a full stop; a fact that the configuration does not state says so.
    """
    shared = shared_table(layout.config)
    facts = (_heads(layout), _norms(layout), _local_share(layout), _pretraining(layout))
    return facts if shared is None else (*facts, shared)


def extension_notes(config: PreTrainedConfig) -> list[str]:
    """Return what an extension of ours left as it was, or could not leave as it was.

    Args:
        config (`PreTrainedConfig`):
            Text configuration.

    Returns:
        `list[str]`: sentences without a full stop; empty for a model that we did not extend.
    """
    record = getattr(config, RECORD_KEY, None)
    if not isinstance(record, dict):
        return []
    if record.get("method") == "none":
        reason = record.get("reason")
        return [] if reason is None else [f"only the window grew, and the rotary embedding is as it was: {reason}"]
    shared = shared_table(config)
    return [] if shared is None else [shared]


def _heads(layout: RopeLayout) -> str:
    config = layer_config(layout.config, layout.layer_type)
    heads = getattr(config, "num_attention_heads", None)
    keys = getattr(config, "num_key_value_heads", None) or heads
    if not isinstance(heads, int) or not isinstance(keys, int):
        return "key-value heads: the configuration does not tell"
    return f"key-value heads: {keys} for {heads} query heads"


def _norms(layout: RopeLayout) -> str:
    config = layout.config
    for name in QK_NORM_FIELDS:
        if hasattr(config, name):
            return f"norms of queries and keys: {'yes' if getattr(config, name) else 'no'} ({name})"
    if config.model_type in QK_NORM_TYPES:
        return "norms of queries and keys: yes"
    return "norms of queries and keys: none that the configuration mentions"


def _local_share(layout: RopeLayout) -> str:
    layers = attention_layers(layout.config)
    local = [layer for layer in layers if layer.is_local(layout.origin.window)]
    still = sum(not layer.rotates for layer in layers)
    if not layers:
        return "attention layers: the configuration does not tell"
    seen = f" of {max(layer.window or 0 for layer in local):,} tokens" if local else ""
    return f"attention layers: {len(layers)}, {len(local)} local{seen}, {still} without positions"


def _pretraining(layout: RopeLayout) -> str:
    origin = layout.origin
    if origin.original_length == origin.window:
        return f"pretraining length: {origin.window:,} tokens, as far as the configuration tells"
    return f"pretraining length: {origin.original_length:,} tokens, scaled by its makers to {origin.window:,}"
