"""The complete rotary dictionary of each extension method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers

from ..models.rope_longskywork import longrope_attention_factor, rope_frequencies, yarn_attention_factor
from .architecture import SCALING_KEYS, RopeLayout

METHODS = ("linear", "ntk", "abf", "yarn", "llama3", "longrope", "none")
CARRIED_OPTIONS = {
    "yarn": ("beta_fast", "beta_slow", "truncate"),
    "llama3": ("low_freq_factor", "high_freq_factor"),
}
"""Options of a rope type that a model already scaled by its makers keeps when the same type extends it further."""

LARGEST_LENGTH = 2**24
"""Positions that float32, in which transformers computes angles, holds exactly."""

REFUSED_METHODS = {
    "dynamic": (
        "its frequencies depend on the longest position seen so far, so training, caching and parallel ranks each "
        "compute different ones, and llama.cpp drops it"
    ),
    "proportional": "it describes an architecture, not an extension",
}


@dataclass(frozen=True)
class ExtensionRequest:
    """
    What a caller asked for, checked for consistency.

    Args:
        context_length (`int`):
            Target length in tokens.
        method (`str`, *optional*, defaults to `"yarn"`):
            One of `METHODS`.
        rope_theta (`float`, *optional*):
            New base, larger than 1. Every method but `"ntk"` and `"none"` takes it.
        factor (`float`, *optional*):
            At least 1; defaults to the target length over the original length.
        attention_factor (`float`, *optional*):
            Multiplier of cosine and sine, for `"yarn"` and `"longrope"`.
        rope_factors (`Sequence[float]`, *optional*):
            One positive number per rotated pair of dimensions, for `"longrope"`.
    """

    context_length: int
    method: str = "yarn"
    rope_theta: float | None = None
    factor: float | None = None
    attention_factor: float | None = None
    rope_factors: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.context_length, bool) or not isinstance(self.context_length, int):
            raise TypeError(
                f"context_length must be an int (tokens), got {self.context_length!r}. Pass int(...): model "
                "configurations reject everything else."
            )
        if self.context_length > LARGEST_LENGTH:
            raise ValueError(
                f"context_length={self.context_length} is beyond {LARGEST_LENGTH:,} tokens: positions are multiplied "
                "in float32, which tells neighbours apart up to there only."
            )
        if not isinstance(self.method, str):
            raise TypeError(f"method must be a name, got {self.method!r}. Use {_listed()}.")
        if self.method in REFUSED_METHODS:
            raise ValueError(f"method {self.method!r} is refused: {REFUSED_METHODS[self.method]}. Use {_listed()}.")
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}. Use {_listed()}.")
        self._check_numbers()
        self._check_combinations()

    def _check_numbers(self) -> None:
        for name, lowest, strict in (
            ("rope_theta", 1.0, True),
            ("factor", 1.0, False),
            ("attention_factor", 0.0, True),
        ):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise TypeError(f"{name} must be a finite number, got {value!r}.")
            if value < lowest or (strict and value == lowest):
                raise ValueError(f"{name} must be {'above' if strict else 'at least'} {lowest}, got {value}.")
        if self.factor is not None and self.factor > LARGEST_LENGTH:
            raise ValueError(f"factor must be at most {LARGEST_LENGTH:,}, as the window it is for, got {self.factor}.")

    def _check_combinations(self) -> None:
        refused = {
            "rope_theta": ("ntk", "none"),
            "factor": ("none",),
            "attention_factor": ("linear", "ntk", "abf", "llama3", "none"),
            "rope_factors": ("linear", "ntk", "abf", "yarn", "llama3", "none"),
        }
        for name, methods in refused.items():
            if getattr(self, name) is not None and self.method in methods:
                raise ValueError(
                    f"method {self.method!r} does not take {name}. Leave it out, or use a method that does: "
                    f"{', '.join(method for method in METHODS if method not in methods)}."
                )
        if self.method == "abf" and self.rope_theta is not None and self.factor is not None:
            raise ValueError("method 'abf' takes rope_theta or factor, not both: the factor only chooses the base.")
        if self.method == "longrope" and self.rope_factors is None:
            raise ValueError(
                "method 'longrope' needs rope_factors, one per rotated pair of dimensions. "
                "Find them with `search_rope_factors`, or use 'yarn'."
            )


def _listed() -> str:
    return ", ".join(repr(method) for method in METHODS)


def ntk_rope_theta(rope_theta: float, factor: float, rotary_dim: int) -> float:
    """
    Base that stretches the slowest pair by exactly `factor` and leaves the fastest alone (NTK-aware interpolation,
    bloc97 2023; equation 16 of YaRN, 2309.00071).
    """
    if rotary_dim == 2:
        return rope_theta  # one pair at frequency 1: no base can change it
    return rope_theta * factor ** (rotary_dim / (rotary_dim - 2))


def abf_rope_theta(rope_theta: float, factor: float, rotary_dim: int) -> float:
    """
    Base for adjusted-base-frequency training: twice the NTK-aware base.

    Training at the new length tolerates and profits from a base above the NTK value (2309.16039);
    ProLong (2410.02660) compared bases for an 8-fold extension from 5e5 and took 8e6, about twice the NTK value. At
    factor 1 nothing is extended and the base stays.
    """
    return rope_theta if factor == 1.0 else 2.0 * ntk_rope_theta(rope_theta, factor, rotary_dim)


def extended_parameters(layout: RopeLayout, request: ExtensionRequest) -> dict[str, Any]:
    """
    The complete rotary dictionary for `request`, counted from the original length of `layout`.

    Returns:
        `dict`: rope type, base, and everything the type needs, nothing left for a loader to fill in.

    Raises:
        ValueError: if the target is below what the model already has, or the factors do not fit the head.
    """
    original = layout.original_parameters
    _check_target(layout, request.context_length)
    if request.method == "none":
        return _completed(layout)
    ratio = request.context_length / layout.original_length
    factor = float(request.factor if request.factor is not None else ratio)
    theta = float(request.rope_theta if request.rope_theta is not None else original["rope_theta"])
    carried = {key: value for key, value in original.items() if key not in SCALING_KEYS}
    if request.method == original.get("rope_type"):
        options = CARRIED_OPTIONS.get(request.method, ())
        carried |= {key: original[key] for key in options if original.get(key) is not None}
    if request.method == "ntk":
        theta = ntk_rope_theta(theta, factor, layout.rotary_dim)
    elif request.method == "abf" and request.rope_theta is None:
        theta = abf_rope_theta(theta, factor, layout.rotary_dim)
    parameters = {"rope_theta": theta, **carried, **_scaled(layout, request, factor)}
    if layout.layer_type is not None and parameters["rope_type"] == "longrope":
        _check_nested_longrope()
    _check_table(layout, parameters)
    if parameters["rope_type"] in layout.rope_types:
        return parameters
    if not holds_method(layout, request.method):
        raise ValueError(
            f"{layout.config.model_type!r} configurations hold only the rope types {', '.join(layout.rope_types)}; "
            f"method {request.method!r} needs {parameters['rope_type']!r}. Use 'ntk' or 'abf'."
        )
    return _as_longrope(layout, parameters, factor)


def holds_method(layout: RopeLayout, method: str) -> bool:
    """Whether the configuration class of `layout` can hold what `method` writes, perhaps written as `longrope`."""
    written = {"ntk": "default", "abf": "default"}.get(method, method)
    return method == "none" or written in layout.rope_types or "longrope" in layout.rope_types


def _check_table(layout: RopeLayout, parameters: dict[str, Any]) -> None:
    with torch.device("cpu"):  # whatever the caller is building on
        table, _ = rope_frequencies(parameters, layout.rotary_dim, layout.original_length)
    if not bool((torch.isfinite(table) & (table > 0.0)).all()):
        raise ValueError(
            f"rope_theta={parameters['rope_theta']:.6g} with factor={parameters.get('factor', 1.0):.6g} and these "
            "rope_factors leaves the range of float32: some pairs would stand still or turn infinitely fast. Give "
            "numbers nearer to 1."
        )


def _check_nested_longrope() -> None:
    # transformers up to 5.20 leaves a variable unset there; this check can go when 5.21 is the oldest supported
    if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < (5, 21):
        raise ValueError(
            f"transformers {transformers.__version__} fails on the second long input of a model with longrope on one "
            "of its layer types. Install at least 5.21, or use another method."
        )


def _as_longrope(layout: RopeLayout, parameters: dict[str, Any], factor: float) -> dict[str, Any]:
    """
    The same frequencies written as one static factor per pair, for configuration classes (Phi-3) that hold no other
    scaled type; equal to float32 rounding.
    """
    plain = {"rope_type": "default", "rope_theta": parameters["rope_theta"]}
    with torch.device("cpu"):
        before, _ = rope_frequencies(plain, layout.rotary_dim, layout.original_length)
        after, attention_factor = rope_frequencies(parameters, layout.rotary_dim, layout.original_length)
    factors = (before.double() / after.double()).tolist()
    kept = {key: value for key, value in parameters.items() if key not in SCALING_KEYS or key == "rope_theta"}
    return kept | _longrope(layout, factor, attention_factor, factors)


def _completed(layout: RopeLayout) -> dict[str, Any]:
    """The parameters in force, with what `longrope` would derive from the length written out before that changes."""
    entry = dict(layout.parameters)
    if entry.get("rope_type") == "longrope":
        length = entry["original_max_position_embeddings"]
        factor = entry.get("factor") or layout.config.max_position_embeddings / length
        attention_factor = entry.get("attention_factor") or longrope_attention_factor(factor, length)
        entry |= {"factor": factor, "attention_factor": attention_factor}
    return entry


def _check_target(layout: RopeLayout, context_length: int) -> None:
    now = layout.config.max_position_embeddings
    if context_length < now:
        raise ValueError(
            f"context_length={context_length} would shrink the window of {now} tokens "
            f"(original length {layout.original_length}). Give at least {now}, or start from the original model."
        )


def _scaled(layout: RopeLayout, request: ExtensionRequest, factor: float) -> dict[str, Any]:
    length = layout.original_length
    if request.method in ("ntk", "abf"):
        return {"rope_type": "default"}
    if request.method == "linear":
        return {"rope_type": "linear", "factor": factor}
    if request.method == "llama3":
        original = layout.original_parameters if layout.original_parameters.get("rope_type") == "llama3" else {}
        return {
            "rope_type": "llama3",
            "factor": factor,
            "original_max_position_embeddings": length,
            "low_freq_factor": original.get("low_freq_factor", 1.0),
            "high_freq_factor": original.get("high_freq_factor", 4.0),
        }
    if request.method == "yarn":
        attention = request.attention_factor or yarn_attention_factor(factor)
        return {
            "rope_type": "yarn",
            "factor": factor,
            "original_max_position_embeddings": length,
            "attention_factor": float(attention),
        }
    factors = _checked_factors(request.rope_factors, layout.rotary_dim // 2)
    attention = request.attention_factor or longrope_attention_factor(factor, length)
    return _longrope(layout, factor, attention, factors)


def _longrope(layout: RopeLayout, factor: float, attention_factor: float, factors: list[float]) -> dict[str, Any]:
    # equal sets: the frequencies do not depend on the input length, so caches and ranks agree
    return {
        "rope_type": "longrope",
        "factor": factor,
        "original_max_position_embeddings": layout.original_length,
        "attention_factor": float(attention_factor),
        "short_factor": factors,
        "long_factor": list(factors),
    }


def _checked_factors(given: Any, num_pairs: int) -> list[float]:
    factors = given.tolist() if hasattr(given, "tolist") else list(given) if isinstance(given, Sequence) else None
    if factors is None or any(isinstance(value, bool) or not isinstance(value, (int, float)) for value in factors):
        raise TypeError(f"rope_factors must be a list of {num_pairs} numbers, one a rotated pair, got {given!r}.")
    if len(factors) != num_pairs:
        raise ValueError(
            f"rope_factors has {len(factors)} numbers; this head rotates {num_pairs} pairs, give one each."
        )
    if any(not math.isfinite(value) or value <= 0.0 for value in factors):
        raise ValueError(f"rope_factors must all be positive and finite, got {factors}.")
    return [float(value) for value in factors]
