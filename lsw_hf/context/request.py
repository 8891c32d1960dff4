"""What a caller asks of an extension, checked for consistency before anything is read or changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

AUTO = "auto"
METHODS = (AUTO, "linear", "ntk", "abf", "yarn", "llama3", "longrope", "none")
LARGEST_LENGTH = 2**24
"""Positions that float32, in which transformers computes angles, represents exactly."""

REFUSED_METHODS = {
    "dynamic": (
        "its frequencies depend on the longest position seen so far, so training, caching and parallel ranks each "
        "compute different ones, and llama.cpp drops it"
    ),
    "proportional": "it describes an architecture, not an extension",
}


@dataclass(frozen=True)
class ExtensionRequest:
    """What a caller asked for, checked for consistency.

    Args:
        context_length (`int`):
            Target length in tokens.
        method (`str`, *optional*, defaults to `"auto"`):
            One of `METHODS`; `"auto"` is replaced by one of the others as soon as the model is known.
        rope_theta (`float`, *optional*):
            New base, larger than 1. Every method but `"ntk"` and `"none"` takes it.
        factor (`float`, *optional*):
            At least 1; defaults to the factor in force times the target length over the window.
        attention_factor (`float`, *optional*):
            Multiplier of cosine and sine, for `"yarn"` and `"longrope"`.
        rope_factors (`Sequence[float]`, *optional*):
            One positive number per rotated pair of dimensions, for `"longrope"`.
    """

    context_length: int
    method: str = AUTO
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
                "in float32, which distinguishes neighboring positions only up to there."
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
                    f"{', '.join(method for method in METHODS if method not in (AUTO, *methods))}."
                )
        if self.method == "abf" and self.rope_theta is not None and self.factor is not None:
            raise ValueError("method 'abf' takes rope_theta or factor, not both: the factor only chooses the base.")


def _listed() -> str:
    return ", ".join(repr(method) for method in METHODS)
