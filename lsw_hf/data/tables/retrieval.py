"""Questions answered by finding rows."""

import numpy as np

from .schema import Table

Found = tuple[dict[str, str], list[int]]
"""Slots for the templates, and the rows that hold the answer."""


def uniform_row(table: Table, generator: np.random.Generator) -> int:
    """A row at a depth drawn uniformly from 0 to 1."""
    return min(int(generator.random() * table.num_rows), table.num_rows - 1)


def key_slots(table: Table, row: int) -> dict[str, str]:
    """`key_column` and `key` of a row."""
    joiner = "和" if table.schema.language == "zh" else " and "
    return {"key_column": joiner.join(table.schema.key), "key": table.key_text(row)}


def value_column(table: Table, generator: np.random.Generator) -> int:
    """One of the columns that may be asked for."""
    indices = table.schema.asked_indices
    return indices[int(generator.integers(len(indices)))]


def cell(table: Table, generator: np.random.Generator) -> Found | None:
    """One cell of a row that its key names."""
    row = uniform_row(table, generator)
    column = value_column(table, generator)
    slots = key_slots(table, row) | {"column": table.schema.columns[column].name, "value": table.cells[column][row]}
    return slots, [row]


RETRIEVAL = {"cell": cell}
