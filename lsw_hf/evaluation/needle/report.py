"""What a needle evaluation found: cells, samples, and the circumstances that give the numbers their meaning."""

import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from ...reports import SavedReport, markdown_table
from ..intervals import mean, wilson_interval
from ..setting import refuse_differences
from .heat_map import plot_needle

_SECONDS_BETWEEN_SAVES = 60.0
# What must be the same for old answers to count. Versions and run time may differ.
_IDENTITY = ("task", "filler", "prompt_style", "max_new_tokens", "max_position_embeddings", "model", "weights")


@dataclass(frozen=True)
class NeedleSample:
    """One question and its answer.

    Args:
        context_length (`int`):
            Tokens of the prompt.
        cell_depth (`float`):
            Depth of the cell it counts for.
        depth (`float`):
            Where the needle was, exactly: in [0, 1], by tokens.
        haystack (`int`):
            Number of the haystack within its length; questions of one haystack share it.
        question (`str`):
            What was asked.
        expected (`str`):
            The right answer.
        answered (`str`):
            What the model said.
        correct (`bool`):
            The verdict.
        margin (`float`, *optional*):
            Log-probability margin per token, when likelihoods were scored.
    """

    context_length: int
    cell_depth: float
    depth: float
    haystack: int
    question: str
    expected: str
    answered: str
    correct: bool
    margin: float | None = None


@dataclass(frozen=True)
class NeedleCell:
    """Samples of one length and depth.

    Args:
        context_length (`int`):
            Tokens of each prompt.
        depth (`float`):
            Depth of the cell, in [0, 1]; 0 is the beginning.
        samples (`int`):
            Number of questions.
        correct (`int`):
            Number of right answers.
        beyond_window (`bool`):
            Whether the prompts are longer than the model's `max_position_embeddings`.
    """

    context_length: int
    depth: float
    samples: int
    correct: int
    beyond_window: bool = False

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.correct / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Wilson interval of the accuracy."""
        return wilson_interval(self.correct, self.samples)


@dataclass(frozen=True)
class NeedleReport(SavedReport):
    """The result of [`evaluate_needle`].

    Args:
        grid (`dict`):
            Fields of the [`NeedleGrid`] that was run.
        samples (`tuple[NeedleSample, ...]`):
            Every question with its answer.
        settings (`dict`):
            Circumstances: `task`, `prompt_style`, `questions_per_haystack` by length, `chance`,
            `max_position_embeddings`, `model`, versions and run time.
    """

    kind: ClassVar[str] = "needle"
    title: ClassVar[str] = "needle report"

    grid: dict[str, Any]
    samples: tuple[NeedleSample, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def accuracy(self) -> float:
        """Mean accuracy of all cells, each cell weighing the same; NaN without samples."""
        return mean([cell.accuracy for cell in self.cells])

    @property
    def cells(self) -> tuple[NeedleCell, ...]:
        """Cells by length, then depth, both ascending."""
        counts: dict[tuple[int, float], list[int]] = {}
        for sample in self.samples:
            count = counts.setdefault((sample.context_length, sample.cell_depth), [0, 0])
            count[0] += 1
            count[1] += sample.correct
        window = self.settings.get("max_position_embeddings")
        return tuple(
            NeedleCell(length, depth, samples, correct, window is not None and length > window)
            for (length, depth), (samples, correct) in sorted(counts.items())
        )

    def accuracy_at(self, context_length: int) -> float:
        """Accuracy over all samples of one length.

        Raises:
            ValueError: if the grid has no such length.
        """
        verdicts = [sample.correct for sample in self.samples if sample.context_length == context_length]
        if not verdicts:
            lengths = sorted({sample.context_length for sample in self.samples})
            raise ValueError(f"no samples of {context_length} tokens; the report has {lengths}")
        return sum(verdicts) / len(verdicts)

    def _fields(self) -> dict[str, Any]:
        cells = []
        for cell in self.cells:
            low, high = cell.interval
            cells.append({**asdict(cell), "accuracy": cell.accuracy, "interval": [low, high]})
        return {
            "accuracy": self.accuracy,
            "cells": cells,
            "grid": self.grid,
            "settings": self.settings,
            "samples": [asdict(sample) for sample in self.samples],
        }

    @classmethod
    def _from_fields(cls, data: dict[str, Any]) -> "NeedleReport":
        samples = tuple(NeedleSample(**sample) for sample in data["samples"])
        return cls(grid=data["grid"], samples=samples, settings=data["settings"])

    def plot(self, path: str | os.PathLike[str], *, title: str | None = None) -> None:
        """Draw the grid as a heat map; see [`plot_needle`]. Needs matplotlib."""
        plot_needle(self, path, title=title)

    def to_markdown(self) -> str:
        """Return a table of accuracies in percent, depths down, lengths across; lengths beyond the model's window are
        starred.
        """
        cells = {(cell.context_length, cell.depth): cell for cell in self.cells}
        lengths = sorted({length for length, _ in cells})
        depths = sorted({depth for _, depth in cells})
        beyond = {length for (length, _), cell in cells.items() if cell.beyond_window}
        header = ["depth", *(f"{length:,}{'*' if length in beyond else ''}" for length in lengths)]
        rows = []
        for depth in depths:
            found = (cells.get((length, depth)) for length in lengths)
            rows.append([f"{depth:.2f}", *("" if cell is None else f"{100 * cell.accuracy:.1f}" for cell in found)])
        rows.append(["all", *(f"{100 * self.accuracy_at(length):.1f}" for length in lengths)])
        return markdown_table(header, rows, align="r" * len(header)) + "\n\n" + " ".join(self._notes(bool(beyond)))

    def _notes(self, beyond: bool) -> Iterable[str]:
        """Yield what a reader of the table must know, in sentences."""
        counts = sorted({cell.samples for cell in self.cells})
        spread = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        yield f"Accuracy in percent, {spread} samples a cell, {len(self.samples):,} in all."
        yield "Lengths are tokens of the whole prompt."
        shared = max(self.settings.get("questions_per_haystack", {"": 1}).values())
        if shared > 1:
            yield f"Up to {shared} independent questions share one haystack; none sees another."
        if self.settings.get("chance") is not None:
            yield f"Guessing gives {100 * self.settings['chance']:.1f}."
        repeating = self.settings.get("filler_repeats_at") or []
        if repeating:
            yield f"The haystack texts are shorter than {min(repeating):,} tokens and start over there."
        if beyond:
            yield f"* longer than the model's window of {self.settings['max_position_embeddings']:,} tokens."


class CheckpointedNeedleReport:
    """A report that grows haystack by haystack, is saved now and then, and can be resumed.

    Args:
        empty ([`NeedleReport`]):
            Grid and settings, without samples.
        path (`str` or `os.PathLike`, *optional*):
            Where the report so far is kept; an existing file is resumed.

    Raises:
        ValueError: if the file at `path` is of another grid, task or model; the message names what differs.
    """

    def __init__(self, empty: NeedleReport, path: str | os.PathLike[str] | None = None) -> None:
        self.report, self.path = empty, None if path is None else Path(path)
        self.samples: list[NeedleSample] = []
        self._seconds, self._started = 0.0, time.perf_counter()
        self._saved = self._started
        if self.path is not None and self.path.exists():
            old = NeedleReport.load(self.path)
            self._check_same(old)
            self.samples = list(old.samples)
            self._seconds = old.settings.get("seconds", 0.0)
        self._done = {(sample.context_length, sample.haystack) for sample in self.samples}

    @property
    def accuracy(self) -> float:
        """Share of right answers so far."""
        return sum(sample.correct for sample in self.samples) / max(len(self.samples), 1)

    def contains(self, context_length: int, haystack: int) -> bool:
        """Whether this haystack was examined already."""
        return (context_length, haystack) in self._done

    def add(self, samples: list[NeedleSample]) -> None:
        """Add the samples of one whole haystack."""
        self.samples += samples
        if self.path is not None and time.perf_counter() - self._saved > _SECONDS_BETWEEN_SAVES:
            self._current().save(self.path)
            self._saved = time.perf_counter()

    def finished(self) -> NeedleReport:
        """Return the whole report, in the order of the grid whatever was resumed."""
        report = self._current()
        if self.path is not None:
            report.save(self.path)
        return report

    def _current(self) -> NeedleReport:
        seconds = round(self._seconds + time.perf_counter() - self._started, 3)
        return replace(self.report, samples=tuple(self.samples), settings={**self.report.settings, "seconds": seconds})

    def _check_same(self, old: NeedleReport) -> None:
        pairs = [(name, old.grid.get(name), value) for name, value in self.report.grid.items()]
        pairs += [(name, old.settings.get(name), self.report.settings.get(name)) for name in _IDENTITY]
        refuse_differences(pairs, f"{self.path} contains a report of another evaluation")
