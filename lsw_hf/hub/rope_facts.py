"""What a config says about its context window, as plain facts for cards and reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..context.architecture.facts import extension_notes
from ..context.architecture.text_part import complete_text
from ..context.transformers4.spelling import legacy_losses
from ..models.rope_longskywork import longrope_attention_factor, yarn_attention_factor

ROPE_DICTIONARY_KEYS = ("rope_type", "rope_theta")


@dataclass(frozen=True)
class RopeFacts:
    """The RoPE numbers of one kind of layer; `None` is a number that the config does not give.

    Args:
        layer_type (`str`, *optional*):
            the kind of layer, where a model has several with numbers of their own.
        rope_type (`str`):
            transformers' name of the scaling, `"default"` for none.
        rope_theta (`float`, *optional*):
            the base.
        factor (`float`, *optional*):
            the scaling factor.
        original_length (`int`, *optional*):
            the window before the extension, in tokens.
        attention_factor (`float`):
            what cosine and sine are multiplied with; derived by the scaling's own formula
            where the config leaves it out, as every reader does.
        context_length (`int`, *optional*):
            the window now, in tokens.
        method (`str`, *optional*):
            the name of the extension, where it was recorded; `"ntk"` and `"abf"` only change
            the base, so the scaling's name does not tell.
    """

    layer_type: str | None
    rope_type: str
    rope_theta: float | None
    factor: float | None
    original_length: int | None
    attention_factor: float
    context_length: int | None
    method: str | None


def rope_facts(config: Any) -> list[RopeFacts]:
    """Return the RoPE facts of a config, one entry for each kind of layer that has its own numbers.

    Args:
        config (`PreTrainedConfig`):
            the config of a causal language model, or of one with a text part.

    Raises:
        ValueError: when the config has no `rope_parameters`.
    """
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    parameters = getattr(text, "rope_parameters", None)
    if not parameters:
        raise ValueError(
            f"{type(text).__name__} has no rope_parameters: it has no rotary positions, or transformers is older than "
            "5. A card describes the RoPE of a model, so give the config of one that has it."
        )
    record = getattr(text, "lsw_context", None) or {}
    if any(key in parameters for key in ROPE_DICTIONARY_KEYS):
        return [_facts(None, parameters, text, record)]
    entries = {name: entry for name, entry in parameters.items() if isinstance(entry, Mapping)}
    return [_facts(name, entry, text, record) for name, entry in entries.items()]


def reader_notes(config: Any) -> list[str]:
    """Return what a reader of the config may not expect, in sentences: what an extension left unchanged, what else it
    changed, and what transformers 4.57 computes differently from the model. Empty if there is nothing to note.
    """
    text = config.get_text_config(decoder=True) if hasattr(config, "get_text_config") else config
    notes = (*extension_notes(text), *legacy_losses(complete_text(text)))
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _facts(layer_type: str | None, entry: Mapping[str, Any], config: Any, record: Mapping[str, Any]) -> RopeFacts:
    rope_type = entry.get("rope_type", "default")
    extended = layer_type is None or rope_type != "default"
    original = entry.get("original_max_position_embeddings")
    if original is None and extended:
        original = record.get("original_max_position_embeddings")
    context_length = getattr(config, "max_position_embeddings", None)
    return RopeFacts(
        layer_type=layer_type,
        rope_type=rope_type,
        rope_theta=entry.get("rope_theta"),
        factor=entry.get("factor"),
        original_length=original,
        attention_factor=_attention_factor(entry, rope_type, original, context_length),
        context_length=context_length,
        method=record.get("method") if extended else None,
    )


def _attention_factor(
    entry: Mapping[str, Any], rope_type: str, original: int | None, context_length: int | None
) -> float:
    written, factor = entry.get("attention_factor"), entry.get("factor")
    if written is not None:
        return float(written)
    if rope_type == "yarn" and factor is not None:
        return yarn_attention_factor(factor, entry.get("mscale"), entry.get("mscale_all_dim"))
    if rope_type == "longrope" and original and context_length:
        return longrope_attention_factor(factor or context_length / original, original)
    return 1.0
