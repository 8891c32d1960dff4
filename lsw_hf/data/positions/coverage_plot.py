"""A picture of position coverage. matplotlib is imported where it is used: recording works without it."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .coverage import CoverageInterval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH, _DPI = 9.0, 200
_SEEN, _UNSEEN = "#3b5b8c", "#c8423b"


def plot_position_coverage(
    intervals: Sequence[CoverageInterval], path: str | os.PathLike[str], *, title: str | None = None
) -> None:
    """Draws trained pairs of tokens by relative distance.

    Above: pairs a training step in each band of distances over the whole run, on a logarithmic scale; bands that were
    never trained are marked. Below, if there are several intervals: the same by interval as colors, white where
    nothing was trained.

    Args:
        intervals (`Sequence[CoverageInterval]`):
            Consecutive intervals of one run, as [`PositionCoverageCallback`] keeps them, with equal bands.
        path (`str` or `os.PathLike`):
            File to write; the ending decides the format (png, svg, pdf).
        title (`str`, *optional*):
            Line above the picture.

    Raises:
        ValueError: without intervals, or if their bands differ.
        ImportError: if matplotlib is not installed.
    """
    edges = {tuple((band.start, band.end) for band in interval.bands) for interval in intervals}
    if len(edges) != 1:
        raise ValueError(
            f"All intervals need the same bands, and there must be one at least; got {len(intervals)} intervals with "
            f"{len(edges)} kinds of bands."
        )
    from matplotlib.figure import Figure

    several = len(intervals) > 1
    figure = Figure(figsize=(_WIDTH, 6.0 if several else 3.4), layout="constrained")
    axes = figure.subplots(2 if several else 1, 1, sharex=True, squeeze=False)[:, 0]
    if title:
        figure.suptitle(title)
    borders = [band.start for band in intervals[0].bands] + [intervals[0].bands[-1].end]
    _draw_total(axes[0], intervals, borders)
    if several:
        _draw_intervals(figure, axes[1], intervals, borders)
    axes[-1].set_xlabel("distance to an earlier token, in positions")
    axes[-1].xaxis.set_major_formatter("{x:,.0f}")
    axes[-1].set_xlim(borders[0], borders[-1])
    figure.savefig(path, dpi=_DPI)


def _draw_total(axes: "Axes", intervals: Sequence[CoverageInterval], borders: list[int]) -> None:
    steps = sum(interval.num_steps for interval in intervals)
    pairs = np.array([[band.pairs for band in interval.bands] for interval in intervals]).sum(axis=0) / steps
    centers, widths = np.array(borders[:-1]), np.diff(borders)
    axes.bar(centers, pairs, widths, align="edge", color=_SEEN, edgecolor="white", linewidth=0.5)
    axes.set_yscale("log" if pairs.any() else "linear")
    axes.set_ylabel("trained pairs a step")
    for start, width, value in zip(centers, widths, pairs, strict=True):
        if value == 0:
            axes.axvspan(start, start + width, facecolor="none", edgecolor=_UNSEEN, hatch="///", linewidth=0)
    unseen = int((pairs == 0).sum())
    words = f"{unseen} of {len(pairs)} bands never trained (hatched)" if unseen else "every band trained"
    axes.set_title(f"{words}, {steps:,} steps", fontsize="medium", color=_UNSEEN if unseen else "black")


def _draw_intervals(figure: Any, axes: "Axes", intervals: Sequence[CoverageInterval], borders: list[int]) -> None:
    from matplotlib.colors import LogNorm

    rates = np.array([[band.pairs / interval.num_steps for band in interval.bands] for interval in intervals])
    steps = [interval.first_step - 1 for interval in intervals] + [intervals[-1].last_step]
    seen = rates[rates > 0]
    norm = LogNorm(seen.min(), max(seen.max(), seen.min() * 10)) if len(seen) else None
    mesh = axes.pcolormesh(borders, steps, np.ma.masked_equal(rates, 0), cmap="cividis_r", norm=norm)
    axes.invert_yaxis()
    axes.set_ylabel("training step")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    figure.colorbar(mesh, ax=axes, label="trained pairs a step")
