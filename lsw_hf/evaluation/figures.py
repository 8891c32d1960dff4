"""Figures without matplotlib's global state. It is imported where it is used: reports work without it."""

import os
from typing import Any

from ..files import replacing

_DPI = 200


def format_length(tokens: int) -> str:
    """Short form of a length. K counts in 1,024 as is usual for context windows (128K = 131,072), k in 1,000 (200k =
    200,000); other lengths are written out.
    """
    if tokens >= 1024 and tokens % 1024 == 0:
        return f"{tokens // 1024}K"
    if tokens >= 1000 and tokens % 1000 == 0:
        return f"{tokens // 1000}k"
    return f"{tokens:,}"


def new_figure(width: float, height: float, panels: int = 1) -> tuple[Any, ...]:
    """Return a figure of `width` x `height` inches and its panels side by side.

    Raises:
        ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'lsw-hf[plot]'") from error
    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, *figure.subplots(1, panels, squeeze=False)[0]


def save_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Write a whole figure or none; the ending of `path` decides the format."""
    with replacing(path) as partial:
        figure.savefig(partial)
