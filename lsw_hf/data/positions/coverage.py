"""Which relative distances a run has trained: rotary attention learns distances, and skips decide which it meets."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .borders import IGNORE_INDEX

# Pairs of runs handled at once: bounds the memory of schemes in which every token is a run of its own.
_PAIRS_AT_ONCE = 1_000_000


class CoverageBand(NamedTuple):
    """Distances `start <= d < end` in positions, and how many trained pairs of tokens lie that far apart."""

    start: int
    end: int
    pairs: int


class CoverageInterval(NamedTuple):
    """What was trained in the steps `first_step` to `last_step` of a run, counted from 1, both included."""

    first_step: int
    last_step: int
    bands: tuple[CoverageBand, ...]

    @property
    def num_steps(self) -> int:
        """Number of steps."""
        return self.last_step - self.first_step + 1

    def warn_unseen(self) -> list[CoverageBand]:
        """Return the bands without a single trained pair, and warn if there are any."""
        return _warn_unseen(self.bands, f"{self.num_steps} steps")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON: `first_step`, `last_step`, `bands` as lists of start, end and pairs."""
        return {"first_step": self.first_step, "last_step": self.last_step, "bands": [list(b) for b in self.bands]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "CoverageInterval":
        """Read what [`~CoverageInterval.to_dict`] wrote."""
        return cls(data["first_step"], data["last_step"], tuple(CoverageBand(*band) for band in data["bands"]))


class PositionCoverage:
    """Counts pairs of tokens by relative distance over the batches of [`DataCollatorForSkipAlign`].

    A pair is a trained token (its label is not -100) and an earlier token of the same dialogue. Positions run on by
    one almost everywhere, so pairs are counted for runs of tokens at once: two runs of lengths `m` and `n` have their
    distances in a trapezoid, which is four entries of a second difference. The cost grows with the number of skips,
    not of tokens.

    Args:
        context_length (`int`):
            Target context length in tokens; distances are 1 to `context_length - 1`.

    Example:

    ```python
    >>> from lsw_hf import PositionCoverage
    >>> coverage = PositionCoverage(context_length=8)
    >>> coverage.update({"position_ids": torch.tensor([[0, 1, 6, 7]]), "labels": torch.tensor([[-100, -100, 3, 4]])})
    >>> coverage.counts().tolist()
    [0, 1, 0, 0, 0, 1, 2, 1]
    ```
    """

    def __init__(self, context_length: int) -> None:
        if context_length < 2:
            raise ValueError(f"context_length must be at least 2 tokens, got {context_length}.")
        self.context_length = context_length
        self.num_batches = 0
        self._second_difference = np.zeros(context_length + 2, dtype=np.int64)

    def update(self, batch: Mapping[str, Any]) -> None:
        """Add a batch.

        Args:
            batch (`Mapping[str, Any]`):
                `position_ids` and `labels` of shape `(num_rows, length)`, on any device, and `cu_seq_lens_q` if
                packed.

        Raises:
            ValueError: A position is not below `context_length`.
        """
        positions = np.asarray(batch["position_ids"].cpu())
        trained = np.asarray(batch["labels"].cpu()) != IGNORE_INDEX
        if positions.size and positions.max() >= self.context_length:
            raise ValueError(f"Position {positions.max()} is not below context_length={self.context_length}.")
        length = positions.shape[1]
        ends = batch.get("cu_seq_lens_q")
        boundaries = range(0, positions.size + 1, length) if ends is None else ends.tolist()
        positions, trained = positions.reshape(-1), trained.reshape(-1)
        for start, end in pairwise(boundaries):
            self._add_document(positions[start:end], trained[start:end])
        self.num_batches += 1

    def counts(self) -> np.ndarray:
        """Return the number of trained pairs at each distance, int64 of shape `(context_length,)`; that of 0 is 0."""
        return np.cumsum(np.cumsum(self._second_difference))[: self.context_length]

    def bands(self, num_bands: int = 32) -> list[CoverageBand]:
        """Return the trained pairs in bands of (nearly) equal width.

        Args:
            num_bands (`int`, *optional*, defaults to 32):
                Number of bands, in [1, `context_length - 1`].
        """
        if not 1 <= num_bands < self.context_length:
            raise ValueError(f"num_bands must lie in [1, {self.context_length - 1}], got {num_bands}.")
        edges = [1 + (self.context_length - 1) * index // num_bands for index in range(num_bands + 1)]
        counts = self.counts()
        return [CoverageBand(start, end, int(counts[start:end].sum())) for start, end in pairwise(edges)]

    def warn_unseen(self, num_bands: int = 32) -> list[CoverageBand]:
        """Return the bands without a single trained pair, and warn if there are any.

        Args:
            num_bands (`int`, *optional*, defaults to 32):
                Number of bands.
        """
        return _warn_unseen(self.bands(num_bands), f"{self.num_batches} batches")

    def to_dict(self, num_bands: int = 32) -> dict[str, Any]:
        """Return plain data for JSON: `context_length`, `num_batches`, `bands` as lists of start, end and pairs."""
        return {
            "context_length": self.context_length,
            "num_batches": self.num_batches,
            "bands": [list(band) for band in self.bands(num_bands)],
        }

    def _add_document(self, positions: np.ndarray, trained: np.ndarray) -> None:
        """Add one dialogue, `(length,)` each."""
        new_run = np.ones(len(positions), dtype=bool)
        new_run[1:] = (np.diff(positions) != 1) | (trained[1:] != trained[:-1])
        first = np.flatnonzero(new_run)
        sizes = np.diff(first, append=len(positions))
        starts, is_query = positions[first], trained[first]

        own = sizes[is_query]
        self._add(np.ones_like(own), own - 1)
        self._add(np.full_like(own, 2), -own)
        self._add(own + 1, np.ones_like(own))

        queries = np.flatnonzero(is_query)
        step = max(1, _PAIRS_AT_ONCE // len(first))
        for block in np.split(queries, range(step, len(queries), step)):
            later, earlier = np.nonzero(np.arange(len(first)) < block[:, None])
            m, n = sizes[block[later]], sizes[earlier]
            nearest = starts[block[later]] - (starts[earlier] + n - 1)
            for offset, sign in ((0, 1), (m, -1), (n, -1), (m + n, 1)):
                self._add(nearest + offset, np.full_like(nearest, sign))

    def _add(self, distances: np.ndarray, values: np.ndarray) -> None:
        np.add.at(self._second_difference, distances, values)


def _warn_unseen(bands: Sequence[CoverageBand], amount: str) -> list[CoverageBand]:
    unseen = [band for band in bands if band.pairs == 0]
    if unseen:
        ranges = ", ".join(f"{first.start}-{last.end - 1}" for first, last in _neighbors(unseen))
        warnings.warn(
            f"After {amount} no trained token was {ranges} positions after another one, so these distances of the "
            f"target context of {bands[-1].end} tokens are untrained. Train for longer, raise skip_probability, or "
            "choose a strategy that fits the rows (skip_outer needs turns).",
            stacklevel=3,
        )
    return unseen


def _neighbors(bands: Sequence[CoverageBand]) -> list[tuple[CoverageBand, CoverageBand]]:
    """First and last band of each run of bands without a gap."""
    runs: list[tuple[CoverageBand, CoverageBand]] = []
    for band in bands:
        if runs and runs[-1][1].end == band.start:
            runs[-1] = (runs[-1][0], band)
        else:
            runs.append((band, band))
    return runs


def position_coverage(batches: Iterable[Mapping[str, Any]], *, context_length: int) -> PositionCoverage:
    """Count the relative distances that `batches` train.

    Args:
        batches (`Iterable[Mapping[str, Any]]`):
            Batches of [`DataCollatorForSkipAlign`], for example a `DataLoader`.
        context_length (`int`):
            Target context length in tokens.

    Returns:
        [`PositionCoverage`].
    """
    coverage = PositionCoverage(context_length)
    for batch in batches:
        coverage.update(batch)
    return coverage
