"""A drawn table, and the table its rows may point to."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from .schema import TableSchema


@dataclass(frozen=True)
class Table:
    """A table, column by column.

    Attributes:
        schema ([`TableSchema`]):
            its columns.
        numbers (`tuple[np.ndarray, ...]`):
            per column, `int64` numbers of its domain, one a row; ordered kinds compare
            by them.
        cells (`tuple[list[str], ...]`):
            per column, the same as text.
        absent_keys (`tuple[str, ...]`):
            keys that could have been drawn but are not in the table.
        linked ([`Table`], *optional*):
            a second table; the column `link` of this one contains its keys.
        link (`int`, *optional*):
            place of that column.
    """

    schema: TableSchema
    numbers: tuple[np.ndarray, ...]
    cells: tuple[list[str], ...] = field(repr=False)
    absent_keys: tuple[str, ...] = field(default=(), repr=False)
    linked: "Table | None" = None
    link: int | None = None

    @property
    def num_rows(self) -> int:
        """Rows, headers not counted."""
        return len(self.cells[0])

    def key_text(self, row: int) -> str:
        """Return the cells that name a row, joined by a comma."""
        return ", ".join(self.cells[index][row] for index in self.schema.key_indices)

    def name(self, column: int) -> str:
        """Header of a column."""
        return self.schema.columns[column].name

    @cached_property
    def occurrences(self) -> tuple[np.ndarray, ...]:
        """Per column and row, how often the row's cell occurs in that column."""
        counted = (np.unique(column, return_inverse=True, return_counts=True) for column in self.numbers)
        return tuple(counts[places] for _, places, counts in counted)

    def first_rows(self, count: int) -> "Table":
        """Return the same table cut after its first `count` rows; keys of the others become absent ones."""
        absent = tuple(self.key_text(row) for row in range(count, min(self.num_rows, count + 64)))
        numbers = tuple(column[:count] for column in self.numbers)
        cells = tuple(column[:count] for column in self.cells)
        return replace(self, numbers=numbers, cells=cells, absent_keys=absent + self.absent_keys)

    def in_order(self, rows: np.ndarray) -> "Table":
        """Return the same rows in another order."""
        cells = tuple([column[row] for row in rows.tolist()] for column in self.cells)
        return replace(self, numbers=tuple(column[rows] for column in self.numbers), cells=cells)
