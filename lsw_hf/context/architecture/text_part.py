"""The part of a `config.json` that describes the text model, and what transformers reads there."""

from __future__ import annotations

from typing import Any

from transformers import CONFIG_MAPPING, PreTrainedConfig


def text_chain(raw: dict[str, Any], config: PreTrainedConfig | None) -> list[dict[str, Any]]:
    """Return the dictionaries that lead from the whole file to its text part; changing one changes `raw`.

    Args:
        raw (`dict`):
            Contents of a `config.json`.
        config (`PreTrainedConfig`, *optional*):
            What it was loaded as; without it only the name `text_config` is looked for.

    Returns:
        `list[dict]`: `raw` first and the text part last; `raw` alone for a model of text, and for the flat files of a
        class that has parts (Qwen2-VL).
    """
    chain = [raw]
    for name in ["text_config"] if config is None else _path(config):
        inner = chain[-1].get(name)
        if not isinstance(inner, dict):
            break
        chain.append(inner)
    return chain


def text_fields(raw: dict[str, Any], config: PreTrainedConfig | None) -> dict[str, Any]:
    """Return the dictionary inside `raw` from which the text part of `config` was read."""
    return text_chain(raw, config)[-1]


def config_chain(config: PreTrainedConfig) -> list[PreTrainedConfig]:
    """Return the configurations that lead from `config` to its text part, both included."""
    chain = [config]
    for name in _path(config):
        chain.append(getattr(chain[-1], name))
    return chain


def _path(config: PreTrainedConfig) -> list[str]:
    text = config.get_text_config(decoder=True)

    def walk(part: PreTrainedConfig) -> list[str] | None:
        if part is text:
            return []
        for name, value in vars(part).items():
            found = walk(value) if isinstance(value, PreTrainedConfig) else None
            if found is not None:
                return [name, *found]
        return None

    return walk(config) or []


def config_of(raw: dict[str, Any]) -> PreTrainedConfig | None:
    """Return what transformers reads from a file's contents; `None` for a model with code of its own."""
    try:
        config_class = CONFIG_MAPPING[raw.get("model_type")]
    except KeyError:
        return None
    return config_class.from_dict(_decoded(raw))


def _decoded(value: Any) -> Any:
    """Return a copy with numbers that JSON has no word for, which transformers 5 writes as `{"__float__":
    "Infinity"}`.
    """
    if isinstance(value, dict):
        if set(value) == {"__float__"}:
            return float(value["__float__"])
        return {key: _decoded(inner) for key, inner in value.items()}
    return [_decoded(inner) for inner in value] if isinstance(value, list) else value


def newer_spelling(raw: dict[str, Any], config: PreTrainedConfig) -> dict[str, Any]:
    """Return the text part as it would be read if the file had no `rope_scaling`, to which transformers gives
    priority.

    What the file leaves out (a base, an original length) has the value that the class fills in.
    """
    trial = _decoded(raw)
    text_fields(trial, config).pop("rope_scaling", None)
    return complete_text(type(config).from_dict(trial))


def complete_text(config: PreTrainedConfig) -> dict[str, Any]:
    """Every field of the text part, with the window under the name `max_position_embeddings` as well."""
    text = config.get_text_config(decoder=True)
    return {"max_position_embeddings": getattr(text, "max_position_embeddings", None), **text.to_dict()}


def set_field(fields: dict[str, Any], config: PreTrainedConfig, name: str, value: Any) -> None:
    """Write `name` under the one key that a file uses for it.

    An architecture may have a name of its own (`max_seq_len` of DBRX); transformers reads both. The key that is there
    stays, and of two that contradict each other the class's own.
    """
    own = getattr(config, "attribute_map", {}).get(name, name)
    key = name if name in fields and own not in fields else own
    for other in {name, own} - {key}:
        fields.pop(other, None)
    fields[key] = value
