"""How sure a measured share can be."""

import math
from collections.abc import Sequence

_Z_95 = 1.959964


def wilson_interval(correct: float, samples: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion (Wilson, 1927): unlike the normal one it stays inside [0, 1] and is
    not empty at 0 or 100 %.

    Args:
        correct (`float`):
            Number of successes, in [0, `samples`]. A sum of partial scores in [0, 1] is allowed: they vary less than
            successes of the same mean, so that the interval errs to the wide side.
        samples (`int`):
            Number of trials; 0 gives (0.0, 1.0), nothing is known.

    Returns:
        `tuple[float, float]`: Lower and upper bound.

    Raises:
        ValueError: for more successes than trials, or fewer than none.
    """
    if not 0 <= correct <= samples:
        raise ValueError(f"correct must be between 0 and samples; got {correct} of {samples}")
    if samples == 0:
        return 0.0, 1.0
    share = correct / samples
    spread = _Z_95 * _Z_95 / samples
    center = (share + spread / 2) / (1 + spread)
    half = _Z_95 * math.sqrt(share * (1 - share) / samples + spread / (4 * samples)) / (1 + spread)
    # Rounding must not push the bound past the estimate it brackets.
    return max(0.0, min(center - half, share)), min(1.0, max(center + half, share))


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; NaN of nothing."""
    return math.fsum(values) / len(values) if values else math.nan
