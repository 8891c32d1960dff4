"""Where an extension starts: the window and the rotary parameters that the makers left, before any of ours."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedConfig

RECORD_KEY = "lsw_context"
"""Key under which an extended `config.json` remembers where it started."""

SHORTEST_PRETRAINING = 2048
"""Tokens; models with rotary embeddings of which we know were pretrained at no fewer."""

STATIC_LENGTH_TYPES = ("yarn", "llama3", "longrope")
"""Rope types that say the length before their makers scaled them; the others are counted from the window."""


@dataclass(frozen=True)
class Origin:
    """The model before any extension of ours.

    Args:
        original_length (`int`):
            Length in tokens before any scaling at all, as far as the configuration tells.
        window (`int`):
            Tokens that the scaling in force was made for; every factor counts from here.
        parameters (`dict`):
            The rotary dictionary in force then, as it was.
        recorded (`bool`):
            Whether this was read from the record of an extension.
    """

    original_length: int
    window: int
    parameters: dict[str, Any]
    recorded: bool = False


def find_origin(config: PreTrainedConfig, entry: dict[str, Any], given: int | None) -> Origin:
    """Read where an extension of `config` starts.

    Args:
        config (`PreTrainedConfig`):
            The text configuration.
        entry (`dict`):
            The rotary dictionary in force for the layers that reach the whole context.
        given (`int`, *optional*):
            The caller's `original_context_length`.

    Raises:
        ValueError: `given` is out of range or contradicts the configuration, or the record was edited.
        TypeError: `given` is not an int.
    """
    _check_given_length(config, given)
    record = getattr(config, RECORD_KEY, None)
    if record is None:
        return _makers_origin(config, entry, given)
    edited = edited_record(config)
    if edited is not None:
        raise ValueError(f"{edited}. Undo the edit, or extend the original model.")
    length, parameters = record["original_max_position_embeddings"], copy.deepcopy(record["original_rope_parameters"])
    if given is not None and given != length:
        raise ValueError(
            f"original_context_length={given} contradicts the recorded original length {length} of this extended "
            "configuration. Leave the argument out."
        )
    if "window" in record:
        return Origin(length, record["window"], parameters, recorded=True)
    if parameters.get("rope_type", "default") == "default":
        return Origin(length, length, parameters, recorded=True)
    # written before the window was recorded: what is in force now is the only start that is certain
    return _makers_origin(config, entry, given)


def doubtful_window(config: PreTrainedConfig, origin: Origin, entry: dict[str, Any]) -> str | None:
    """Return that the window may be the one *before* linear scaling, which older documentation of transformers asked
    to leave.

    Args:
        config (`PreTrainedConfig`):
            The text configuration.
        origin ([`Origin`]):
            What was read from it.
        entry (`dict`):
            The rotary dictionary in force.

    Returns:
        `str`, *optional*: both readings and what to do, where a window that was scaled would have been pretrained at
        fewer than `SHORTEST_PRETRAINING` tokens (our choice) and nothing else tells; `None` elsewhere.
    """
    window, factor = config.max_position_embeddings, entry.get("factor") or 1.0
    told = origin.recorded or origin.original_length != window or origin.window != window
    if entry.get("rope_type") != "linear" or factor <= 1.0 or told or window / factor >= SHORTEST_PRETRAINING:
        return None
    return (
        f"its linear factor {factor:g} is taken to be in the window of {window} tokens already, which would then have "
        f"been {window / factor:g} at pretraining; if it was pretrained at {window} tokens, and scaled to "
        f"{int(window * factor)}, pass original_context_length={window} (--original-context-length {window})"
    )


def edited_record(config: PreTrainedConfig) -> str | None:
    """Return what is wrong with the record of an extended configuration, in words; `None` if nothing is or it has
    none.
    """
    record = getattr(config, RECORD_KEY, None)
    if record is None:
        return None
    needed = {
        "max_position_embeddings": int,
        "original_max_position_embeddings": int,
        "original_rope_parameters": dict,
        "method": str,
    }
    if isinstance(record, dict) and "window" in record:
        needed["window"] = int
    broken = not isinstance(record, dict) or [key for key, kind in needed.items() if type(record.get(key)) is not kind]
    if broken:
        found = f"lacks {', '.join(broken)}" if isinstance(broken, list) else f"is {record!r}"
        return f"the record `{RECORD_KEY}` of this configuration {found}, so nothing says where its extension started"
    wrong = [key for key, kind in needed.items() if kind is int and record[key] < 2]
    wrong += [] if "rope_theta" in record["original_rope_parameters"] else ["original_rope_parameters"]
    if wrong:
        return f"the record `{RECORD_KEY}` of this configuration has {wrong[0]}={record[wrong[0]]!r}"
    if record["max_position_embeddings"] != config.max_position_embeddings:
        return (
            f"this configuration was extended to {record['max_position_embeddings']} tokens and edited afterwards to "
            f"max_position_embeddings={config.max_position_embeddings}"
        )
    return None


def _check_given_length(config: PreTrainedConfig, given: int | None) -> None:
    if given is None:
        return
    if isinstance(given, bool) or not isinstance(given, int):
        raise TypeError(f"original_context_length must be an int (tokens), got {given!r}.")
    window = getattr(config, "max_position_embeddings", None)
    if given < 2 or (isinstance(window, int) and given > window):
        raise ValueError(
            f"original_context_length={given} must lie between 2 and the model's window of {window} tokens: it is the "
            "length the weights were pretrained at, before any extension. Leave it out if you do not know it."
        )


def _makers_origin(config: PreTrainedConfig, entry: dict[str, Any], given: int | None) -> Origin:
    rope_type = entry.get("rope_type", "default")
    maximum, kept = config.max_position_embeddings, copy.deepcopy(entry)
    if rope_type == "linear":
        # Vicuna's files keep the window before scaling here, and the one after it there; of others the caller may know
        scaled = int(maximum * float(entry["factor"])) if given == maximum else 0
        window = max(maximum, getattr(config, "max_sequence_length", None) or 0, scaled)
        return Origin(given or maximum, window, kept)
    if rope_type not in STATIC_LENGTH_TYPES:
        return Origin(given or maximum, given or maximum, kept)
    declared, factor = _declared_length(config, entry), float(entry.get("factor") or 1.0)
    length = int(given or declared)

    # YaRN's factor says what it was made for, also where the window was left as it was (Qwen's cards); the factors of
    # the other types say more than their models were trained at (Llama 3.2), unless nothing else does
    def made_for(length: int) -> int:
        return max(maximum, int(length * factor) if rope_type == "yarn" or maximum <= length else 0)

    if given is not None and given != declared and not length_is_open(config, entry):
        raise ValueError(
            f"original_context_length={given} contradicts this configuration, which says "
            f"original_max_position_embeddings={declared}. Leave the argument out: every method builds on the "
            f"{rope_type!r} scaling in force, which was made for {made_for(declared)} tokens."
        )
    return Origin(length, made_for(length), kept)


def _declared_length(config: PreTrainedConfig, entry: dict[str, Any]) -> int:
    declared = getattr(config, "original_max_position_embeddings", None)
    return int(declared or entry.get("original_max_position_embeddings") or config.max_position_embeddings)


def length_is_open(config: PreTrainedConfig, entry: dict[str, Any]) -> bool:
    """Whether the caller may say the original length of a scaling that has one: transformers fills a missing one with
    the window, so that it is the makers' word, or nobody's.
    """
    if entry.get("rope_type") not in STATIC_LENGTH_TYPES:
        return False
    return _declared_length(config, entry) == config.max_position_embeddings and (entry.get("factor") or 1.0) > 1.0
