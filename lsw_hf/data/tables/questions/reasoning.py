"""Questions answered in steps: rows are quoted first, the result follows."""

from fractions import Fraction

import numpy as np

from ..schema import Column
from ..table import Table
from .conditions import columns_of, draw_condition
from .found import Found, key_slots, pick, quoted, uniform_row

_ATTEMPTS = 16
_LEAST_DISTANCE = 0.3
_MOST_QUOTED = 8


def join(table: Table, generator: np.random.Generator) -> Found | None:
    """Two hops: a row names a key of the linked table, whose row has the answer."""
    if table.linked is None or table.link is None:
        return None
    linked = table.linked
    row = uniform_row(table, generator)
    name = table.cells[table.link][row]
    hop = linked.cells[linked.schema.key_indices[0]].index(name)
    column = pick(linked.schema.asked_indices, generator)
    slots = key_slots(table, row) | {
        "link": table.name(table.link),
        "column": linked.name(column),
        "steps": "\n".join(
            (
                quoted(table, row, (*table.schema.key_indices, table.link)),
                quoted(linked, hop, (*linked.schema.key_indices, column)),
            )
        ),
        "value": linked.cells[column][hop],
    }
    return Found(slots, [row], (hop,))


def compare(table: Table, generator: np.random.Generator) -> Found | None:
    """Which of two far rows has the larger value (or the later date)."""
    columns = columns_of(table, "integer", "decimal", "date")
    for _ in range(_ATTEMPTS if columns else 0):
        rows = [uniform_row(table, generator), uniform_row(table, generator)]
        column = pick(columns, generator)
        first, second = (int(table.numbers[column][row]) for row in rows)
        if abs(rows[0] - rows[1]) < _LEAST_DISTANCE * table.num_rows or first == second:
            continue
        winner = rows[0] if first > second else rows[1]
        steps = "\n".join(quoted(table, row, (*table.schema.key_indices, column)) for row in rows)
        slots = key_slots(table, rows[0]) | {"other": table.key_text(rows[1]), "column": table.name(column)}
        return Found(slots | {"steps": steps, "value": table.key_text(winner)}, rows)
    return None


def filter_sum(table: Table, generator: np.random.Generator) -> Found | None:
    """Rows that satisfy a condition, quoted, and the sum of a number column over them."""
    numbers = columns_of(table, "integer", "decimal")
    condition = draw_condition(table, generator, 2, _MOST_QUOTED) if numbers else None
    if condition is None:
        return None
    column = pick(numbers, generator)
    return _added(table, condition.rows.tolist(), column, {"condition": condition.text})


def add_rows(table: Table, generator: np.random.Generator) -> Found | None:
    """Return a few rows named by their keys, quoted, and the sum of a number column over them."""
    numbers = columns_of(table, "integer", "decimal")
    rows = list(dict.fromkeys(uniform_row(table, generator) for _ in range(int(generator.integers(2, 6)))))
    if not numbers or len(rows) < 2:
        return None
    comma = "、" if table.schema.language == "zh" else "; "
    slots = key_slots(table, rows[0]) | {"keys": comma.join(table.key_text(row) for row in rows)}
    return _added(table, rows, pick(numbers, generator), slots)


def _added(table: Table, rows: list[int], column: int, slots: dict[str, str]) -> Found:
    lines = [quoted(table, row, (*table.schema.key_indices, column)) for row in rows]
    terms = [table.cells[column][row] for row in rows]
    total = number_text(table.schema.columns[column], Fraction(int(table.numbers[column][rows].sum())))
    slots = slots | {"column": table.name(column), "steps": "\n".join(lines), "value": total}
    return Found(slots | {"sum": " + ".join(terms) + f" = {total}"}, rows)


def number_text(column: Column, number: Fraction) -> str:
    """Return a computed number the way its column writes numbers: integers whole, decimals with two places.

    Fractions of the last place are rounded half up, and an integer column's mean gets two places.
    """
    if column.kind == "integer" and number.denominator == 1:
        return str(number.numerator)
    hundredths = number * 100 if column.kind == "integer" else number
    rounded = int(abs(hundredths) + Fraction(1, 2))
    sign = "-" if hundredths < 0 and rounded else ""
    return f"{sign}{rounded // 100}.{rounded % 100:02d}"


REASONING = {"join": join, "compare": compare, "filter_sum": filter_sum, "add_rows": add_rows}
