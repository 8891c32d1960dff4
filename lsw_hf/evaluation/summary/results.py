"""All that was measured on one model, in one folder."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..losses.by_position import PositionLossReport
from ..needle.report import NeedleReport
from ..tasks.report import TaskReport
from .short_context import ShortContextMeasure

NEEDLE_FILE, TASKS_FILE, LOSS_FILE, SHORT_FILE = "needle.json", "tasks.json", "loss.json", "short_context.json"


@dataclass(frozen=True)
class EvaluationResults:
    """The reports about one model; what was not measured is `None`.

    Args:
        needle ([`NeedleReport`], *optional*):
            Retrieval grid.
        tasks ([`TaskReport`], *optional*):
            Task families by length.
        loss ([`PositionLossReport`], *optional*):
            Loss by position.
        short_context ([`ShortContextMeasure`], *optional*):
            The original window.
    """

    needle: NeedleReport | None = None
    tasks: TaskReport | None = None
    loss: PositionLossReport | None = None
    short_context: ShortContextMeasure | None = None

    def to_dict(self) -> dict[str, Any]:
        """All reports as plain data, by name."""
        parts = {"needle": self.needle, "tasks": self.tasks, "loss": self.loss, "short_context": self.short_context}
        return {name: report.to_dict() for name, report in parts.items() if report is not None}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write one JSON file a report into `folder`."""
        target = Path(folder)
        for report, name in zip(
            (self.needle, self.tasks, self.loss, self.short_context),
            (NEEDLE_FILE, TASKS_FILE, LOSS_FILE, SHORT_FILE),
            strict=True,
        ):
            if report is not None:
                report.save(target / name)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "EvaluationResults":
        """Read what [`~EvaluationResults.save`] wrote.

        Raises:
            ValueError: if the folder has none of the files.
        """
        source = Path(folder)
        found = [source / name for name in (NEEDLE_FILE, TASKS_FILE, LOSS_FILE, SHORT_FILE)]
        if not any(path.exists() for path in found):
            raise ValueError(f"{source} contains no evaluation: none of {', '.join(path.name for path in found)}")
        needle, tasks, loss, short = found
        return cls(
            needle=NeedleReport.load(needle) if needle.exists() else None,
            tasks=TaskReport.load(tasks) if tasks.exists() else None,
            loss=PositionLossReport.load(loss) if loss.exists() else None,
            short_context=ShortContextMeasure.load(short) if short.exists() else None,
        )
