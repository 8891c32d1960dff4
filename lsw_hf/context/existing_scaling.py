"""The scaling that a model already has, and which methods build on it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from .architecture.layout import SCALING_KEYS, RopeLayout
from .architecture.origin import RECORD_KEY, STATIC_LENGTH_TYPES
from .composition import YARN_TURNS, entry_table, raised_base
from .request import AUTO, ExtensionRequest

BASE_METHODS = ("ntk", "abf")
"""Methods that change the base alone."""

REPEATED_METHODS = ("linear", "yarn", "llama3", *BASE_METHODS)
"""Methods that an extended model is extended further by, unless another one is asked for."""


def effective_entry(layout: RopeLayout) -> dict[str, Any]:
    """Return what the makers' rotary dictionary computes within the window, written out.

    `dynamic` is plain RoPE there; Hunyuan's `alpha` is a larger base. Factors and lengths that a class would derive
    are there. Whatever no rule knows is kept.
    """
    origin = layout.origin
    entry = {key: value for key, value in origin.parameters.items() if value is not None}
    rope_type = entry.setdefault("rope_type", "default")
    if "type" in entry:
        entry["type"] = rope_type  # an older spelling next to the newer one, which counts
    if rope_type == "dynamic":
        theta = entry["rope_theta"]
        if has_fixed_alpha(layout):
            theta = raised_base("ntk", theta, entry.pop("alpha"), layout.rotary_dim, None)
        kept = {key: value for key, value in entry.items() if key not in SCALING_KEYS}
        return {"rope_type": "default", "rope_theta": theta, **kept}
    if rope_type in STATIC_LENGTH_TYPES:
        entry["original_max_position_embeddings"] = origin.original_length
        entry.setdefault("factor", origin.window / origin.original_length)
    if rope_type == "longrope":
        # of the two factors of a pair the slower one: an extension is static, and no input may turn faster than it did
        lists = zip(entry["short_factor"], entry["long_factor"], strict=True)
        longer = origin.window > origin.original_length  # else no input within the window meets the long factors
        entry["long_factor"] = [max(pair) if longer else pair[0] for pair in lists]
    return _as_read(layout, entry)


def current_entry(layout: RopeLayout) -> dict[str, Any]:
    """Return the rotary dictionary in force now, extensions of ours included, as transformers reads it within the
    window.
    """
    if layout.parameters.get("rope_type") == "dynamic":  # which no extension writes: it is the makers'
        return effective_entry(layout)
    return _as_read(layout, {key: value for key, value in layout.parameters.items() if value is not None})


def current_factor(entry: dict[str, Any]) -> float:
    """Return the factor of a rotary dictionary; 1 where it has none, or a type that reads none (`default` with a
    factor).
    """
    return 1.0 if entry.get("rope_type", "default") == "default" else float(entry.get("factor") or 1.0)


def in_words(entry: dict[str, Any]) -> str:
    """Return a rotary dictionary as messages call it."""
    rope_type = entry.get("rope_type", "default")
    if rope_type == "default":
        return f"plain RoPE, base {entry['rope_theta']:.6g}"
    factor = f", factor {entry['factor']:g}" if current_factor(entry) != 1.0 else ""
    return f"{rope_type}, base {entry['rope_theta']:.6g}{factor}"


def has_fixed_alpha(layout: RopeLayout) -> bool:
    """Whether the type `dynamic` in force is Hunyuan's, which multiplies the base by a power of a fixed `alpha`."""
    return layout.config.model_type.startswith("hunyuan") and bool(layout.origin.parameters.get("alpha"))


def stretch(layout: RopeLayout, context_length: int) -> float:
    """How far a target in tokens is beyond the window that the existing scaling was made for; at least 1."""
    return max(1.0, context_length / layout.origin.window)


def resolved(layout: RopeLayout, request: ExtensionRequest) -> ExtensionRequest:
    """`request` with the method that is meant.

    `"auto"` becomes [`preferred_method`]. Within the window that a scaling in force was made for, a method of another
    type has nothing to do, and becomes `"none"`.
    """
    method = preferred_method(layout) if request.method == AUTO else request.method
    in_force = layout.origin.parameters.get("rope_type", "default")
    numbers = (request.rope_theta, request.factor, request.attention_factor, request.rope_factors)
    idle = request.context_length <= layout.origin.window and all(number is None for number in numbers)
    if idle and in_force not in ("default", "dynamic", method):
        method = "none"
    return replace(request, method=method)


def preferred_method(layout: RopeLayout) -> str:
    """Return what `"auto"` means: the method of an earlier extension of ours, the existing type where the makers
    scaled the model, `"none"` where only local layers rotate, else `"yarn"`, or `"ntk"` where YaRN cannot be written
    or would change no pair.
    """
    if layout.local_reason is not None:
        return "none"
    if layout.origin.recorded:
        earlier = getattr(layout.config, RECORD_KEY)["method"]
        if earlier in REPEATED_METHODS:
            return str(earlier)
    start = effective_entry(layout)
    if start["rope_type"] in ("linear", "yarn", "llama3", "longrope"):
        return str(start["rope_type"])
    if has_fixed_alpha(layout) or not supports_method(layout, "yarn"):
        return "ntk"
    table, _ = entry_table(start, layout.rotary_dim, layout.origin.window)
    slowest_turns = layout.origin.window * float(table[table > 0].min()) / (2 * math.pi)
    return "yarn" if slowest_turns < YARN_TURNS[1] else "ntk"


def _as_read(layout: RopeLayout, entry: dict[str, Any]) -> dict[str, Any]:
    if layout.layer_type is not None and entry.get("rope_type") == "yarn":
        # transformers reads `truncate` next to the entries of the layer types, not inside
        entry["truncate"] = layout.config.rope_parameters.get("truncate", True)
    return entry


def supports_method(layout: RopeLayout, method: str) -> bool:
    """Whether the configuration class of `layout` can express what `method` writes, perhaps written as `longrope`."""
    if layout.origin.parameters.get("rope_type") == "proportional":
        return method in ("none", "linear", *BASE_METHODS)
    written = {"ntk": "default", "abf": "default"}.get(method, method)
    return method == "none" or written in layout.rope_types or "longrope" in layout.rope_types
