"""Several streams as one, in shares of tokens that are met exactly and may change over training."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any, Literal, TypeAlias

from datasets import Dataset, IterableDataset

from .streams import read_whole

# Datasets, or any iterables of rows; only datasets can be cut into parts.
Source: TypeAlias = Any
Weight: TypeAlias = float | tuple[float, float]
_TOLERANCE = 1e-6


@dataclass
class SourceCounts:
    """What a mixture has taken from one source: tokens, rows, how often the source was begun, and what this last pass
    gave.
    """

    tokens: int = 0
    rows: int = 0
    passes: int = 0
    tokens_in_pass: int = 0
    rows_in_pass: int = 0


class TokenMixture:
    """Mixes streams so that each has its share of the tokens, not of the rows.

    Before every row the source that is furthest behind its share is chosen, so every share is met to within one row at
    any moment, without randomness. For constant shares of *rows*, drawn at random, `datasets.interleave_datasets` does
    it.

    A weight may be a pair: it goes from the first value to the second while `total_tokens` are given out,
    `w(x) = first + (second - first) * x ** ramp_power` at the fraction `x` of the way. Skywork-13B
    ([arXiv 2310.19341](https://arxiv.org/abs/2310.19341)) raises the share of STEM data from 10% to 40% in its second
    stage and reports 20% overall; a straight line would give 25%, `ramp_power=2` gives both (our derivation).

    Args:
        sources (`dict[str, Dataset | IterableDataset | Iterable]`):
            Streams by name, rows with `length_column`.
        weights (`dict[str, float | tuple[float, float]]`):
            Share of each source, or its share at the beginning and at the end. They sum to 1 at both.
        total_tokens (`int`, *optional*):
            Where the mixture ends. Needed for weights that change.
        when_exhausted (`str`, *optional*, defaults to `"stop"`):
            `"stop"`: the mixture ends when the next row should come from a source that has none left. `"repeat"`: that
            source begins again, and `counts` says how often.
        length_column (`str`, *optional*, defaults to `"input_ids"`):
            A list whose length counts, or a number of tokens.
        ramp_power (`float`, *optional*, defaults to 1.0):
            How late a changing weight moves: 1 is a straight line, above 1 is later.

    Raises:
        ValueError: names that differ, weights that do not sum to 1, a changing weight without `total_tokens`.

    Example:

    ```python
    >>> mixture = TokenMixture({"long": windows, "short": dialogues}, {"long": 0.8, "short": 0.2}, total_tokens=10**9)
    >>> rows = mixture.as_dataset()      # a datasets.IterableDataset, for a trainer
    ```
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: Mapping[str, Weight],
        *,
        total_tokens: int | None = None,
        when_exhausted: Literal["stop", "repeat"] = "stop",
        length_column: str = "input_ids",
        ramp_power: float = 1.0,
    ) -> None:
        self.sources = dict(sources)
        self.total_tokens = total_tokens
        self.when_exhausted = when_exhausted
        self.length_column = length_column
        self.ramp_power = ramp_power
        self._spans = {name: _span(weight) for name, weight in weights.items()}
        self._check()
        # To the last digit, so that what rounding leaves over is not given to a source of weight 0.
        sums = [math.fsum(span[place] for span in self._spans.values()) for place in (0, 1)]
        self._spans = {name: (span[0] / sums[0], span[1] / sums[1]) for name, span in self._spans.items()}
        self.counts = {name: SourceCounts() for name in self.sources}
        self._is_loaded = False

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Rows of all sources; the column `source` is not added, so that rows of equal columns stay batchable."""
        if not self._is_loaded:
            self.counts = {name: SourceCounts() for name in self.sources}
        self._is_loaded = False
        streams = {name: self._open(name) for name in self.sources}
        while self.total_tokens is None or self._given() < self.total_tokens:
            name = self.next_source()
            row = next(streams[name], None)
            if row is None:
                self._require_tokens(name)
                if self.when_exhausted == "stop":
                    return
                self.counts[name] = replace(
                    self.counts[name], passes=self.counts[name].passes + 1, tokens_in_pass=0, rows_in_pass=0
                )
                streams[name] = self._open(name)
                continue
            counts, length = self.counts[name], self._length(row, name)
            counts.rows += 1
            counts.rows_in_pass += 1
            counts.tokens += length
            counts.tokens_in_pass += length
            yield dict(row)

    def next_source(self) -> str:
        """Return the source that is furthest behind its share; the earlier one of two."""
        given = self._given()
        behind = {
            name: self.target(name, given) - counts.tokens
            for name, counts in self.counts.items()
            if any(self._spans[name])
        }
        # At the very beginning nobody is behind: the weights decide.
        return max(behind, key=lambda name: (behind[name], self.weight(name, given)))

    def weight(self, name: str, given: int) -> float:
        """Share of a source when `given` tokens have been given out."""
        first, last = self._spans[name]
        return first + (last - first) * self._way(given) ** self.ramp_power

    def target(self, name: str, given: int) -> float:
        """Tokens a source should have among the first `given` ones: the integral of its weight."""
        first, last = self._spans[name]
        if first == last:
            return first * given
        return given * (first + (last - first) * self._way(given) ** self.ramp_power / (self.ramp_power + 1))

    def state_dict(self) -> dict[str, Any]:
        """How far every source was read; JSON-able."""
        return {name: asdict(counts) for name, counts in self.counts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the next iteration where `state_dict` was taken, reading over the rows already given out.

        Raises:
            ValueError: the state is of other sources, or is none.
        """
        if set(state) != set(self.sources):
            raise ValueError(f"The saved mixture has the sources {sorted(state)}, this one {sorted(self.sources)}.")
        names = {item.name for item in fields(SourceCounts)}
        for name, counts in state.items():
            if set(counts) != names:
                raise ValueError(
                    f"The saved state of {name!r} has {sorted(counts)} instead of {sorted(names)}: begin anew."
                )
        self.counts = {name: SourceCounts(**state[name]) for name in self.sources}
        self._is_loaded = True

    def as_dataset(self, num_shards: int = 1) -> IterableDataset:
        """Return the mixture as a `datasets.IterableDataset`, resumable by its own `state_dict`.

        Its order is the schedule of the shares. Interleave its documents with `shuffle_buffer=0`, which keeps it.

        Args:
            num_shards (`int`, *optional*, defaults to 1):
                Parts for ranks and workers. Every source must be a dataset that can be cut into as many.

        Raises:
            ValueError: a source that cannot be cut.
        """
        for name, source in self.sources.items() if num_shards > 1 else ():
            limit = (
                source.num_shards
                if isinstance(source, IterableDataset)
                else len(source)
                if isinstance(source, Dataset)
                else 1
            )
            if num_shards > limit:
                raise ValueError(
                    f"num_shards={num_shards}, but the source {name!r} can only be cut into {limit} parts."
                )
        return IterableDataset.from_generator(
            partial(_rows_of_shards, self, num_shards), gen_kwargs={"shards": list(range(num_shards))}
        )

    def part(self, num_shards: int, index: int) -> TokenMixture:
        """One of `num_shards` mixtures of the same shares over disjoint parts of the sources."""
        sources = self.sources
        if num_shards > 1:
            sources = {name: source.shard(num_shards=num_shards, index=index) for name, source in sources.items()}
        return TokenMixture(
            sources,
            self._spans,
            total_tokens=None if self.total_tokens is None else -(-self.total_tokens // num_shards),
            when_exhausted=self.when_exhausted,
            length_column=self.length_column,
            ramp_power=self.ramp_power,
        )

    def _given(self) -> int:
        return sum(counts.tokens for counts in self.counts.values())

    def _way(self, given: int) -> float:
        return 0.0 if self.total_tokens is None else min(1.0, given / self.total_tokens)

    def _length(self, row: Mapping[str, Any], name: str) -> int:
        if self.length_column not in row:
            raise ValueError(
                f"A row of {name!r} has no column {self.length_column!r}, only {sorted(row)}: set length_column to "
                f"the tokens or to their number."
            )
        value = row[self.length_column]
        return value if isinstance(value, int) else len(value)

    def _open(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Return an iterator over the pass that a source is in, behind the rows which that pass has given."""
        source, counts = self.sources[name], self.counts[name]
        counts.passes = max(1, counts.passes)
        if isinstance(source, IterableDataset):
            source.set_epoch(counts.passes - 1)
            return itertools.islice(read_whole(source), counts.rows_in_pass, None)
        stream = iter(source)
        if counts.passes > 1 and stream is source:
            raise ValueError(
                f"The source {name!r} is an iterator, which cannot begin again: give a dataset or a list."
            )
        return itertools.islice(stream, counts.rows_in_pass, None)

    def _require_tokens(self, name: str) -> None:
        """Refuse a source whose pass has ended without a token: repeated, it would be asked for ever."""
        counts = self.counts[name]
        if counts.tokens_in_pass == 0:
            found = f"{counts.rows_in_pass} rows without a token" if counts.rows_in_pass else "no rows"
            raise ValueError(f"The source {name!r} has {found}: leave it out, or check what it is read from.")

    def _check(self) -> None:
        if not self.sources or set(self.sources) != set(self._spans):
            raise ValueError(
                f"weights are given for {sorted(self._spans)}, but the sources are {sorted(self.sources)}."
            )
        for when, place in (("beginning", 0), ("end", 1)):
            values = {name: span[place] for name, span in self._spans.items()}
            if min(values.values()) < 0 or not abs(sum(values.values()) - 1.0) <= _TOLERANCE:
                raise ValueError(
                    f"Weights must be >= 0 and sum to 1; at the {when} they are {values}, sum "
                    f"{sum(values.values()):g}."
                )
        if self.total_tokens is None and any(first != last for first, last in self._spans.values()):
            raise ValueError("Weights that change need total_tokens: the tokens over which they change.")
        if self.total_tokens is not None and self.total_tokens < 1:
            raise ValueError(f"total_tokens must be at least 1, got {self.total_tokens}.")
        if self.when_exhausted not in ("stop", "repeat"):
            raise ValueError(f"when_exhausted must be 'stop' or 'repeat', got {self.when_exhausted!r}.")
        if self.ramp_power <= 0:
            raise ValueError(f"ramp_power must be above 0, got {self.ramp_power!r}.")


def _span(weight: Weight) -> tuple[float, float]:
    return (float(weight[0]), float(weight[1])) if isinstance(weight, tuple) else (float(weight), float(weight))


def _rows_of_shards(mixture: TokenMixture, num_shards: int, shards: list[int]) -> Iterator[dict[str, Any]]:
    for index in shards:
        yield from mixture.part(num_shards, index)
