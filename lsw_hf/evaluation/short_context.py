"""What the longer window cost: the same model before and after, at the lengths it always had."""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .files import write_text
from .needle import NeedleGrid, evaluate_needle
from .needle_task import NeedleTask
from .position_loss import PositionLossReport, loss_by_position
from .report import SCHEMA_VERSION, NeedleReport
from .statistics import wilson_interval


@dataclass(frozen=True)
class ShortContextMeasure:
    """
    One model at short lengths.

    Args:
        window (`int`): The original window in tokens.
        needle ([`NeedleReport`]): Retrieval at half and at the whole window.
        loss ([`PositionLossReport`], *optional*): Loss on the user's texts over the window.
    """

    window: int
    needle: NeedleReport
    loss: PositionLossReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """The measure as plain data."""
        return {
            "kind": "short_context",
            "schema_version": SCHEMA_VERSION,
            "window": self.window,
            "needle": self.needle.to_dict(),
            "loss": None if self.loss is None else self.loss.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "ShortContextMeasure":
        """The inverse of [`~ShortContextMeasure.to_dict`]."""
        if data.get("kind") != "short_context" or data.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(f"this is not a short-context measure of schema version {SCHEMA_VERSION}")
        loss = None if data["loss"] is None else PositionLossReport.from_dict(data["loss"])
        return cls(data["window"], NeedleReport.from_dict(data["needle"]), loss)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the measure as JSON; an existing file is replaced in one step."""
        write_text(path, json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ShortContextMeasure":
        """Read a measure that [`~ShortContextMeasure.save`] wrote."""
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class ShortContextReport:
    """
    Before and after at short lengths.

    Args:
        before ([`ShortContextMeasure`]): The model with its original window.
        after ([`ShortContextMeasure`]): The model with the longer one.
        tolerance (`float`): Loss of accuracy that is accepted, in [0, 1].
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
    def paid(self) -> bool:
        """Whether accuracy fell by more than the tolerance."""
        return self.change < -self.tolerance

    def to_markdown(self) -> str:
        """What was paid, in a table and a sentence."""
        low, high = self.interval
        before, after = self.before.needle.accuracy, self.after.needle.accuracy
        rows = [
            "| at the original window | before | after | change |",
            "| :--- | ---: | ---: | ---: |",
            f"| needle accuracy (%) | {100 * before:.1f} | {100 * after:.1f} | {100 * self.change:+.1f} "
            f"[{100 * low:+.1f}, {100 * high:+.1f}] |",
        ]
        if self.loss_change is not None and self.before.loss and self.after.loss:
            rows.append(
                f"| loss (nats per token) | {self.before.loss.loss:.3f} | {self.after.loss.loss:.3f} "
                f"| {self.loss_change:+.3f} |"
            )
        verdict = "The short window was paid for" if self.paid else "The short window was not paid for"
        lengths = " and ".join(f"{length:,}" for length in self.before.needle.grid["context_lengths"])
        return "\n".join(rows) + f"\n\n{verdict}: {lengths} tokens, tolerance {100 * self.tolerance:g} points."


def measure_short_context(
    model: Any,
    tokenizer: Any,
    *,
    window: int,
    grid: NeedleGrid | None = None,
    task: NeedleTask | None = None,
    texts: Iterable[str] | None = None,
    progress: bool = True,
) -> ShortContextMeasure:
    """
    Measure one model at half and at the whole of its original window. Call it for the model before and after.

    Args:
        model ([`PreTrainedModel`]): A causal LM.
        tokenizer ([`PreTrainedTokenizerBase`]): Its tokenizer.
        window (`int`): The original window in tokens, the same for both models.
        grid ([`NeedleGrid`], *optional*): Samples, depths and density; its lengths are replaced. Defaults to 20
        samples. task ([`NeedleTask`], *optional*): Where the needles come from.
        texts (`Iterable[str]`, *optional*): Texts for the loss; without them only needles are measured.
        progress (`bool`, *optional*, defaults to `True`): Show bars on a terminal.

    Raises:
        `ValueError`: for a window below 2, or what the parts raise.
    """
    if window < 2:
        raise ValueError(f"the original window must have at least 2 tokens; got {window}")
    base = NeedleGrid((window,), num_samples=20) if grid is None else grid
    short = replace(base, context_lengths=(window // 2, window))
    needle = evaluate_needle(model, tokenizer, short, task, progress=progress)
    loss = None if texts is None else loss_by_position(model, tokenizer, texts, context_length=window)
    return ShortContextMeasure(window, needle, loss)


def compare_short_context(
    before: ShortContextMeasure, after: ShortContextMeasure, *, tolerance: float = 0.01
) -> ShortContextReport:
    """
    Set two measures against each other.

    Args:
        before ([`ShortContextMeasure`]): The model with its original window.
        after ([`ShortContextMeasure`]): The model with the longer one.
        tolerance (`float`, *optional*, defaults to 0.01): Loss of accuracy that is accepted (our choice).

    Raises:
        `ValueError`: if they were not measured on the same grid.
    """
    if before.window != after.window or before.needle.grid != after.needle.grid:
        raise ValueError(
            "before and after were measured on different grids: "
            f"window {before.window} and {after.window}, {before.needle.grid} and {after.needle.grid}"
        )
    return ShortContextReport(before, after, tolerance)


def _share(report: NeedleReport) -> tuple[float, float, float]:
    """Accuracy over all samples with its interval."""
    correct, count = sum(sample.correct for sample in report.samples), len(report.samples)
    return correct / count, *wilson_interval(correct, count)
