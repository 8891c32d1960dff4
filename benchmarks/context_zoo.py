"""One tiny random configuration for each architecture that the context tests and the context matrix name."""

from __future__ import annotations

import copy
from collections.abc import Callable

from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
)

from lsw_hf.context.architecture.layout import find_layout
from lsw_hf.context.composition import entry_table, factors_of
from lsw_hf.context.existing_scaling import effective_entry

ORIGINAL_LENGTH = 64
"""Tokens of every window before anybody scaled it."""


def rising_factors(config: PreTrainedConfig) -> list[float]:
    """Factors for `longrope` that stretch what is in force further with every pair; the fastest pair stays."""
    layout = find_layout(copy.deepcopy(config))
    start = effective_entry(layout)
    table, _ = entry_table(start, layout.rotary_dim, layout.origin.window)
    factors = factors_of(table, start["rope_theta"])
    return [factor * (1.0 + 0.7 * index) for index, factor in enumerate(factors)]


SIZES = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": ORIGINAL_LENGTH,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def _gqa(**changes: object) -> dict:
    return {**SIZES, "num_key_value_heads": 1, **changes}


def llama31() -> PreTrainedConfig:
    """Already scaled by its makers, like Llama 3.1: 64 tokens at pretraining, 512 in the configuration."""
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": ORIGINAL_LENGTH,
    }
    return LlamaConfig(**_gqa(max_position_embeddings=512), rope_parameters=scaling)


def phi3() -> PreTrainedConfig:
    """Phi-3's long variant: longrope with two sets of factors, half of each head rotated, 64 tokens made 128."""
    scaling = {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "partial_rotary_factor": 0.5,
        "short_factor": [1.0, 1.05, 1.1, 1.2],
        "long_factor": [1.0, 1.3, 1.6, 2.1],
        "original_max_position_embeddings": ORIGINAL_LENGTH,
    }
    return Phi3Config(
        **_gqa(max_position_embeddings=2 * ORIGINAL_LENGTH),
        original_max_position_embeddings=ORIGINAL_LENGTH,
        rope_parameters=scaling,
    )


def longskywork() -> PreTrainedConfig:
    """Our own class."""
    from lsw_hf.models import LongSkyworkConfig

    return LongSkyworkConfig(**_gqa())


ARCHITECTURES: dict[str, Callable[[], PreTrainedConfig]] = {
    "llama": lambda: LlamaConfig(**_gqa()),
    "llama31": llama31,
    "mistral": lambda: MistralConfig(**_gqa(), sliding_window=None),
    "qwen2": lambda: Qwen2Config(**_gqa()),
    "qwen3": lambda: Qwen3Config(**_gqa(head_dim=24)),
    "gemma2": lambda: Gemma2Config(**_gqa(head_dim=24), sliding_window=32, query_pre_attn_scalar=24),
    "gemma3": lambda: Gemma3TextConfig(
        **_gqa(head_dim=24),
        sliding_window=32,
        layer_types=["sliding_attention", "full_attention"],
        query_pre_attn_scalar=24,
    ),
    "phi3": phi3,
    "gpt_neox": lambda: GPTNeoXConfig(**SIZES, rotary_pct=0.25),
    "mixtral": lambda: MixtralConfig(**_gqa(), num_local_experts=3),
    "qwen2_moe": lambda: Qwen2MoeConfig(
        **_gqa(), num_experts=3, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=24
    ),
    "qwen3_moe": lambda: Qwen3MoeConfig(
        **_gqa(head_dim=24), num_experts=3, num_experts_per_tok=2, moe_intermediate_size=24
    ),
    "longskywork": longskywork,
}
"""Name -> maker of a fresh configuration. Odd sizes on purpose: 3 heads of 16 or 24."""
