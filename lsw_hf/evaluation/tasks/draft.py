"""A task report while it grows: saved after each task and length, and taken up again."""

import os
import time
from dataclasses import replace
from pathlib import Path

from ..setting import refuse_differences
from .report import TaskOutcome, TaskReport

# What must be the same for old answers to count. Run time may differ.
_IDENTITY = ("prompt_style", "max_position_embeddings", "model", "weights")


class TaskDraft:
    """Collects outcomes, cell by cell: all samples of one task at one length.

    Args:
        empty ([`TaskReport`]):
            Suite and settings, without outcomes.
        path (`str` or `os.PathLike`, *optional*):
            Where the draft is kept; an existing file is continued.

    Raises:
        ValueError: if the file at `path` is of another suite, other tasks or another model; the message names what
            differs.
    """

    def __init__(self, empty: TaskReport, path: str | os.PathLike[str] | None = None) -> None:
        self.report, self.path = empty, None if path is None else Path(path)
        self._cells: dict[tuple[str, int], list[TaskOutcome]] = {}
        self._seconds, self._started = 0.0, time.perf_counter()
        if self.path is not None and self.path.exists():
            old = TaskReport.load(self.path)
            self._check_same(old)
            for outcome in old.outcomes:
                self._cells.setdefault((outcome.task, outcome.context_length), []).append(outcome)
            self._seconds = old.settings.get("seconds", 0.0)

    def held(self, task: str, context_length: int) -> list[TaskOutcome]:
        """Return the outcomes of one cell; empty if it is still to be measured."""
        return self._cells.get((task, context_length), [])

    def add(self, task: str, context_length: int, outcomes: list[TaskOutcome]) -> None:
        """Take the outcomes of one whole cell."""
        self._cells[task, context_length] = outcomes
        if self.path is not None:
            self.current().save(self.path)

    def current(self) -> TaskReport:
        """Return the report so far, in the order of the suite whatever was resumed."""
        suite = self.report.suite
        places = [(task, length) for task in suite["tasks"] for length in suite["context_lengths"]]
        outcomes = tuple(outcome for place in places for outcome in self.held(*place))
        seconds = round(self._seconds + time.perf_counter() - self._started, 3)
        return replace(self.report, outcomes=outcomes, settings={**self.report.settings, "seconds": seconds})

    def _check_same(self, old: TaskReport) -> None:
        pairs = [(name, old.suite.get(name), value) for name, value in self.report.suite.items()]
        pairs += [(name, old.settings.get(name), self.report.settings.get(name)) for name in _IDENTITY]
        refuse_differences(pairs, f"{self.path} holds answers of another evaluation")
