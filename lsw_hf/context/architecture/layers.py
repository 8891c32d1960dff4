"""Which attention layers of a model rotate, and which of them see the whole context: from the configuration alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

WINDOW_FIELDS = {
    "sliding_attention": "sliding_window",
    "hybrid_sliding": "sliding_window",
    "reference_sliding_attention": "sliding_window",
    "chunked_attention": "attention_chunk_size",
}
"""Kinds of local layers, and the field that says how many tokens they see."""

NOT_ATTENTION = ("linear_attention", "conv", "moe")
"""Kinds of layers without softmax attention: what they carry along has no positions to rotate."""

ONLY_LOCAL_ROTATE = ("cohere2", "cohere2_moe", "afmoe", "flint", "lara_mini")
"""Architectures of transformers whose layers rotate if they are local, and have no positions if they are not."""

ONLY_LOCAL_ROTATE_BESIDE_GLOBAL = ("exaone4", "exaone4_5_text", "exaone4_5", "exaone_moe", "kolibri1")
"""The same, but with `sliding_window=None` every layer is global and rotates."""

WINDOW_WITHOUT_KINDS = ("minimax",)
"""Architectures that list kinds of layers and give every attention layer the sliding window all the same."""

IGNORE_WINDOW = ("moshi",)
"""Architectures whose configuration has a sliding window that their attention does not look at."""


@dataclass(frozen=True)
class AttentionLayer:
    """One layer with softmax attention.

    Args:
        index (`int`):
            Its place among all layers, from 0.
        kind (`str`):
            Its layer type in transformers' words.
        rotates (`bool`):
            Whether its queries and keys are rotated.
        window (`int`, *optional*):
            Tokens it sees, itself included; `None` is the whole context.
    """

    index: int
    kind: str
    rotates: bool
    window: int | None

    def is_local(self, length: int) -> bool:
        """Whether it would not see everything once a text is longer than `length` tokens."""
        return self.window is not None and self.window <= length


def attention_layers(config: PreTrainedConfig) -> list[AttentionLayer]:
    """Distinguish the attention layers of a text configuration.

    Args:
        config (`PreTrainedConfig`):
            Text configuration of a causal language model of transformers.

    Returns:
        `list[AttentionLayer]`: in order; layers without softmax attention are left out.
    """
    return list(_layers(config))


def local_reason(config: PreTrainedConfig, window: int) -> str | None:
    """Why no scaling helps, if every layer that rotates is local; `None` if some layer that rotates sees everything.

    Args:
        config (`PreTrainedConfig`):
            Text configuration.
        window (`int`):
            Tokens the model was made for: a layer that sees more than these is not local.

    Returns:
        `str`, *optional*: a sentence for people.
    """
    layers = attention_layers(config)
    rotating = [layer for layer in layers if layer.rotates]
    if not rotating or not all(layer.is_local(window) for layer in rotating):
        return None
    seen = max(layer.window or 0 for layer in rotating)
    others = len(layers) - len(rotating)
    if others:
        return (
            f"only {len(rotating)} of the {len(layers)} attention layers rotate, and these see {seen} tokens however "
            "long the text is; the others have no positions to scale"
        )
    return (
        f"every layer sees {seen} tokens (sliding_window or attention_chunk_size) however long the text is, so no "
        "pair ever turns further; what is further away is reached through several layers only, unless the window of "
        "the layers is lifted first"
    )


def shared_table(config: PreTrainedConfig) -> str | None:
    """Return that local and global layers share one rotary table, so that no method can scale the global ones alone.

    Args:
        config (`PreTrainedConfig`):
            Text configuration.

    Returns:
        `str`, *optional*: a sentence for people; `None` if they do not.
    """
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    length = getattr(config, "max_position_embeddings", None)
    if any(isinstance(value, dict) for value in rope.values()) or not isinstance(length, int):
        return None
    rotating = [layer for layer in attention_layers(config) if layer.rotates]
    local = [layer for layer in rotating if layer.window is not None and layer.window < length]
    if not local or len(local) == len(rotating):
        return None
    return (
        f"one rotary table: {len(local)} local layers share it with {len(rotating) - len(local)} global ones, so a "
        "scaling slows them as well"
    )


def _layers(config: PreTrainedConfig) -> Iterator[AttentionLayer]:
    count = getattr(config, "num_hidden_layers", 0) or 0
    uniform = _uniform_kind(config)
    kinds = getattr(config, "layer_types", None) or [uniform] * count
    if config.model_type in WINDOW_WITHOUT_KINDS:
        kinds = [uniform if kind == "full_attention" else kind for kind in kinds]
    for index, kind in enumerate(kinds):
        if kind in NOT_ATTENTION:
            continue
        window = getattr(config, WINDOW_FIELDS[kind], None) if kind in WINDOW_FIELDS else None
        yield AttentionLayer(index, kind, _rotates(config, index, kind), window)


def _uniform_kind(config: PreTrainedConfig) -> str:
    """Return the kind of every layer of a class that does not list them."""
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and config.model_type not in IGNORE_WINDOW:
        return "sliding_attention"
    return "full_attention"


def _rotates(config: PreTrainedConfig, index: int, kind: str) -> bool:
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if kind in rope:  # one entry for each kind, `None` for a kind without positions
        return rope[kind] is not None
    if config.model_type == "granitemoehybrid" and config.position_embedding_type != "rope":
        return False
    if getattr(config, "alibi", False):
        return False
    for name in ("no_rope_layers", "layer_rope_theta"):  # 1, or a base, where a layer rotates; 0 where it does not
        marks = getattr(config, name, None)
        if marks:
            return bool(marks[index])
    if config.model_type in ONLY_LOCAL_ROTATE:
        return kind in WINDOW_FIELDS or _forced(config, index)
    if config.model_type in ONLY_LOCAL_ROTATE_BESIDE_GLOBAL:
        return getattr(config, "sliding_window", None) is None or kind in WINDOW_FIELDS
    return bool(rope.get("rope_theta") or any(isinstance(value, dict) for value in rope.values()))


def _forced(config: PreTrainedConfig, index: int) -> bool:
    """Whether a global layer rotates all the same: the dense ones at the start of Cohere 2's mixtures of experts."""
    dense = getattr(config, "mlp_layer_types", None) or ()
    return getattr(config, "prefix_dense_sliding_window_pattern", 0) == 1 and dense[index : index + 1] == ["dense"]
