"""What a question finds in a table, and the tools that all families of questions share."""

from typing import NamedTuple

import numpy as np

from ..table import Table


class Found(NamedTuple):
    """What a builder found: slots for the templates, rows that contain the answer, rows of the linked table."""

    slots: dict[str, str]
    evidence: list[int]
    linked_evidence: tuple[int, ...] = ()


def uniform_row(table: Table, generator: np.random.Generator) -> int:
    """Return a row at a depth drawn uniformly from 0 to 1."""
    return min(int(generator.random() * table.num_rows), table.num_rows - 1)


def pick(choices: list[int] | tuple[int, ...], generator: np.random.Generator) -> int:
    """Return one of several numbers."""
    return choices[int(generator.integers(len(choices)))]


def key_slots(table: Table, row: int) -> dict[str, str]:
    """Return `key_column` and `key` of a row."""
    joiner = "和" if table.schema.language == "zh" else " and "
    return {"key_column": joiner.join(table.schema.key), "key": table.key_text(row)}


def quoted(table: Table, row: int, columns: list[int] | tuple[int, ...]) -> str:
    """Return cells of a row with their headers, the way answers quote them."""
    colon, comma = ("：", "，") if table.schema.language == "zh" else (": ", ", ")
    return comma.join(f"{table.name(column)}{colon}{table.cells[column][row]}" for column in columns)
