"""The part of the table of classes that `docs/results/architectures.md` shows: families whose layers differ."""

from __future__ import annotations

from collections import Counter
from typing import Any

from benchmarks.figures import compact_table

MARKS = {"extended": "+", "refused": "-", "wrong": "**wrong**", "not built": "?"}
WORDS = {"RG": "rotate", "RL": "rotate, local", "-G": "no positions", "-L": "no positions, local"}


def layers_table(rows: list[dict[str, Any]], methods: tuple[str, ...]) -> str:
    """
    One published configuration for each way in which layers of a family differ.

    Args:
        rows (`list[dict]`):
            What `context_classes.py` wrote.
        methods (`tuple[str, ...]`):
            Columns.

    Returns:
        `str`: a Markdown table.
    """
    lines, seen = [], set()
    for row in rows:
        kinds = tuple(dict.fromkeys(row["layers"].split()))
        if row["family"] == "classes" or not kinds or kinds == ("RG",):
            continue
        cells = [MARKS[row["cells"][f"{method} 2x"]["outcome"]] for method in methods]
        read = Counter(
            cell["read"]["4.57"].partition(":")[0] for cell in row["cells"].values() if "4.57" in cell["read"]
        )
        line = ("; ".join(WORDS[kind] for kind in kinds), *cells, ", ".join(read) or "not run")
        if (row["family"], line) not in seen:
            seen.add((row["family"], line))
            lines.append((row["name"], *line))
    return compact_table(("configuration", "layers", *methods, "read by 4.57"), lines)
