"""How a method builds on the scaling that a model already has: numbers in, numbers out.

A model whose makers already scaled its RoPE was *trained* with that table, so an extension starts from the table and
not from the plain base. With `T_i` the inverse frequency of pair `i` in force, `W` the window in tokens, `r` the ratio
of the target to `W`, and `n_i = W T_i / 2 pi` the turns of the pair in the window:

| method | inverse frequency of pair i                                   | what decides                    |
|--------|---------------------------------------------------------------|---------------------------------|
| linear | T_i / r                                                       | nothing                         |
| ntk    | T_i r^(-2i / (d - 2))                                         | the pair's index                |
| abf    | T_i (b'/b)^(-2i / d), b'/b = 2 r^(d / (d - 2)) unless given   | the pair's index                |
| yarn   | T_i k_i + T_i / r (1 - k_i), k_i linear in ln(n_i) on [1, 32] | turns: at 32 kept, at 1 divided |
| llama3 | T_i k_i + T_i / r (1 - k_i), k_i linear in n_i on [1, 4]      | turns: at 4 kept, at 1 divided  |

On a plain table these are the papers' formulas: `n_i` falls geometrically with `i`, so a ramp in `ln(n_i)` is YaRN's
ramp in `i` (before its rounding to whole pairs). Reading turns off the table in force is our choice; it makes every
method total, and no pair ever turns faster than in the model being extended.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..models.rope_longskywork import rope_frequencies

TOLERANCE = 1e-6
"""Relative difference of inverse frequencies below which two tables turn alike (float32 rounding is 6e-8)."""

YARN_TURNS = (1.0, 32.0)
LLAMA3_TURNS = (1.0, 4.0)


def entry_table(entry: Mapping[str, Any], rotary_dim: int, window: int) -> tuple[torch.Tensor, float]:
    """Return the table and attention factor that one rotary dictionary means, `longrope` at inputs beyond its original
    length.

    Args:
        entry (`Mapping`):
            A complete rotary dictionary of a static type.
        rotary_dim (`int`):
            Number of rotated dimensions.
        window (`int`):
            The model's window in tokens.

    Returns:
        `tuple[torch.Tensor, float]`: shape `(rotary_dim / 2,)` float64, and the multiplier of cosine and sine.
    """
    with torch.device("cpu"):  # whatever the caller is building on
        if entry["rope_type"] == "proportional":
            return _proportional_table(entry, rotary_dim), 1.0
        table, attention_factor = rope_frequencies(entry, rotary_dim, window)
    return table.double(), attention_factor


def _proportional_table(entry: Mapping[str, Any], rotary_dim: int) -> torch.Tensor:
    """Gemma 4's type: the first pairs of a whole head rotate, the others do not."""
    plain, _ = rope_frequencies({"rope_type": "default", "rope_theta": entry["rope_theta"]}, rotary_dim, 1)
    table = plain.double() / (entry.get("factor") or 1.0)
    table[int(entry.get("partial_rotary_factor", 1.0) * rotary_dim // 2) :] = 0.0
    return table


def ntk_rope_theta(rope_theta: float, factor: float, rotary_dim: int) -> float:
    """Return base that stretches the slowest pair by exactly `factor` and leaves the fastest alone (NTK-aware
    interpolation, bloc97 2023; equation 16 of YaRN, 2309.00071).
    """
    if rotary_dim == 2:
        return rope_theta  # one pair at frequency 1: no base can change it
    return rope_theta * factor ** (rotary_dim / (rotary_dim - 2))


def abf_rope_theta(rope_theta: float, factor: float, rotary_dim: int) -> float:
    """Return base for adjusted-base-frequency training: twice the NTK-aware base.

    Training at the new length tolerates and profits from a base above the NTK value (2309.16039);
    ProLong (2410.02660) compared bases for an 8-fold extension from 5e5 and took 8e6, about twice the NTK value. At
    factor 1 nothing is extended and the base stays.
    """
    return rope_theta if factor == 1.0 else 2.0 * ntk_rope_theta(rope_theta, factor, rotary_dim)


def raised_base(method: str, rope_theta: float, ratio: float, rotary_dim: int, given: float | None) -> float:
    """Return the base that `"ntk"` or `"abf"` puts in the place of `rope_theta`; `given` is the caller's own."""
    if given is not None:
        return float(given)
    return (ntk_rope_theta if method == "ntk" else abf_rope_theta)(rope_theta, ratio, rotary_dim)


def stretched(table: torch.Tensor, method: str, ratio: float, window: int, base_ratio: float = 1.0) -> torch.Tensor:
    """Return the table of `method` on top of `table`, by the formulas at the head of this file.

    Args:
        table (`torch.Tensor` of shape `(pairs,)`):
            Inverse frequencies in force, float64, radians per token.
        method (`str`):
            `"linear"`, `"ntk"`, `"abf"`, `"yarn"` or `"llama3"`.
        ratio (`float`):
            How far the method stretches, at least 1.
        window (`int`):
            Tokens in which turns are counted.
        base_ratio (`float`, *optional*, defaults to 1.0):
            For `"ntk"` and `"abf"`: the new base over the old one.

    Returns:
        `torch.Tensor` of shape `(pairs,)`, float64.
    """
    if method == "linear":
        return table / ratio
    if method in ("ntk", "abf"):
        pairs = torch.arange(len(table), dtype=torch.float64)
        return table * base_ratio ** (-pairs / len(table))
    turns = window * table / (2 * math.pi)
    if method == "yarn":
        low, high = (math.log(bound) for bound in YARN_TURNS)
        kept = ((turns.log() - low) / (high - low)).clamp(0, 1)
    else:
        low, high = LLAMA3_TURNS
        kept = ((turns - low) / (high - low)).clamp(0, 1)
    return table * kept + table / ratio * (1 - kept)


def factors_of(table: torch.Tensor, rope_theta: float) -> list[float]:
    """`table` as one divisor of the plain base's frequency for each pair, as `longrope` spells it."""
    plain, _ = entry_table({"rope_type": "default", "rope_theta": rope_theta}, 2 * len(table), 1)
    return (plain / table).tolist()


def faster_pairs(before: torch.Tensor, after: torch.Tensor) -> list[int]:
    """Return indices of the pairs that turn faster in `after` than in `before`; a NaN counts."""
    return [index for index, same in enumerate((after <= before * (1 + TOLERANCE)).tolist()) if not same]


def reaches_further(before: torch.Tensor, after: torch.Tensor) -> bool:
    """Whether the slowest pair that turns at all turns slower in `after`."""
    turning = before > 0
    return bool(after[turning].min() < before[turning].min() * (1 - TOLERANCE))


def checked_factors(given: Any, num_pairs: int) -> list[float]:
    """Return the caller's `rope_factors` as plain numbers.

    Raises:
        TypeError: not a list of numbers.
        ValueError: not one positive finite number a pair.
    """
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
