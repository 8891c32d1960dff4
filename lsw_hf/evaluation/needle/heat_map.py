"""Heat maps of needle reports."""

import os
from collections.abc import Sequence
from typing import Any, Protocol

from ..figures import format_length, new_figure, save_figure

# matplotlib's cividis: made to look the same with and without color vision, and dark to light also in print.
_PALETTE = "cividis"
_WIDTH = 9.0


class Cells(Protocol):
    """What is drawn of a [`NeedleReport`]. Not the class itself: reports draw themselves with this module."""

    @property
    def cells(self) -> tuple[Any, ...]:
        """Cells with a length, a depth and an accuracy, see [`NeedleCell`]."""

    @property
    def accuracy(self) -> float:
        """Mean accuracy of all cells, in [0, 1]."""

    @property
    def settings(self) -> dict[str, Any]:
        """Circumstances; the model's `max_position_embeddings` is read."""


def plot_needle(
    report: Cells,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    trained_window: int | None = None,
) -> None:
    """Draw one report as a heat map: lengths across, depths down with the beginning of the text at the top, the
    accuracy in percent in each cell, colors from 0 to 100 %, a line where the model's window ends.

    Args:
        report ([`NeedleReport`]):
            What to draw.
        path (`str` or `os.PathLike`):
            File to write; the ending decides the format (png, svg, pdf).
        title (`str`, *optional*):
            Line above the map.
        trained_window (`int`, *optional*):
            Length in tokens after which the line is drawn; defaults to the model's `max_position_embeddings`.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    _draw([report], path, [title or ""], None, [trained_window])


def plot_needle_pair(
    before: Cells,
    after: Cells,
    path: str | os.PathLike[str],
    *,
    title: str | None = None,
    labels: Sequence[str] = ("before", "after"),
    trained_windows: Sequence[int | None] = (None, None),
) -> None:
    """Draw two reports side by side on one color scale from 0 to 100 %.

    Args:
        before ([`NeedleReport`]):
            Left map.
        after ([`NeedleReport`]):
            Right map.
        path (`str` or `os.PathLike`):
            File to write; the ending decides the format (png, svg, pdf).
        title (`str`, *optional*):
            Line above both maps.
        labels (`Sequence[str]`, *optional*, defaults to `("before", "after")`):
            Line above each map, followed by the mean accuracy.
        trained_windows (`Sequence[int | None]`, *optional*, defaults to `(None, None)`):
            Length in tokens after which each map's line is drawn; `None` is the model's `max_position_embeddings`.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    _draw([before, after], path, list(labels), title, list(trained_windows))


def _draw(
    reports: list[Cells],
    path: str | os.PathLike[str],
    labels: list[str],
    title: str | None,
    windows: list[int | None],
) -> None:
    """Draw the figure of one or two reports: panels, shared labels, one color bar."""
    rows = max(len({cell.depth for cell in report.cells}) for report in reports)
    height = 1.75 + 0.36 * max(rows, 3) + (0.3 if title else 0.0)
    width = _WIDTH if len(reports) == 2 else 0.62 * _WIDTH
    figure, *panels = new_figure(width, height, panels=len(reports))
    images = [_draw_panel(*parts) for parts in zip(panels, reports, labels, strict=True)]
    marks = [_mark_window(*parts) for parts in zip(panels, reports, windows, strict=True)]
    note = " (dashed: end of the model's window)" if any(marks) else ""
    panels[0].set_ylabel("depth of the needle\n(0 = beginning)", fontsize=10)
    figure.supxlabel(f"context length in tokens{note}", fontsize=10)
    bar = figure.colorbar(images[0], ax=panels, fraction=0.03, pad=0.02, ticks=[0, 25, 50, 75, 100])
    bar.set_label("accuracy (%)", fontsize=10)
    bar.ax.tick_params(labelsize=9)
    if title:
        figure.suptitle(title, fontsize=12, fontweight="bold")
    save_figure(figure, path)


def _draw_panel(panel: Any, report: Cells, label: str) -> Any:
    """One heat map with numbers; returns the image that the color bar belongs to."""
    cells = {(cell.context_length, cell.depth): cell for cell in report.cells}
    lengths = sorted({length for length, _ in cells})
    depths = sorted({depth for _, depth in cells})
    table = [
        [100 * cells[length, depth].accuracy if (length, depth) in cells else float("nan") for length in lengths]
        for depth in depths
    ]
    image = panel.imshow(table, cmap=_PALETTE, vmin=0.0, vmax=100.0, aspect="auto")
    size = 10 if len(lengths) <= 6 else 8
    for row, values in enumerate(table):
        for column, value in enumerate(values):
            if value == value:
                color = "white" if value < 55 else "black"
                panel.text(column, row, _percent(value), ha="center", va="center", color=color, fontsize=size)
    panel.set_xticks(range(len(lengths)), [format_length(length) for length in lengths], fontsize=9)
    panel.set_yticks(range(len(depths)), [f"{depth:.2g}" for depth in depths], fontsize=9)
    panel.tick_params(length=0)
    for border in panel.spines.values():
        border.set_visible(False)
    mean = f"{_percent(100 * report.accuracy)} %"
    panel.set_title(f"{label}: {mean}" if label else mean, fontsize=11)
    return image


def _mark_window(panel: Any, report: Cells, window: int | None) -> bool:
    """Return a line between the lengths inside and beyond the window, if there are both."""
    lengths = {cell.context_length for cell in report.cells}
    window = window or report.settings.get("max_position_embeddings")
    inside = sum(length <= window for length in lengths) if window else 0
    if not 0 < inside < len(lengths):
        return False
    panel.axvline(inside - 0.5, color="white", linewidth=4)
    panel.axvline(inside - 0.5, color="#d00000", linewidth=2, linestyle="--")
    return True


def _percent(value: float) -> str:
    """Whole percent where that says everything; never 100 for less than all."""
    if value in (0.0, 100.0):
        return f"{value:.0f}"
    return f"{min(value, 99.9):.1f}" if value > 99 or value < 1 else f"{value:.0f}"
