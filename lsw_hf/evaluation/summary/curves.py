"""Curves by length and by position."""

import math
import os
from collections.abc import Mapping
from typing import Any

from ..figures import format_length, new_figure, save_figure
from ..intervals import wilson_interval
from ..losses.by_position import PositionLossReport
from ..needle.report import NeedleReport

# Two colors that differ in brightness as well as in hue, and two signs, for readers and printers without color.
_STYLES = (("#00204d", "o", "-"), ("#c67700", "s", "--"), ("#00796b", "^", "-."), ("#7a7a7a", "D", ":"))


def plot_length_curves(
    reports: Mapping[str, NeedleReport], path: str | os.PathLike[str], *, title: str | None = None
) -> None:
    """Draw accuracy by length with 95 % intervals, one line a report; lengths are spaced evenly.

    Args:
        reports (`Mapping[str, NeedleReport]`):
            Reports by the label of their line, at most 4.
        path (`str` or `os.PathLike`):
            File to write; the ending decides the format.
        title (`str`, *optional*):
            Line above the picture.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: for no report, or more than 4.
    """
    _check(reports)
    figure, panel = new_figure(6.5, 3.6)
    lengths = sorted({sample.context_length for report in reports.values() for sample in report.samples})
    for (label, report), (color, sign, line) in zip(reports.items(), _STYLES, strict=False):
        places, middles, below, above = [], [], [], []
        for place, length in enumerate(lengths):
            verdicts = [sample.correct for sample in report.samples if sample.context_length == length]
            if verdicts:
                share = sum(verdicts) / len(verdicts)
                low, high = wilson_interval(sum(verdicts), len(verdicts))
                places.append(place)
                middles.append(100 * share)
                below.append(100 * (share - low))
                above.append(100 * (high - share))
        panel.errorbar(
            places, middles, (below, above), color=color, marker=sign, linestyle=line, capsize=3, label=label
        )
    panel.set_xticks(range(len(lengths)), [format_length(length) for length in lengths])
    panel.set_ylim(-3, 103)
    _finish(panel, "context length in tokens", "accuracy (%), 95 % intervals", title)
    for chance in sorted({float(report.settings.get("chance") or 0.0) for report in reports.values()} - {0.0}):
        panel.axhline(100 * chance, color="#7a7a7a", linewidth=1, linestyle=":")
        panel.annotate("guessing", (0, 100 * chance), xytext=(2, 2), textcoords="offset points", fontsize=8)
    save_figure(figure, path)


def plot_position_loss(
    reports: Mapping[str, PositionLossReport], path: str | os.PathLike[str], *, title: str | None = None
) -> None:
    """Draw the loss by position, one line a report, with 95 % bands from the spread between windows.

    Args:
        reports (`Mapping[str, PositionLossReport]`):
            Reports by the label of their line, at most 4.
        path (`str` or `os.PathLike`):
            File to write; the ending decides the format.
        title (`str`, *optional*):
            Line above the picture.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: for no report, or more than 4.
    """
    _check(reports)
    figure, panel = new_figure(6.5, 3.6)
    for (label, report), (color, sign, line) in zip(reports.items(), _STYLES, strict=False):
        middles = [(bucket.start + bucket.end) / 2 for bucket in report.buckets]
        losses = [bucket.loss for bucket in report.buckets]
        panel.plot(middles, losses, color=color, marker=sign, linestyle=line, label=label)
        errors = [0.0 if math.isnan(b.standard_error) else 1.96 * b.standard_error for b in report.buckets]
        low = [loss - error for loss, error in zip(losses, errors, strict=True)]
        high = [loss + error for loss, error in zip(losses, errors, strict=True)]
        panel.fill_between(middles, low, high, color=color, alpha=0.15, linewidth=0)
    window = min(
        (report.settings.get("max_position_embeddings") or math.inf for report in reports.values()), default=math.inf
    )
    if window < max(bucket.end for report in reports.values() for bucket in report.buckets):
        panel.axvline(window, color="#d00000", linewidth=1.5, linestyle="--")
        panel.annotate("window", (window, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                       textcoords="offset points", color="#d00000", fontsize=9)  # fmt: skip
    _finish(panel, "position in tokens", "loss (nats per token)", title)
    save_figure(figure, path)


def _check(reports: Mapping[str, Any]) -> None:
    if not 1 <= len(reports) <= len(_STYLES):
        raise ValueError(f"a picture shows 1 to {len(_STYLES)} reports; got {len(reports)}")


def _finish(panel: Any, across: str, up: str, title: str | None) -> None:
    panel.set_xlabel(across)
    panel.set_ylabel(up)
    panel.grid(axis="y", color="#dddddd", linewidth=0.8)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
    panel.legend(frameon=False)
    if title:
        panel.set_title(title, fontweight="bold")
