"""`rope_parameters` in the fields of transformers 4, and what its classes would compute otherwise."""

from __future__ import annotations

import copy
import math
from typing import Any

from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from ...models.rope_longskywork import longrope_attention_factor
from .classes import ELSEWHERE, LEGACY_CLASSES, PLAIN, SCALED_TYPES, WITHOUT_TEXT_TABLES, LegacyClass

LEGACY_KEYS = (
    "rope_theta",
    "rope_scaling",
    "rotary_emb_base",
    "rope_local_base_freq",
    "global_rope_theta",
    "local_rope_theta",
)
"""Fields of old files that say what `rope_parameters` says."""

GLOBAL, LOCAL = "full_attention", "sliding_attention"
OUTSIDE = ("rope_theta", "partial_rotary_factor")
"""Keys of `rope_parameters` that transformers 4 keeps next to `rope_scaling`."""


def legacy_rope_fields(config: dict[str, Any]) -> dict[str, Any]:
    """Fields that make transformers 4 (and every reader of its files) see the numbers of `rope_parameters`.

    Files written by transformers 5 contain `rope_parameters` alone; transformers 4.57 silently reads such a file
    as plain RoPE with base 10,000. With the fields returned here both read the same numbers, and transformers 5, which
    gives the legacy spelling priority, still ends with an equal dictionary. Where the class of transformers 4 cannot
    express them, the fields are those that it can, and [`legacy_losses`] says what is lost.

    Args:
        config (`dict`):
            Contents of a `config.json` (of the text part, for a multimodal model).

    Returns:
        `dict`: fields to set next to `rope_parameters`; empty if there is no legacy spelling for this architecture.
    """
    parameters = config.get("rope_parameters")
    if not parameters:
        return {}
    model_type = config.get("model_type")
    spelling = LEGACY_CLASSES.get(str(model_type), PLAIN)
    if is_nested(parameters):
        return _nested_fields(spelling, parameters)
    if "rope_theta" not in parameters:
        return {}  # a dictionary that transformers has not completed
    fields = _base_fields(spelling, parameters) | {"rope_scaling": _scaling(spelling, parameters)}
    partial = parameters.get("partial_rotary_factor")
    if partial is not None:
        fields |= dict.fromkeys(spelling.fraction, partial)
    if model_type in ("qwen2_moe", "qwen3_moe") and "num_local_experts" in config:
        # not rotary, but without its old name transformers 4 builds 128 experts and cannot load the weights
        fields["num_experts"] = config["num_local_experts"]
    if spelling.keys:
        fields["rope_scaling"] = _few_keys(spelling, config)
    return fields | _switch(parameters)


def legacy_losses(config: dict[str, Any]) -> list[str]:
    """Return what transformers 4.57 does with a file that [`legacy_rope_fields`] completed where it does not read its
    numbers.

    Args:
        config (`dict`):
            Contents of a `config.json` (of the text part, for a multimodal model), as the class reads it.

    Returns:
        `list[str]`: in words; empty if 4.57 computes the same tables, or if the class is no part of transformers.
    """
    parameters = config.get("rope_parameters")
    if not parameters:
        return []
    model_type = str(config.get("model_type"))
    spelling = LEGACY_CLASSES.get(model_type)
    who = f"{model_type!r} of transformers 4.57"
    if model_type in ELSEWHERE:
        return [f"{who} reads its base from {ELSEWHERE[model_type]} and no scaling"]
    if spelling is None:
        known = model_type not in CONFIG_MAPPING_NAMES or model_type in WITHOUT_TEXT_TABLES
        if is_nested(parameters) or not known:
            return [f"transformers 4.57 does not know {model_type!r} and cannot load this model"]
        return []
    losses = _nested_losses(spelling, parameters) if is_nested(parameters) else _flat_losses(spelling, config)
    layers = {*(config.get("layer_types") or ()), *(config.get("layers_block_type") or ())}
    if spelling.layer_words and layers - set(spelling.layer_words):
        words = " and ".join(spelling.layer_words)
        losses.append(f"stops with an error: it calls layers {words}, and transformers 5 has saved other words")
    losses += [f"does not scale its attention by {key}" for key in spelling.ignored if parameters.get(key)]
    if spelling.local_mask and config.get("sliding_window"):
        losses.append(f"attends to {config['sliding_window']} tokens (sliding_window), and transformers 5 to all")
    return [f"{who} {loss}" for loss in losses]


def is_nested(parameters: dict[str, Any]) -> bool:
    """Whether `rope_parameters` has one dictionary for each layer type."""
    return any(isinstance(value, dict) for value in parameters.values())


def _base_fields(spelling: LegacyClass, parameters: dict[str, Any]) -> dict[str, Any]:
    return dict.fromkeys((spelling.base, *spelling.other_names), parameters["rope_theta"])


def _scaling(spelling: LegacyClass, parameters: dict[str, Any]) -> dict[str, Any] | None:
    rope_type = parameters.get("rope_type", "default")
    # `type` is of an older spelling; some classes of transformers 4 prefer it, and not all know its words
    scaling = {key: copy.copy(value) for key, value in parameters.items() if key not in (*OUTSIDE, "type")}
    if rope_type != "default" or spelling.needs_scaling:
        return scaling
    # sections and other keys that a class reads stay, except where any dictionary means a scaling
    further = set(scaling) - {"rope_type"}
    scaling.setdefault("rope_type", rope_type)
    return scaling if further and spelling.scaled_types == SCALED_TYPES else None


def _few_keys(spelling: LegacyClass, config: dict[str, Any]) -> dict[str, Any] | None:
    """Return the dictionary of a class that accepts certain keys only.

    Where these say less than `rope_parameters` the full dictionary is written: transformers 4 then stops with an
    error, which is better than other numbers.
    """
    parameters = config["rope_parameters"]
    scaling = _scaling(spelling, parameters)
    if scaling is None or _flat_losses(spelling, config):
        return scaling
    few = {"type": parameters["rope_type"], **{key: scaling[key] for key in spelling.keys if key != "type"}}
    return few | ({"factor": float(few["factor"])} if "factor" in few else {})


def _switch(parameters: dict[str, Any]) -> dict[str, Any]:
    """Where longrope of transformers 4 looks for the length at which it changes from short to long factors."""
    if parameters.get("rope_type") != "longrope" or not parameters.get("original_max_position_embeddings"):
        return {}
    static = parameters.get("short_factor") == parameters.get("long_factor")
    if static and parameters.get("attention_factor") is not None:
        return {}
    return {"original_max_position_embeddings": parameters["original_max_position_embeddings"]}


def _nested_fields(spelling: LegacyClass, parameters: dict[str, Any]) -> dict[str, Any]:
    kinds = _kinds(parameters)
    if spelling.local is None or kinds is None:
        return {}
    reaching, local = kinds
    fields = _base_fields(spelling, reaching)
    if spelling.local_base is not None:
        fields[spelling.local_base] = local["rope_theta"]
    partial = reaching.get("partial_rotary_factor")
    if partial is not None and partial == local.get("partial_rotary_factor"):
        fields |= dict.fromkeys(spelling.fraction, partial)
    if spelling.local in ("own base", "same base") or _alike(reaching, local):
        # elsewhere one scaling belongs to both kinds of layers, for transformers 5 too
        fields["rope_scaling"] = _scaling(spelling, reaching)
    return fields | _switch(reaching)


def _kinds(parameters: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the numbers of full and of sliding layers; `None` where transformers has not completed both."""
    reaching, local = parameters.get(GLOBAL) or {}, parameters.get(LOCAL) or {}
    return (reaching, local) if "rope_theta" in reaching and "rope_theta" in local else None


def _alike(reaching: dict[str, Any], local: dict[str, Any]) -> bool:
    """Whether two layer types differ in their base at most."""
    first, second = ({key: entry[key] for key in entry if key != "rope_theta"} for entry in (reaching, local))
    return first == second


def _nested_losses(spelling: LegacyClass, parameters: dict[str, Any]) -> list[str]:
    kinds = _kinds(parameters)
    if spelling.local is None or kinds is None:
        return ["has one set of rotary numbers for all layers, so none is written: it computes plain RoPE"]
    reaching, local = kinds
    bases = f"{reaching['rope_theta']:g} and {local['rope_theta']:g}"
    losses = _flat_losses(spelling, {"rope_parameters": reaching})
    if spelling.local in ("own base", "same base") and local.get("rope_type", "default") != "default":
        losses.append("computes unscaled tables for sliding layers")
    if spelling.local in ("same base", "same table") and local["rope_theta"] != reaching["rope_theta"]:
        losses.append(f"has one base for all layers: it computes sliding layers with {reaching['rope_theta']:g} too")
    if spelling.local in ("same scaling", "same table") and not _alike(reaching, local):
        losses.append(f"scales all layers or none, so no scaling is written: it computes plain RoPE (bases {bases})")
    if reaching.get("partial_rotary_factor", 1.0) != local.get("partial_rotary_factor", 1.0):
        losses.append("rotates the same part of a head in all layers")
    return losses


def _flat_losses(spelling: LegacyClass, config: dict[str, Any]) -> list[str]:
    parameters = config["rope_parameters"]
    rope_type = parameters.get("rope_type", "default")
    if rope_type == "default":
        return []
    if rope_type not in spelling.scaled_types and spelling.otherwise == "ignores":
        return [f"does not read rope_scaling: it computes plain RoPE with base {parameters['rope_theta']:g}"]
    if rope_type not in spelling.scaled_types:
        return [f"stops with an error: of the scalings it knows {', '.join(spelling.scaled_types)}, not {rope_type}"]
    if rope_type == "dynamic" and spelling.dynamic_needs and not parameters.get(spelling.dynamic_needs):
        return [f"stops with an error: for dynamic scaling it needs {spelling.dynamic_needs}"]
    known = {"rope_type", "original_max_position_embeddings", "attention_factor", *OUTSIDE, *spelling.keys}
    if spelling.keys and rope_type != "longrope" and set(parameters) - known:
        return [f"stops with an error: its rope_scaling has {', '.join(spelling.keys)} and nothing else"]
    return _attention_losses(spelling, config) if rope_type == "longrope" else []


def _attention_losses(spelling: LegacyClass, config: dict[str, Any]) -> list[str]:
    parameters, window = config["rope_parameters"], config.get("max_position_embeddings")
    original = config.get("original_max_position_embeddings") or parameters.get("original_max_position_embeddings")
    declared = parameters.get("attention_factor")
    if not (window and original) or (declared is not None and not spelling.keys):
        return []
    derived = longrope_attention_factor(window / original, original)
    used = declared or longrope_attention_factor(parameters.get("factor") or window / original, original)
    if math.isclose(derived, used, rel_tol=1e-12):
        return []
    what = "and stops with an error instead" if spelling.keys else "and computes another model"
    return [f"derives the attention factor {derived:.6g} from the lengths, not {used:.6g}, {what}"]
