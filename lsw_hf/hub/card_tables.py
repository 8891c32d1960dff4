"""Markdown tables of a model card: RoPE, needle grid, training stages. Nothing is rounded up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..reports import markdown_table
from .rope_facts import RopeFacts

NOT_REPORTED = "not reported"


def cell(value: Any) -> str:
    """Return a fact as the text of one table cell; a missing one is visible as such, and `|` cannot end the cell."""
    if value is None or value == "":
        return NOT_REPORTED
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.6g}"
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def percent(share: float) -> str:
    """Return a share in percent with one digit, rounded down: 0.9996 is 99.9, so 100.0 means all of them."""
    # Without the last term 0.3 * 1000 = 299.99... would lose a digit.
    return f"{math.floor(share * 1000 + 1e-9) / 10:.1f}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 1) -> str:
    """Return a Markdown table whose columns from `numbers_from` on are aligned right."""
    marks = "-" * numbers_from + "r" * (len(header) - numbers_from)
    return markdown_table(header, rows, align=marks)


def rope_table(facts: Sequence[RopeFacts]) -> str:
    """Return one column of RoPE facts for each kind of layer."""
    rows = [
        ["RoPE type", *(cell(fact.rope_type) for fact in facts)],
        ["extension method", *(cell(fact.method) for fact in facts)],
        ["base (`rope_theta`)", *(cell(fact.rope_theta) for fact in facts)],
        ["factor", *(cell(fact.factor if fact.factor is not None else _no_factor(fact)) for fact in facts)],
        ["original window (tokens)", *(cell(fact.original_length) for fact in facts)],
        ["attention factor", *(cell(fact.attention_factor) for fact in facts)],
        ["window now (tokens)", *(cell(fact.context_length) for fact in facts)],
    ]
    return table(["", *(fact.layer_type or "all layers" for fact in facts)], rows)


def _no_factor(fact: RopeFacts) -> str | None:
    return "none" if fact.rope_type == "default" else None


def accuracy_by_length(report: Mapping[str, Any]) -> dict[int, tuple[float, float, int]]:
    """Return {length: (accuracy over all samples, accuracy of the worst cell, samples)} of a needle report's data."""
    lengths = sorted({found["context_length"] for found in report["cells"]})
    by_length = {}
    for length in lengths:
        cells = [found for found in report["cells"] if found["context_length"] == length]
        samples = sum(found["samples"] for found in cells)
        correct = sum(found["correct"] for found in cells)
        by_length[length] = (correct / samples, min(found["accuracy"] for found in cells), samples)
    return by_length


def needle_table(report: Mapping[str, Any], before: Mapping[str, Any] | None, window: int | None) -> str:
    """Return accuracy by length, before (where known) and after, in percent; `*` marks lengths beyond the window."""
    old = accuracy_by_length(before) if before else {}
    new = accuracy_by_length(report)
    rows = []
    for length in sorted({*old, *new}):
        accuracy, worst, samples = new.get(length, (None, None, None))
        rows.append(
            [
                f"{length:,}{'*' if window is not None and length > window else ''}",
                percent(old[length][0]) if length in old else NOT_REPORTED,
                NOT_REPORTED if accuracy is None else percent(accuracy),
                NOT_REPORTED if worst is None else percent(worst),
                cell(samples),
            ]
        )
    return table(["context length (tokens)", "before", "after", "worst depth after", "samples"], rows, numbers_from=0)


def needle_grid(report: Mapping[str, Any], window: int | None) -> str:
    """Return the grid of a needle report, depths down and lengths across, in percent."""
    cells = {(found["context_length"], found["depth"]): found["accuracy"] for found in report["cells"]}
    lengths, depths = (sorted({key[index] for key in cells}) for index in (0, 1))
    header = ["depth", *(f"{length:,}{'*' if window is not None and length > window else ''}" for length in lengths)]
    rows = [
        [f"{depth:.2f}", *(percent(cells[length, depth]) if (length, depth) in cells else "" for length in lengths)]
        for depth in depths
    ]
    return table(header, rows)


STAGE_COLUMNS = {
    "stage": "stage",
    "data": "data",
    "max_length": "row length",
    "steps": "steps",
    "tokens": "tokens",
    "learning_rate": "learning rate",
    "final_loss": "final loss",
    "seconds": "seconds",
    "source": "numbers from",
}


def stages_table(stages: Sequence[Mapping[str, Any]]) -> str:
    """Return one row a training stage; what a stage does not say is visible."""
    rows = [[cell(stage.get(key)) for key in STAGE_COLUMNS] for stage in stages]
    return table(list(STAGE_COLUMNS.values()), rows, numbers_from=2)
