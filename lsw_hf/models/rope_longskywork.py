"""Inverse frequencies of every RoPE type that LongSkywork models support: numbers in, tensors out.

Nothing in this file knows a config, a device or a module. With `d` the size of a head, `b` the base (`rope_theta`)
and `s` the factor, pair `i` of a head turns by `position * inv_freq[i]` radians:

| rope type | inverse frequency of pair i                          | source                                           |
|-----------|------------------------------------------------------|--------------------------------------------------|
| default   | b^(-2i/d)                                            | RoFormer (2104.09864), section 3.2.2             |
| linear    | b^(-2i/d) / s                                        | Position Interpolation (2306.15595), section 2.3 |
| ntk       | (b s)^(-2i/d), which is `default` with a larger base | Skywork's own meaning of the word,
[`skywork_ntk_rope_theta`] |
| yarn      | between default (fast pairs) and linear (slow pairs) | YaRN (2309.00071), section 3.2                   |
| llama3    | like yarn, blended by wavelength instead of by pair  | Llama 3.1's released configuration               |
| longrope  | b^(-2i/d) / s_i, one factor for each pair            | LongRoPE (2402.13753), section 3                 |

The operations run in float32 in the order transformers uses, so a stock Llama and a LongSkywork model with the same
numbers turn by the same angles, bit for bit, under every supported transformers release.
"""

import math
from collections.abc import Mapping, Sequence

import torch

ROPE_KEYS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    # rope type: (keys it needs beside rope_type and rope_theta, keys it may have)
    "default": (frozenset(), frozenset()),
    "linear": (frozenset({"factor"}), frozenset()),
    "yarn": (
        frozenset({"factor", "original_max_position_embeddings"}),
        frozenset({"attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"}),
    ),
    "llama3": (
        frozenset({"factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"}),
        frozenset(),
    ),
    "longrope": (
        frozenset({"short_factor", "long_factor", "original_max_position_embeddings"}),
        frozenset({"factor", "attention_factor"}),
    ),
}


def default_inv_freq(head_dim: int, rope_theta: float) -> torch.Tensor:
    """Plain RoPE.

    Args:
        head_dim (`int`):
            Size of an attention head; even.
        rope_theta (`float`):
            The base. Pair 0 turns one radian a token whatever the base is.

    Returns:
        `torch.Tensor` of shape `(head_dim // 2,)`, float32, in radians per token, falling.
    """
    return 1.0 / _periods(head_dim, rope_theta)


def linear_inv_freq(head_dim: int, rope_theta: float, factor: float) -> torch.Tensor:
    """Position interpolation: every pair slows down by `factor`. Arguments and result as in [`default_inv_freq`]."""
    return default_inv_freq(head_dim, rope_theta) / factor


def skywork_ntk_rope_theta(rope_theta: float, factor: float) -> float:
    """Return the base that a legacy Skywork checkpoint means by `rope_scaling={"type": "ntk", "factor": factor}`.

    Skywork multiplies the base by the factor itself. The formula that others call NTK-aware raises the factor to
    `d / (d - 2)`; for heads of 128 and a factor of 4 that gives a base 2.2 % larger, so the two are not exchangeable.
    """
    return rope_theta * factor


def yarn_inv_freq(
    head_dim: int,
    rope_theta: float,
    factor: float,
    original_length: int,
    beta_fast: float = 32.0,
    beta_slow: float = 1.0,
    truncate: bool = True,
) -> torch.Tensor:
    """YaRN: fast pairs stay, slow pairs are interpolated, those between are mixed linearly in their index.

    Args:
        head_dim (`int`):
            Size of an attention head; even.
        rope_theta (`float`):
            The base.
        factor (`float`):
            How much the slow pairs slow down; 1 or more. A factor of 1 is [`default_inv_freq`].
        original_length (`int`):
            Tokens of context the model was trained with.
        beta_fast (`float`, *optional*, defaults to 32.0):
            Pairs that turn more often than this within
            `original_length` stay as they are.
        beta_slow (`float`, *optional*, defaults to 1.0):
            Pairs that turn less often than this are divided by `factor`.
        truncate (`bool`, *optional*, defaults to `True`):
            Whether the band between the two is rounded outwards to
            whole pairs, as the reference implementation does.

    Returns:
        `torch.Tensor` of shape `(head_dim // 2,)`, float32, in radians per token.
    """

    def pair_turning(rotations: float) -> float:
        return head_dim * math.log(original_length / (rotations * 2 * math.pi)) / (2 * math.log(rope_theta))

    low, high = pair_turning(beta_fast), pair_turning(beta_slow)
    if truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001  # a band of no width is a step
    ramp = torch.clamp((torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low), 0, 1)
    keep = 1 - ramp
    periods = _periods(head_dim, rope_theta)
    return 1.0 / (factor * periods) * (1 - keep) + 1.0 / periods * keep


def yarn_attention_factor(factor: float, mscale: float | None = None, mscale_all_dim: float | None = None) -> float:
    """Return what YaRN multiplies cos and sin with: `0.1 ln(factor) + 1` (so attention scores grow by its square).

    With both `mscale` and `mscale_all_dim` it is the quotient of the two, as DeepSeek's checkpoints write it.
    """

    def grown(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    if mscale and mscale_all_dim:
        return grown(mscale) / grown(mscale_all_dim)
    return grown(1.0)


def llama3_inv_freq(
    head_dim: int,
    rope_theta: float,
    factor: float,
    original_length: int,
    low_freq_factor: float,
    high_freq_factor: float,
) -> torch.Tensor:
    """Llama 3.1's rule: waves shorter than `original_length / high_freq_factor` tokens stay, waves longer than
    `original_length / low_freq_factor` are divided by `factor`, those between are mixed by turns per context.
    """
    inv_freq = default_inv_freq(head_dim, rope_theta)
    wavelength = 2 * math.pi / inv_freq
    slow = torch.where(wavelength > original_length / low_freq_factor, inv_freq / factor, inv_freq)
    smooth = (original_length / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor)
    mixed = (1 - smooth) * slow / factor + smooth * slow
    between = (wavelength >= original_length / high_freq_factor) & (wavelength <= original_length / low_freq_factor)
    return torch.where(between, mixed, slow)


def longrope_inv_freq(head_dim: int, rope_theta: float, factors: Sequence[float]) -> torch.Tensor:
    """One divisor for each pair (`head_dim // 2` of them), the same at every length: any vector can be written so."""
    return 1.0 / (torch.tensor(list(factors), dtype=torch.float32) * _periods(head_dim, rope_theta))


def longrope_attention_factor(factor: float, original_length: int) -> float:
    """`sqrt(1 + ln(factor) / ln(original_length))`, and 1 when nothing is extended (LongRoPE, section 3.3)."""
    return 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original_length))


def rope_frequencies(
    rope_parameters: Mapping, head_dim: int, max_position_embeddings: int
) -> tuple[torch.Tensor, float]:
    """Inverse frequencies and attention factor of one set of RoPE parameters.

    Args:
        rope_parameters (`Mapping`):
            `rope_type`, `rope_theta` and the keys of that type (`ROPE_KEYS`), in transformers' words.
        head_dim (`int`):
            Size of an attention head; even.
        max_position_embeddings (`int`):
            Tokens of the extended window. Only `longrope` without `factor` reads it.

    Returns:
        `tuple[torch.Tensor, float]`: shape `(head_dim // 2,)` float32, and the number cos and sin are multiplied with.
    """
    parameters = {key: value for key, value in rope_parameters.items() if value is not None}
    rope_type, theta = parameters["rope_type"], parameters["rope_theta"]
    factor, original = parameters.get("factor", 1.0), parameters.get("original_max_position_embeddings", 0)
    if rope_type == "default":
        return default_inv_freq(head_dim, theta), 1.0
    if rope_type == "linear":
        return linear_inv_freq(head_dim, theta, factor), 1.0
    if rope_type == "yarn":
        # 0 means "the default" for the two bounds, as it does in transformers
        bounds = (parameters.get("beta_fast") or 32, parameters.get("beta_slow") or 1)
        inv_freq = yarn_inv_freq(head_dim, theta, factor, original, *bounds, truncate=parameters.get("truncate", True))
        grown = yarn_attention_factor(factor, parameters.get("mscale"), parameters.get("mscale_all_dim"))
        return inv_freq, parameters.get("attention_factor", grown)
    if rope_type == "llama3":
        bounds = (parameters["low_freq_factor"], parameters["high_freq_factor"])
        return llama3_inv_freq(head_dim, theta, factor, original, *bounds), 1.0
    if rope_type == "longrope":
        grown = longrope_attention_factor(parameters.get("factor", max_position_embeddings / original), original)
        inv_freq = longrope_inv_freq(head_dim, theta, parameters["long_factor"])
        return inv_freq, parameters.get("attention_factor", grown)
    raise ValueError(f"Unknown rope type {rope_type!r}: LongSkywork knows {', '.join(sorted(ROPE_KEYS))}.")


def attention_temperature(position_ids: torch.Tensor, original_length: int, slope: float) -> torch.Tensor:
    """Return what the scores of the query at each position are multiplied with: `1 + slope * ln(max(1, (p + 1) / L))`.

    Softmax over more keys is flatter; a factor that grows with the logarithm of the length undoes that. With
    `slope = 1 / ln(L)` this is `ln(n) / ln(L)`, scale-invariant attention (Kexue, "log-n scaling"). The form with a
    free slope, and reading the length off the position so that skipped positions count, are our choice.

    Args:
        position_ids (`torch.Tensor`):
            Positions as the rotary embedding sees them, any shape.
        original_length (`int`):
            `L`, the tokens up to which nothing changes.
        slope (`float`):
            0 gives all ones.

    Returns:
        `torch.Tensor`: float32, the shape of `position_ids`, every value at least 1 for a slope of 0 or more.
    """
    return 1 + slope * torch.clamp((position_ids.float() + 1) / original_length, min=1).log()


def _periods(head_dim: int, rope_theta: float) -> torch.Tensor:
    return rope_theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
