"""Published shapes as configs, and what a shape costs in memory before anything is built."""

from dataclasses import dataclass
from typing import Any

import torch

from .configuration_longskywork import LongSkyworkConfig

_SKYWORK_13B: dict[str, Any] = {
    # Skywork-13B report (2310.19341), table 1, and the released config.json; 65,536 entries less 17 reserved ones
    "vocab_size": 65_519,
    "hidden_size": 4_608,
    "intermediate_size": 12_288,
    "num_hidden_layers": 52,
    "num_attention_heads": 36,
    "num_key_value_heads": 36,
    "max_position_embeddings": 4_096,
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.01,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}

PRESETS: dict[str, dict[str, Any]] = {
    "skywork-13b": _SKYWORK_13B,
    "longskywork-13b": _SKYWORK_13B
    | {
        # LongSkywork (2406.00605) names 200,000 tokens and NTK-aware scaling, not the base. This base is what the
        # formula gives for that ratio, 10,000 * (200,000 / 4,096)^(128 / 126), rounded up: our choice.
        "max_position_embeddings": 200_000,
        "rope_parameters": {"rope_type": "default", "rope_theta": 520_000.0},
    },
    # Small enough to learn a look-up task on a laptop in a minute; the shape is our choice.
    "tiny": {
        "vocab_size": 512,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    },
}


def preset_config(name: str, **changes: Any) -> LongSkyworkConfig:
    """Return the config of a published shape.

    Args:
        name (`str`):
            `"skywork-13b"`, `"longskywork-13b"` or `"tiny"`.
        changes: Any field of [`LongSkyworkConfig`], given instead of the preset's.

    Returns:
        [`LongSkyworkConfig`]

    Raises:
        ValueError: when no preset has that name.
    """
    if name not in PRESETS:
        raise ValueError(f"Unknown preset {name!r}; there are {', '.join(PRESETS)}.")
    fields = PRESETS[name] | changes
    return LongSkyworkConfig(**fields | {"rope_parameters": dict(fields["rope_parameters"])})


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a shape takes at one length; [`estimate_memory`] makes it.

    Attributes:
        parameters (`int`):
            Number of weights; a tied head counts once.
        weights (`int`):
            Bytes of the weights.
        kv_cache (`int`):
            Bytes of keys and values of every layer for every token, unquantised.
        logits (`int`):
            Bytes of the logits of every position in the model's dtype. A loss that needs them in float32
            beside these takes twice as many again for bfloat16.
        checkpoints (`int`):
            Bytes of the layer inputs that gradient checkpointing keeps for the backward pass.
    """

    parameters: int
    weights: int
    kv_cache: int
    logits: int
    checkpoints: int

    def __str__(self) -> str:
        gibibytes = {name: getattr(self, name) / 2**30 for name in ("weights", "kv_cache", "logits", "checkpoints")}
        return f"{self.parameters:,} parameters; " + ", ".join(f"{name} {n:.1f} GiB" for name, n in gibibytes.items())


def estimate_memory(
    config: LongSkyworkConfig, context_length: int, batch_size: int = 1, dtype: torch.dtype = torch.bfloat16
) -> MemoryEstimate:
    """Return what a model of this shape allocates for `batch_size` rows of `context_length` tokens.

    Counts what grows with the model or the length and can be known from the shape. Not counted: optimizer states and
    gradients (for AdamW in float32, 16 bytes a parameter with the master weights), the intermediate tensors of the
    layer being computed, and what the allocator wastes.

    Args:
        config ([`LongSkyworkConfig`]):
            Or any config with Llama's fields.
        context_length (`int`):
            Tokens a row, prompt and answer together.
        batch_size (`int`, *optional*, defaults to 1):
            Rows.
        dtype (`torch.dtype`, *optional*, defaults to `torch.bfloat16`):
            Of weights, cache and activations alike.

    Returns:
        [`MemoryEstimate`]

    Raises:
        ValueError: when a count is below 1.
    """
    for name, count in (("context_length", context_length), ("batch_size", batch_size)):
        if count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1.")
    hidden, head_dim, layers = config.hidden_size, config.head_dim, config.num_hidden_layers
    queries, keys = config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim
    attention = hidden * (queries + 2 * keys) + queries * hidden
    if config.attention_bias:
        attention += queries + 2 * keys + hidden
    mlp = 3 * hidden * config.intermediate_size
    if config.mlp_bias:
        mlp += 2 * config.intermediate_size + hidden
    embeddings = config.vocab_size * hidden * (1 if config.tie_word_embeddings else 2)
    parameters = layers * (attention + mlp + 2 * hidden) + hidden + embeddings
    tokens, size = batch_size * context_length, dtype.itemsize
    return MemoryEstimate(
        parameters=parameters,
        weights=parameters * size,
        kv_cache=2 * layers * tokens * keys * size,
        logits=tokens * config.vocab_size * size,
        checkpoints=layers * tokens * hidden * size,
    )
