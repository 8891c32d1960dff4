"""What the longer context is worth: needle grids and their reports."""

from .needle import NeedleGrid, evaluate_needle
from .needle_task import NeedleFact, NeedleTask, ProseNeedleTask
from .report import NeedleCell, NeedleReport, NeedleSample

__all__ = [
    "NeedleCell",
    "NeedleFact",
    "NeedleGrid",
    "NeedleReport",
    "NeedleSample",
    "NeedleTask",
    "ProseNeedleTask",
    "evaluate_needle",
]
