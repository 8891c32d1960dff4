"""A needle report while it grows: saved now and then, and taken up again."""

import os
import time
from dataclasses import replace
from pathlib import Path

from ..setting import refuse_differences
from .report import NeedleReport, NeedleSample

_SECONDS_BETWEEN_SAVES = 60.0
# What must be the same for old answers to count. Versions and run time may differ.
_IDENTITY = ("task", "filler", "prompt_style", "max_new_tokens", "max_position_embeddings", "model", "weights")


class NeedleDraft:
    """Collects samples, haystack by haystack.

    Args:
        empty ([`NeedleReport`]):
            Grid and settings, without samples.
        path (`str` or `os.PathLike`, *optional*):
            Where the draft is kept; an existing file is continued.

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
        self._held = {(sample.context_length, sample.haystack) for sample in self.samples}

    @property
    def accuracy(self) -> float:
        """Share of right answers so far."""
        return sum(sample.correct for sample in self.samples) / max(len(self.samples), 1)

    def holds(self, context_length: int, haystack: int) -> bool:
        """Whether this haystack was examined already."""
        return (context_length, haystack) in self._held

    def add(self, samples: list[NeedleSample]) -> None:
        """Take the samples of one whole haystack."""
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
        refuse_differences(pairs, f"{self.path} holds a report of another evaluation")
