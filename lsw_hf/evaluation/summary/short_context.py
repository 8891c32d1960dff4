"""What the longer window cost: the same model before and after, at the lengths it always had."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ...reports import SavedReport, markdown_table
from ..intervals import mean, wilson_interval
from ..losses.by_position import PositionLossReport, loss_by_position
from ..needle.grid import NeedleGrid, evaluate_needle
from ..needle.report import NeedleReport
from ..needle.task import NeedleTask
from ..reading.prompts import PromptStyle
from ..tasks.report import TaskReport


@dataclass(frozen=True)
class ShortContextMeasure(SavedReport):
    """One model at short lengths.

    Args:
        window (`int`):
            The original window in tokens.
        needle ([`NeedleReport`]):
            Retrieval at half and at the whole window.
        loss ([`PositionLossReport`], *optional*):
            Loss on the user's texts over the window.
        tasks ([`TaskReport`], *optional*):
            Task families at half and at the whole window.
    """

    kind: ClassVar[str] = "short_context"
    title: ClassVar[str] = "short-context measure"

    window: int
    needle: NeedleReport
    loss: PositionLossReport | None = None
    tasks: TaskReport | None = None

    def _fields(self) -> dict[str, Any]:
        return {
            "window": self.window,
            "needle": self.needle.to_dict(),
            "loss": None if self.loss is None else self.loss.to_dict(),
            "tasks": None if self.tasks is None else self.tasks.to_dict(),
        }

    @classmethod
    def _from_fields(cls, data: dict[str, Any]) -> "ShortContextMeasure":
        loss = None if data["loss"] is None else PositionLossReport.from_dict(data["loss"])
        tasks = None if data.get("tasks") is None else TaskReport.from_dict(data["tasks"])
        return cls(data["window"], NeedleReport.from_dict(data["needle"]), loss, tasks)

    def to_markdown(self) -> str:
        """Return the tables of its reports, one after the other."""
        parts = (self.needle, self.loss, self.tasks)
        return "\n\n".join(part.to_markdown() for part in parts if part is not None)


@dataclass(frozen=True)
class ShortContextReport:
    """Before and after at short lengths.

    Args:
        before ([`ShortContextMeasure`]):
            The model with its original window.
        after ([`ShortContextMeasure`]):
            The model with the longer one.
        tolerance (`float`):
            Loss of accuracy that is accepted, in [0, 1].
    """

    before: ShortContextMeasure
    after: ShortContextMeasure
    tolerance: float = 0.01

    @property
    def change(self) -> float:
        """Accuracy after minus before, all short cells together."""
        return self.after.needle.accuracy - self.before.needle.accuracy

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the change: Newcombe's (1998, method 10), from the two Wilson intervals."""
        (p1, low1, high1), (p2, low2, high2) = map(_share, (self.after.needle, self.before.needle))
        change = p1 - p2
        return change - math.hypot(p1 - low1, high2 - p2), change + math.hypot(high1 - p1, p2 - low2)

    @property
    def loss_change(self) -> float | None:
        """Loss after minus before in nats per token; above 0 is worse."""
        if self.before.loss is None or self.after.loss is None:
            return None
        return self.after.loss.loss - self.before.loss.loss

    @property
    def task_averages(self) -> tuple[float, float] | None:
        """Mean score of the task families over the short lengths before and after, in percent."""
        if self.before.tasks is None or self.after.tasks is None:
            return None
        before, after = (
            mean([report.average(length) for length in report.suite["context_lengths"]])
            for report in (self.before.tasks, self.after.tasks)
        )
        return before, after

    @property
    def worse(self) -> bool:
        """Whether accuracy fell by more than the tolerance."""
        return self.change < -self.tolerance

    def to_markdown(self, labels: tuple[str, str] = ("before", "after")) -> str:
        """Return what the longer window cost, in a table and a sentence.

        Args:
            labels (`tuple[str, str]`, *optional*, defaults to `("before", "after")`):
                Names of the two models.
        """
        low, high = self.interval
        before, after = self.before.needle.accuracy, self.after.needle.accuracy
        interval = f"[{100 * low:+.1f}, {100 * high:+.1f}]"
        rows = [
            [
                "needle accuracy (%)",
                f"{100 * before:.1f}",
                f"{100 * after:.1f}",
                f"{100 * self.change:+.1f} {interval}",
            ]
        ]
        if self.loss_change is not None and self.before.loss and self.after.loss:
            losses = [f"{loss:.3f}" for loss in (self.before.loss.loss, self.after.loss.loss)]
            rows.append(["loss (nats per token)", *losses, f"{self.loss_change:+.3f}"])
        if self.task_averages is not None:
            old, new = self.task_averages
            rows.append(["task families (%)", f"{old:.1f}", f"{new:.1f}", f"{new - old:+.1f}"])
        verdict = "Retrieval got worse" if self.worse else "Retrieval did not get worse"
        lengths = " and ".join(f"{length:,}" for length in self.before.needle.grid["context_lengths"])
        note = f"{verdict} at {lengths} tokens, by a tolerance of {100 * self.tolerance:g} points."
        table = markdown_table(["in the original window", *labels, "change"], rows, align="lrrr")
        return f"{table}\n\n{note} Change with its 95 % interval."


def measure_short_context(
    model: Any,
    tokenizer: Any,
    *,
    window: int,
    grid: NeedleGrid | None = None,
    task: NeedleTask | None = None,
    texts: Iterable[str] | None = None,
    prompt_style: PromptStyle = "auto",
    progress: bool = True,
) -> ShortContextMeasure:
    """Measure one model at half and at the whole of its original window. Call it for the model before and after. Task
    families are measured by [`evaluate_tasks`] at the same lengths and set as `tasks` with `dataclasses.replace`.

    Args:
        model ([`PreTrainedModel`]):
            A causal LM.
        tokenizer ([`PreTrainedTokenizerBase`]):
            Its tokenizer.
        window (`int`):
            The original window in tokens, the same for both models.
        grid ([`NeedleGrid`], *optional*):
            Samples, depths and density; its lengths are replaced. Defaults to 20 samples.
        task ([`NeedleTask`], *optional*):
            Where the needles come from.
        texts (`Iterable[str]`, *optional*):
            Texts for the loss; without them it is not measured.
        prompt_style (`str`, *optional*, defaults to `"auto"`):
            `"plain"`, `"chat"`, or chat if there is a template.
        progress (`bool`, *optional*, defaults to `True`):
            Show bars on a terminal.

    Raises:
        ValueError: for a window below 2, or what the parts raise.
    """
    if window < 2:
        raise ValueError(f"the original window must have at least 2 tokens; got {window}")
    base = NeedleGrid((window,), num_samples=20) if grid is None else grid
    short = replace(base, context_lengths=(window // 2, window))
    needle = evaluate_needle(model, tokenizer, short, task, prompt_style=prompt_style, progress=progress)
    loss = None if texts is None else loss_by_position(model, tokenizer, texts, context_length=window)
    return ShortContextMeasure(window, needle, loss)


def compare_short_context(
    before: ShortContextMeasure, after: ShortContextMeasure, *, tolerance: float = 0.01
) -> ShortContextReport:
    """Set two measures against each other.

    Args:
        before ([`ShortContextMeasure`]):
            The model with its original window.
        after ([`ShortContextMeasure`]):
            The model with the longer one.
        tolerance (`float`, *optional*, defaults to 0.01):
            Loss of accuracy that is accepted (our choice).

    Raises:
        ValueError: if they were not measured on the same grid, or by the same tasks.
    """
    if before.window != after.window or before.needle.grid != after.needle.grid:
        raise ValueError(
            "before and after were measured on different grids: "
            f"window {before.window} and {after.window}, {before.needle.grid} and {after.needle.grid}"
        )
    suites = [None if measure.tasks is None else measure.tasks.suite for measure in (before, after)]
    if None not in suites and suites[0] != suites[1]:
        raise ValueError(f"before and after answered different task suites: {suites[0]} and {suites[1]}")
    return ShortContextReport(before, after, tolerance)


def _share(report: NeedleReport) -> tuple[float, float, float]:
    """Accuracy over all samples with its interval."""
    correct, count = sum(sample.correct for sample in report.samples), len(report.samples)
    return correct / count, *wilson_interval(correct, count)
