"""How sure a measured share can be."""

import math


def wilson_interval(correct: int, samples: int, z: float = 1.959964) -> tuple[float, float]:
    """
    Wilson score interval of a proportion (Wilson, 1927): unlike the normal one it stays inside [0, 1] and is not
    empty at 0 or 100 %.

    Args:
        correct (`int`): Number of successes, in [0, `samples`].
        samples (`int`): Number of trials; 0 gives (0.0, 1.0), nothing is known.
        z (`float`, *optional*, defaults to 1.959964): Normal quantile; the default is 95 %.

    Returns:
        `tuple[float, float]`: Lower and upper bound.
    """
    if not 0 <= correct <= samples:
        raise ValueError(f"correct must be between 0 and samples; got {correct} of {samples}")
    if samples == 0:
        return 0.0, 1.0
    share = correct / samples
    spread = z * z / samples
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / samples + spread / (4 * samples)) / (1 + spread)
    # Rounding must not push the bound past the estimate it brackets.
    return max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share))
