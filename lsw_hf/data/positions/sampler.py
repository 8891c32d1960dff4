"""Skipped position ids: short rows whose tokens have positions far apart, as in a long context.

SkipAlign ([2405.03939](https://arxiv.org/abs/2405.03939)) adds a bias `u` to the positions of each segment of a
dialogue, with `u_k = u_{k-1} + s_k` and `s_k >= 0`: positions run on by one inside a segment and may jump in front
of it.

```
row                      [ instruction 1 ][ response 1 ][ instruction 2 ][ response 2 ]
lengths                         4               3              2               3
positions, "none"         0  1  2  3     4  5  6        7  8           9 10 11
positions, "skip_inner"   0  1  2  3    40 41 42       43 44          90 91 92
positions, "skip_outer"   0  1  2  3     4  5  6       61 62          63 64 65
positions, "skip_all"     0  1  2  3    17 18 19       55 56          83 84 85
```

What is ours: the paper's distribution of the skips is not public, and what it means by "everywhere" neither. Here the
jumps of a row are `1..max_skips` of its allowed borders, chosen at random; their sum is uniform in `[0,
context_length - length]` and split between them at sorted uniform cuts. Borders between sentences count where the
strategy allows them: in our measurements jumps at sentence borders taught retrieval far better than jumps at
arbitrary tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from .borders import NUM_KINDS, Borders, find_borders, index_in_row, jumps_of
from .draws import keyed_integers, keyed_subsets, keyed_uniform, row_keys
from .strategies import STRATEGIES

Split = Literal["cuts", "equal", "independent"]

DEFAULT_MAX_SKIPS = 16

# Counters of the keyed draws: the first three are one per row, then one per jump, and an open number for the choice.
_USE_SKIPS, _NUM_SKIPS, _TOTAL, _PER_JUMP, _CHOICE = 0, 1, 2, 16, 1 << 32


@dataclass(frozen=True)
class PositionSampler:
    """How skipped positions are drawn; calling it draws them for a batch of rows.

    Args:
        context_length (`int`):
            Target context length in tokens. Every position is below it.
        strategy (`str`, *optional*, defaults to `"skip_all"`):
            Where positions jump: a name in `lsw_hf.data.positions.strategies.STRATEGIES`, which says what each does.
        skip_probability (`float`, *optional*, defaults to 1.0):
            Share of the rows that get skips, in [0, 1]; the others keep positions 0, 1, 2, ...
        max_skips (`int`, *optional*):
            Largest number of jumps in a row, at least 1. Defaults to 16 (our choice). `"pose"` makes exactly this many
            and defaults to 1, its published two chunks; the other papers' schemes do not use it.
        split (`str`, *optional*, defaults to `"cuts"`):
            How the skipped positions are shared between `k` jumps (our choices): `"cuts"` draws their sum and `k -
            1` cuts uniformly, `"equal"` draws the sum and divides it evenly, `"independent"` draws each jump
            uniformly up to `(context_length - length) // k`.
    """

    context_length: int
    strategy: str = "skip_all"
    skip_probability: float = 1.0
    max_skips: int | None = None
    split: Split = "cuts"

    def __post_init__(self) -> None:
        if self.context_length < 1:
            raise ValueError(f"context_length must be at least 1 token, got {self.context_length}.")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"strategy must be one of {tuple(STRATEGIES)}, got {self.strategy!r}.")
        if not 0.0 <= self.skip_probability <= 1.0:
            raise ValueError(f"skip_probability must lie in [0, 1], got {self.skip_probability}.")
        if self.max_skips is not None and self.max_skips < 1:
            raise ValueError(f"max_skips must be at least 1, got {self.max_skips}; for no skips use strategy='none'.")
        if self.split not in get_args(Split):
            raise ValueError(f"split must be one of {get_args(Split)}, got {self.split!r}.")

    def __call__(self, lengths: np.ndarray, borders: Borders, keys: np.ndarray) -> np.ndarray:
        """Return the positions of all rows, one after the other.

        Args:
            lengths (`np.ndarray` of shape `(num_rows,)`):
                Length of each row in tokens, at least 1.
            borders ([`Borders`]):
                Borders of these rows, from [`find_borders`].
            keys (`np.ndarray` of `uint64`, shape `(num_rows,)`):
                One key per row, from [`row_keys`].

        Returns:
            `np.ndarray` of `int64`, shape `(lengths.sum(),)`. Each row starts at 0, strictly increases and stays below
            `context_length`.

        Raises:
            ValueError: A row is longer than `context_length`.
        """
        lengths = np.asarray(lengths, dtype=np.int64)
        too_long = np.flatnonzero(lengths > self.context_length)
        if len(too_long):
            raise ValueError(
                f"Dialogue {too_long[0]} of the batch has {lengths[too_long[0]]} tokens, more than "
                f"context_length={self.context_length}. "
                "Truncate or filter the rows, or raise context_length."
            )
        tokens, jumps = self._draw_jumps(lengths, borders, keys)
        starts = np.cumsum(lengths) - lengths
        steps = np.ones(int(lengths.sum()), dtype=np.int64)
        steps[tokens] += jumps
        # A row begins at 0 again: its first step takes back where the row before it ended.
        skipped = np.bincount(np.searchsorted(starts, tokens, side="right") - 1, jumps, minlength=len(lengths))
        steps[starts[1:]] -= (lengths + skipped.astype(np.int64))[:-1]
        steps[0] = 0
        return np.cumsum(steps, out=steps)

    def _draw_jumps(self, lengths: np.ndarray, borders: Borders, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the flat indices of the tokens in front of which positions jump, and how many they skip."""
        room = self.context_length - lengths
        skips = keyed_uniform(keys, _USE_SKIPS) < self.skip_probability
        strategy = STRATEGIES[self.strategy]
        if strategy.jumps is not None:
            tokens, jumps = strategy.jumps(lengths, borders, keys, room, self.max_skips or 1)
            return tokens, jumps * np.repeat(skips, lengths)[tokens]

        is_allowed = np.zeros(NUM_KINDS, dtype=bool)
        is_allowed[list(strategy.borders)] = True
        allowed = is_allowed[borders.kind]
        chosen, num_skips = self._choose_borders(borders.select(allowed & skips[borders.row]), keys)
        order = index_in_row(chosen.row)
        if self.split == "independent":
            high = room[chosen.row] // num_skips[chosen.row]
            return chosen.token, keyed_integers(keys[chosen.row], _PER_JUMP + order, high)

        total = keyed_integers(keys, _TOTAL, room)[chosen.row]
        if self.split == "equal":
            bias = total * (order + 1) // num_skips[chosen.row]
        else:
            cuts = keyed_integers(keys[chosen.row], _PER_JUMP + order, total)
            # The last border of a row carries the whole sum, so it takes the largest value of its row.
            cuts[order == num_skips[chosen.row] - 1] = self.context_length
            bias = np.minimum(cuts[np.lexsort((cuts, chosen.row))], total)
        return chosen.token, jumps_of(bias, order)

    def _choose_borders(self, borders: Borders, keys: np.ndarray) -> tuple[Borders, np.ndarray]:
        """Return a random choice of `borders`, in order of their tokens, and how many each row got."""
        available = np.bincount(borders.row, minlength=len(keys))
        limit = np.minimum(self.max_skips or DEFAULT_MAX_SKIPS, available)
        wanted = np.where(limit > 0, 1 + keyed_integers(keys, _NUM_SKIPS, np.maximum(limit - 1, 0)), 0)
        rows, chosen = keyed_subsets(keys, _CHOICE, wanted, available)
        return borders.select(np.cumsum(available)[rows] - available[rows] + chosen), wanted


def skipped_position_ids(
    segment_lengths: Sequence[int],
    *,
    context_length: int,
    strategy: str = "skip_all",
    skip_probability: float = 1.0,
    sentence_starts: Sequence[int] | None = None,
    max_skips: int | None = None,
    split: Split = "cuts",
    seed: int = 0,
) -> np.ndarray:
    """Draw the positions of one dialogue.

    Args:
        segment_lengths (`Sequence[int]`):
            Lengths in tokens of instruction, response, instruction, response, ... Each is at least 1, except the
            first, which is 0 for a row that begins with a response.
        context_length (`int`):
            Target context length in tokens.
        strategy (`str`, *optional*, defaults to `"skip_all"`):
            See [`PositionSampler`], as for the following ones.
        skip_probability (`float`, *optional*, defaults to 1.0):
            Probability that the dialogue gets skips at all.
        sentence_starts (`Sequence[int]`, *optional*):
            Tokens that begin a sentence, as indices below their number.
        max_skips (`int`, *optional*):
            Largest number of jumps.
        split (`str`, *optional*, defaults to `"cuts"`):
            How the skipped positions are shared between the jumps.
        seed (`int`, *optional*, defaults to 0):
            Equal seeds, equal positions.

    Returns:
        `np.ndarray` of `int64`, shape `(sum(segment_lengths),)`: starts at 0, strictly increases, stays below
        `context_length`, and advances by 1 except at the chosen borders.

    Raises:
        ValueError: The dialogue is longer than `context_length`, or an argument is outside its range.

    Example:

    ```python
    >>> from lsw_hf import skipped_position_ids
    >>> skipped_position_ids([4, 3, 2, 3], context_length=100, strategy="skip_inner", seed=1)
    ```
    """
    sampler = PositionSampler(context_length, strategy, skip_probability, max_skips, split)
    segments = np.asarray(segment_lengths, dtype=np.int64)
    if segments.ndim != 1 or segments.sum() < 1 or (segments[1:] < 1).any() or segments[0] < 0:
        raise ValueError(
            "segment_lengths must be positive numbers of tokens (only the first may be 0, when the row begins with a "
            f"response), got {list(segment_lengths)}."
        )
    length = int(segments.sum())
    trained = np.repeat(np.arange(len(segments)) % 2 == 1, segments)
    starts = None
    if sentence_starts is not None:
        indices = np.asarray(sentence_starts, dtype=np.int64)
        if len(indices) and (indices.min() < 0 or indices.max() >= length):
            raise ValueError(f"sentence_starts must lie in [0, {length}), got {list(sentence_starts)}.")
        starts = np.zeros(length, dtype=bool)
        starts[indices] = True
    lengths = np.array([length])
    return sampler(lengths, find_borders(trained, lengths, starts), row_keys(seed, 0, [0]))
