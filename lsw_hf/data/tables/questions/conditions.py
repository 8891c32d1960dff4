"""Conditions on a column that select rows, as text and as a mask."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..schema import NUMBER_KINDS
from ..table import Table
from ..vocabulary import Language

Relation = Literal["is", "above", "below", "after", "before"]
PHRASES: dict[Language, dict[Relation, str]] = {
    "en": {
        "is": "{column} is {value}",
        "above": "{column} is greater than {value}",
        "below": "{column} is less than {value}",
        "after": "{column} is later than {value}",
        "before": "{column} is earlier than {value}",
    },
    "zh": {
        "is": "{column}为{value}",
        "above": "{column}大于{value}",
        "below": "{column}小于{value}",
        "after": "{column}晚于{value}",
        "before": "{column}早于{value}",
    },
}


@dataclass(frozen=True)
class Condition:
    """A condition on one column.

    Attributes:
        column (`int`):
            its place.
        text (`str`):
            as it is written in a question.
        rows (`np.ndarray`):
            the rows that satisfy it, in order.
    """

    column: int
    text: str
    rows: np.ndarray


def columns_of(table: Table, *kinds: str) -> list[int]:
    """Columns of the given kinds that questions may ask for."""
    return [index for index in table.schema.asked_indices if table.schema.columns[index].kind in kinds]


def draw_condition(
    table: Table, generator: np.random.Generator, fewest: int = 1, most: int | None = None
) -> Condition | None:
    """Return a condition that selects at least `fewest` and at most `most` rows, or `None` when a few draws found
    none.

    Args:
        table ([`Table`]):
            where rows are selected.
        generator (`np.random.Generator`):
            chooses the column, the relation and the value.
        fewest (`int`, *optional*, defaults to 1):
            smallest number of selected rows.
        most (`int`, *optional*):
            largest number; all rows but one by default.
    """
    limit = table.num_rows - 1 if most is None else most
    columns = columns_of(table, "category", "city", "words", "name", "date", "integer", "decimal")
    for _ in range(12 if columns else 0):
        column = columns[int(generator.integers(len(columns)))]
        condition = _condition(table, column, generator, limit)
        if condition is not None and fewest <= len(condition.rows) <= limit:
            return condition
    return None


def _condition(table: Table, column: int, generator: np.random.Generator, limit: int) -> Condition | None:
    kind = table.schema.columns[column].kind
    numbers = table.numbers[column]
    relation: Relation = "is"
    if kind in NUMBER_KINDS or kind == "date":
        up: Relation = "after" if kind == "date" else "above"
        down: Relation = "before" if kind == "date" else "below"
        relation = (up, down)[int(generator.integers(2))]
        # A threshold among the values themselves, so that "greater than" and "at least" give different answers.
        share = min(0.9, max(2, limit) / table.num_rows) * generator.random()
        threshold = int(np.quantile(numbers, 1 - share if relation == up else share, method="nearest"))
        rows = np.flatnonzero(numbers > threshold if relation == up else numbers < threshold)
        value = table.schema.columns[column].text(threshold)
    else:
        allowed = np.flatnonzero(table.occurrences[column] <= limit)
        if len(allowed) == 0:
            return None
        row = int(allowed[int(generator.integers(len(allowed)))])
        rows = np.flatnonzero(numbers == numbers[row])
        value = table.cells[column][row]
    text = PHRASES[table.schema.language][relation].format(column=table.name(column), value=value)
    return Condition(column, text, rows)
