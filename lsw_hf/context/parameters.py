"""The complete rotary dictionary of each extension method, on top of the existing scaling."""

from __future__ import annotations

from typing import Any

from ..models.rope_longskywork import longrope_attention_factor, yarn_attention_factor
from .architecture.layout import SCALING_KEYS, RopeLayout
from .composition import checked_factors, entry_table, factors_of, raised_base, stretched
from .existing_scaling import BASE_METHODS, current_factor, effective_entry, resolved, stretch, supports_method
from .guarantees import check_invariant, check_nested_longrope, check_range, check_window, misfit
from .request import ExtensionRequest

NEEDS_FACTORS = (
    "method 'longrope' needs rope_factors, one per rotated pair of dimensions. Find them with `search_rope_factors`, "
    "or use 'yarn'."
)


def extended_parameters(layout: RopeLayout, request: ExtensionRequest) -> dict[str, Any]:
    """Return the complete rotary dictionary for `request`, on top of what was in force before any extension of ours.

    Returns:
        `dict`: rope type, base, and everything the type needs, nothing left for a loader to fill in.

    Raises:
        ValueError: the target is below what the model already has, the method does not fit the model or what is in
            force, some pair would turn faster than it does, or nothing would reach further.
    """
    request = resolved(layout, request)
    check_window(layout, request.context_length)
    refusal = misfit(layout, request.method)
    if refusal is not None:
        raise ValueError(refusal)
    if request.method == "none":
        return _unchanged(layout)
    if request.attention_factor is not None and "long_mscale" in layout.origin.parameters:
        raise ValueError(
            f"{layout.config.model_type!r} multiplies cosine and sine by its own long_mscale and reads no "
            "attention_factor. Leave it out."
        )
    parameters = _composed(layout, request)
    if layout.layer_type is not None and parameters["rope_type"] == "longrope":
        check_nested_longrope()
    check_range(layout, parameters)
    if parameters["rope_type"] not in layout.rope_types:
        if not supports_method(layout, request.method):
            raise ValueError(
                f"{layout.config.model_type!r} configurations accept only the rope types "
                f"{', '.join(layout.rope_types)}; method {request.method!r} needs {parameters['rope_type']!r}. Use "
                "'ntk' or 'abf'."
            )
        table, attention_factor = entry_table(parameters, layout.rotary_dim, request.context_length)
        parameters = _longrope(layout, parameters, table, parameters.get("factor", 1.0), attention_factor)
    check_invariant(layout, request, parameters)
    return parameters


def _composed(layout: RopeLayout, request: ExtensionRequest) -> dict[str, Any]:
    start = effective_entry(layout)
    method, in_force = request.method, start["rope_type"]
    ratio = stretch(layout, request.context_length)
    if in_force == "default" or request.rope_factors is not None:
        return _from_plain(layout, start, request)
    if in_force == "proportional":
        return _from_proportional(layout, start, request)
    if method == "longrope" != in_force:
        raise ValueError(NEEDS_FACTORS)
    if method == in_force and method != "longrope":
        return _same_type(start, request, ratio)
    if in_force == "linear" and method in BASE_METHODS:
        ratio = request.factor or ratio
        theta = raised_base(method, start["rope_theta"], ratio, layout.rotary_dim, request.rope_theta)
        return {**start, "rope_theta": theta}
    if ratio == 1.0 and request.factor is None and request.rope_theta is None and request.attention_factor is None:
        return _unchanged(layout)
    return _on_top(layout, start, request, ratio)


def _from_plain(layout: RopeLayout, start: dict[str, Any], request: ExtensionRequest) -> dict[str, Any]:
    """Return the methods as their papers have them, from an unscaled table."""
    method, length = request.method, layout.origin.original_length
    ratio = stretch(layout, request.context_length)
    factor = float(request.factor if request.factor is not None else ratio)
    theta = float(request.rope_theta if request.rope_theta is not None else start["rope_theta"])
    carried = {key: value for key, value in start.items() if key not in SCALING_KEYS}
    if method in BASE_METHODS:
        theta = raised_base(method, theta, factor, layout.rotary_dim, request.rope_theta)
        return {"rope_theta": theta, **carried, "rope_type": "default"}
    written: dict[str, Any] = {"rope_theta": theta, **carried, "rope_type": method, "factor": factor}
    if method == "llama3":
        bounds = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
        return {**written, "original_max_position_embeddings": length, **bounds}
    if method == "yarn":
        attention = float(request.attention_factor or yarn_attention_factor(factor))
        return {**written, "original_max_position_embeddings": length, "attention_factor": attention}
    if method == "longrope":
        return _given_factors(layout, written, start, request)
    return written  # linear


def _given_factors(
    layout: RopeLayout, written: dict[str, Any], start: dict[str, Any], request: ExtensionRequest
) -> dict[str, Any]:
    """`longrope` with the caller's factors, which count from the plain base whatever is in force."""
    if request.rope_factors is None:
        raise ValueError(NEEDS_FACTORS)
    factors = checked_factors(request.rope_factors, layout.rotary_dim // 2)
    factor = float(request.factor or current_factor(start) * stretch(layout, request.context_length))
    attention = (
        request.attention_factor
        or (start.get("attention_factor") if start["rope_type"] == "longrope" else None)
        or longrope_attention_factor(factor, layout.origin.original_length)
    )
    return {
        **written,
        "factor": factor,
        "original_max_position_embeddings": layout.origin.original_length,
        "attention_factor": float(attention),
        # equal sets: the frequencies do not depend on the input length, so caches and ranks agree
        "short_factor": factors,
        "long_factor": list(factors),
    }


def _from_proportional(layout: RopeLayout, start: dict[str, Any], request: ExtensionRequest) -> dict[str, Any]:
    """Gemma 4's type: some pairs rotate, the others do not; a base or a factor changes those that turn."""
    ratio = request.factor or stretch(layout, request.context_length)
    if request.method == "linear":
        return {**start, "factor": float(request.factor or start.get("factor", 1.0) * ratio)}
    turning = int(start.get("partial_rotary_factor", 1.0) * layout.rotary_dim // 2)
    # the slowest pair that turns has index `turning - 1` among the pairs of a whole head
    reached = ratio ** ((layout.rotary_dim / 2) / max(1, turning - 1))
    if request.method == "abf" and ratio > 1.0:
        reached *= 2.0
    theta = request.rope_theta or start["rope_theta"] * reached
    return {**start, "rope_theta": float(theta)}


def _same_type(start: dict[str, Any], request: ExtensionRequest, ratio: float) -> dict[str, Any]:
    """Return the makers' own type with a larger factor; every option they set stays, an explicit attention factor
    too.
    """
    factor = float(request.factor if request.factor is not None else start["factor"] * ratio)
    written = {**start, "factor": factor}
    if request.rope_theta is not None:
        written["rope_theta"] = float(request.rope_theta)
    if request.method == "yarn":
        derived = yarn_attention_factor(factor, start.get("mscale"), start.get("mscale_all_dim"))
        written["attention_factor"] = float(request.attention_factor or start.get("attention_factor") or derived)
    return written


def _on_top(layout: RopeLayout, start: dict[str, Any], request: ExtensionRequest, ratio: float) -> dict[str, Any]:
    """Another type's table with `request.method` on top of it, one factor for each pair."""
    window, method = layout.origin.window, request.method
    if request.rope_theta is not None and method != "abf":
        raise ValueError(
            f"method {method!r} does not take rope_theta on top of the {start['rope_type']!r} scaling in force, whose "
            "table it builds on. Leave it out, or use 'abf' to raise the base."
        )
    table, attention_factor = entry_table(start, layout.rotary_dim, window)
    same = method == "longrope"  # of a `longrope` model, without factors of the caller's
    if request.factor is not None:
        ratio = request.factor / start["factor"] if same else request.factor
    base_ratio = 1.0
    if method in BASE_METHODS:
        theta = start["rope_theta"]
        base_ratio = raised_base(method, theta, ratio, layout.rotary_dim, request.rope_theta) / theta
    after = stretched(table, "yarn" if same else method, ratio, window, base_ratio)
    factor = start.get("factor", 1.0) * ratio
    if same:
        derived = longrope_attention_factor(factor, layout.origin.original_length)
        attention_factor = start.get("attention_factor") or derived
    elif method == "yarn":
        attention_factor *= yarn_attention_factor(ratio)
    return _longrope(layout, start, after, factor, request.attention_factor or attention_factor)


def _longrope(
    layout: RopeLayout, entry: dict[str, Any], table: Any, factor: float, attention_factor: float
) -> dict[str, Any]:
    """`table` written as one static factor a pair, which every version of transformers reads; equal to rounding."""
    factors = factors_of(table, entry["rope_theta"])
    kept = {key: value for key, value in entry.items() if key not in SCALING_KEYS or key == "rope_theta"}
    return {
        **kept,
        "rope_type": "longrope",
        "factor": float(factor),
        "original_max_position_embeddings": layout.origin.original_length,
        "attention_factor": float(attention_factor),
        "short_factor": factors,
        "long_factor": list(factors),
    }


def _unchanged(layout: RopeLayout) -> dict[str, Any]:
    """Return the parameters in force, with what `longrope` would derive from the length written out before that
    changes.
    """
    entry = dict(layout.parameters)
    if entry.get("rope_type") == "longrope":
        length = entry["original_max_position_embeddings"]
        factor = entry.get("factor") or layout.config.max_position_embeddings / length
        attention_factor = entry.get("attention_factor") or longrope_attention_factor(factor, length)
        entry |= {"factor": factor, "attention_factor": attention_factor}
    return entry
