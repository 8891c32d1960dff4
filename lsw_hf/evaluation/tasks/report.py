"""What a task evaluation found: scores by task and length, and the effective length."""

import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from ...reports import SavedReport, markdown_table
from ..intervals import mean, wilson_interval
from ..setting import refuse_differences

# RULER (2404.06654, section 4): the score of Llama2-7B at its own 4K, in percent.
RULER_THRESHOLD = 85.6
# What must be the same for old answers to count. Run time may differ.
_IDENTITY = ("prompt_style", "max_position_embeddings", "model", "weights")


@dataclass(frozen=True)
class TaskOutcome:
    """One question and its score.

    Args:
        task (`str`):
            Name of the family.
        context_length (`int`):
            Most tokens of prompt and answer.
        prompt_tokens (`int`):
            Tokens of the prompt, exact.
        question (`str`):
            The end of the prompt.
        expected (`tuple[str, ...]`):
            The answers.
        answered (`str`):
            What the model said.
        score (`float`):
            Share of the answers that were given, or 0 or 1; in [0, 1].
        detail (`dict`, *optional*):
            Where the evidence is, and the like.
    """

    task: str
    context_length: int
    prompt_tokens: int
    question: str
    expected: tuple[str, ...]
    answered: str
    score: float
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskReport(SavedReport):
    """The result of [`evaluate_tasks`].

    Args:
        suite (`dict`):
            Fields of the [`TaskSuite`] and the names of the tasks.
        outcomes (`tuple[TaskOutcome, ...]`):
            Every question with its answer.
        settings (`dict`):
            Circumstances: `prompt_style`, `max_position_embeddings`, `model`, `seconds`.
    """

    kind: ClassVar[str] = "tasks"
    title: ClassVar[str] = "task report"

    suite: dict[str, Any]
    outcomes: tuple[TaskOutcome, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    def scores(self, task: str, context_length: int) -> list[float]:
        """Scores of one task at one length, in [0, 1]."""
        return [
            outcome.score
            for outcome in self.outcomes
            if outcome.task == task and outcome.context_length == context_length
        ]

    def average(self, context_length: int) -> float:
        """Mean of the task means at one length, in percent, as RULER averages."""
        means = [mean(self.scores(task, context_length)) for task in self.suite["tasks"]]
        return 100 * mean(means)

    def effective_length(self, threshold: float | None = None) -> int | None:
        """Return the longest length whose average reaches the threshold, `None` if none does.

        Args:
            threshold (`float`, *optional*):
                Percent; defaults to RULER's 85.6. To compare a model with itself, as NoLiMa (2502.05167) does, give
                85 % of its average at the shortest length.
        """
        limit = RULER_THRESHOLD if threshold is None else threshold
        passed = [length for length in self.suite["context_lengths"] if self.average(length) >= limit]
        return max(passed, default=None)

    def _fields(self) -> dict[str, Any]:
        lengths = self.suite["context_lengths"]
        cells = []
        for task in self.suite["tasks"]:
            for length in lengths:
                scores = self.scores(task, length)
                cell = {"task": task, "context_length": length, "samples": len(scores), "score": mean(scores)}
                cells.append(cell | {"interval": list(wilson_interval(sum(scores), len(scores)))})
        return {
            "averages": {str(length): self.average(length) for length in lengths},
            "effective_length": self.effective_length(),
            "cells": cells,
            "suite": self.suite,
            "settings": self.settings,
            "samples": [asdict(outcome) | {"expected": list(outcome.expected)} for outcome in self.outcomes],
        }

    @classmethod
    def _from_fields(cls, data: dict[str, Any]) -> "TaskReport":
        outcomes = tuple(TaskOutcome(**sample | {"expected": tuple(sample["expected"])}) for sample in data["samples"])
        return cls(suite=data["suite"], outcomes=outcomes, settings=data["settings"])

    def to_markdown(self) -> str:
        """Return a table task x length of scores in percent with half their 95 % interval, averages below; lengths
        beyond the model's window are starred.
        """
        lengths = self.suite["context_lengths"]
        window = self.settings.get("max_position_embeddings")
        beyond = {length for length in lengths if window is not None and length > window}
        header = ["task", *(f"{length:,}{'*' if length in beyond else ''}" for length in lengths)]
        rows = []
        for task in self.suite["tasks"]:
            row = [task]
            for length in lengths:
                scores = self.scores(task, length)
                low, high = wilson_interval(sum(scores), len(scores))
                row.append(f"{100 * mean(scores):.1f} ± {50 * (high - low):.1f}")
            rows.append(row)
        rows.append(["average", *(f"{self.average(length):.1f}" for length in lengths)])
        table = markdown_table(header, rows, align="l" + "r" * len(lengths))
        effective = self.effective_length()
        verdict = f"{effective:,} tokens" if effective else "none of these lengths"
        note = f" * longer than the model's window of {window:,} tokens." if beyond else ""
        return (
            f"{table}\n\nPercent of the expected answers, {len(self.outcomes):,} questions; ± half a 95 % interval. "
            f"Effective length by RULER's threshold of {RULER_THRESHOLD}: {verdict}.{note}"
        )


class CheckpointedTaskReport:
    """A report that grows cell by cell (one task at one length), is saved after each, and can be resumed.

    Args:
        empty ([`TaskReport`]):
            Suite and settings, without outcomes.
        path (`str` or `os.PathLike`, *optional*):
            Where the report so far is kept; an existing file is resumed.

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

    def outcomes_of(self, task: str, context_length: int) -> list[TaskOutcome]:
        """Return the outcomes of one cell; empty if it is not measured yet."""
        return self._cells.get((task, context_length), [])

    def add(self, task: str, context_length: int, outcomes: list[TaskOutcome]) -> None:
        """Add the outcomes of one whole cell."""
        self._cells[task, context_length] = outcomes
        if self.path is not None:
            self.current().save(self.path)

    def current(self) -> TaskReport:
        """Return the report so far, in the order of the suite whatever was resumed."""
        suite = self.report.suite
        places = [(task, length) for task in suite["tasks"] for length in suite["context_lengths"]]
        outcomes = tuple(outcome for place in places for outcome in self.outcomes_of(*place))
        seconds = round(self._seconds + time.perf_counter() - self._started, 3)
        return replace(self.report, outcomes=outcomes, settings={**self.report.settings, "seconds": seconds})

    def _check_same(self, old: TaskReport) -> None:
        pairs = [(name, old.suite.get(name), value) for name, value in self.report.suite.items()]
        pairs += [(name, old.settings.get(name), self.report.settings.get(name)) for name in _IDENTITY]
        refuse_differences(pairs, f"{self.path} contains answers of another evaluation")
