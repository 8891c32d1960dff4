"""The scaling that a model's makers left in force, and which methods go on from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .architecture import SCALING_KEYS, RopeLayout
from .composition import raised_base
from .origin import STATIC_LENGTH_TYPES
from .request import AUTO, ExtensionRequest

BASE_METHODS = ("ntk", "abf")
"""Methods that change the base alone."""


def effective_entry(layout: RopeLayout) -> dict[str, Any]:
    """
    What the makers' rotary dictionary computes within the window, written out.

    `dynamic` is plain RoPE there; Hunyuan's `alpha` is a larger base. Factors and lengths that a class would derive
    are there. Whatever no rule knows is kept.
    """
    origin = layout.origin
    entry = {key: value for key, value in origin.parameters.items() if value is not None}
    rope_type = entry.setdefault("rope_type", "default")
    if rope_type == "dynamic":
        theta = entry["rope_theta"]
        if entry.get("alpha") and layout.config.model_type.startswith("hunyuan"):
            theta = raised_base("ntk", theta, entry["alpha"], layout.rotary_dim, None)
        kept = {key: value for key, value in entry.items() if key not in (*SCALING_KEYS, "alpha")}
        return {"rope_type": "default", "rope_theta": theta, **kept}
    if rope_type in STATIC_LENGTH_TYPES:
        entry["original_max_position_embeddings"] = origin.original_length
        entry.setdefault("factor", origin.window / origin.original_length)
    if rope_type == "longrope":
        # of the two factors of a pair the slower one: an extension is static, and no input may turn faster than it did
        lists = zip(entry["short_factor"], entry["long_factor"], strict=True)
        longer = origin.window > origin.original_length  # else no input within the window meets the long factors
        entry["long_factor"] = [max(pair) if longer else pair[0] for pair in lists]
    if layout.layer_type is not None and rope_type == "yarn":
        # transformers reads `truncate` beside the entries of the layer types, not inside
        entry["truncate"] = layout.config.rope_parameters.get("truncate", True)
    return entry


def entry_in_force(layout: RopeLayout) -> dict[str, Any]:
    """The entry in force now, as transformers reads it."""
    entry = {key: value for key, value in layout.parameters.items() if value is not None}
    if layout.layer_type is not None and entry.get("rope_type") == "yarn":
        entry["truncate"] = layout.config.rope_parameters.get("truncate", True)
    return entry


def resolved(layout: RopeLayout, request: ExtensionRequest) -> ExtensionRequest:
    """`request` with `"auto"` replaced: the type in force, else `"yarn"`; `"none"` where only local layers rotate."""
    if request.method != AUTO:
        return request
    return replace(request, method=preferred_method(layout))


def preferred_method(layout: RopeLayout) -> str:
    """The method that `"auto"` stands for."""
    if layout.local_reason is not None:
        return "none"
    in_force = layout.origin.parameters.get("rope_type", "default")
    if in_force == "dynamic" and "alpha" in layout.origin.parameters:
        return "ntk"
    if in_force in ("linear", "yarn", "llama3", "longrope"):
        return str(in_force)
    return "yarn" if holds_method(layout, "yarn") else "ntk"


def holds_method(layout: RopeLayout, method: str) -> bool:
    """Whether the configuration class of `layout` can hold what `method` writes, perhaps written as `longrope`."""
    if layout.origin.parameters.get("rope_type") == "proportional":
        return method in ("none", "linear", *BASE_METHODS)
    written = {"ntk": "default", "abf": "default"}.get(method, method)
    return method == "none" or written in layout.rope_types or "longrope" in layout.rope_types
