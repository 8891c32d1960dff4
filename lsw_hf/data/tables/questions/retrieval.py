"""Questions answered by finding rows."""

import numpy as np

from ..table import Table
from .found import Found, key_slots, pick, quoted, uniform_row

_ATTEMPTS = 16
_MOST_NEEDLES = 5


def cell(table: Table, generator: np.random.Generator) -> Found | None:
    """One cell of a row that its key names."""
    row = uniform_row(table, generator)
    column = pick(table.schema.asked_indices, generator)
    return Found(key_slots(table, row) | {"column": table.name(column), "value": table.cells[column][row]}, [row])


def whole_row(table: Table, generator: np.random.Generator) -> Found | None:
    """Every asked cell of a row that its key names."""
    row = uniform_row(table, generator)
    return Found(key_slots(table, row) | {"value": quoted(table, row, table.schema.asked_indices)}, [row])


def reverse(table: Table, generator: np.random.Generator) -> Found | None:
    """Return the key of the only row with a value."""
    for _ in range(_ATTEMPTS):
        row = uniform_row(table, generator)
        single = [index for index in table.schema.asked_indices if table.occurrences[index][row] == 1]
        if single:
            column = pick(single, generator)
            slots = key_slots(table, row) | {"column": table.name(column), "given": table.cells[column][row]}
            return Found(slots | {"value": slots["key"]}, [row])
    return None


def composite(table: Table, generator: np.random.Generator) -> Found | None:
    """Return a row named by two cells that only together occur once."""
    asked = list(table.schema.asked_indices)
    if len(asked) < 3:
        return None
    for _ in range(_ATTEMPTS):
        row = uniform_row(table, generator)
        first, second, column = (asked[place] for place in generator.permutation(len(asked))[:3])
        alike = [table.numbers[index] == table.numbers[index][row] for index in (first, second)]
        if np.count_nonzero(alike[0] & alike[1]) == 1:
            slots = {"first": table.name(first), "first_value": table.cells[first][row], "column": table.name(column)}
            slots |= {"second": table.name(second), "second_value": table.cells[second][row]}
            return Found(slots | {"value": table.cells[column][row]}, [row])
    return None


def ordinal(table: Table, generator: np.random.Generator) -> Found | None:
    """Return a cell of the n-th row, counted from 1 below the headers."""
    row = uniform_row(table, generator)
    column = pick(table.schema.asked_indices, generator)
    return Found({"number": str(row + 1), "column": table.name(column), "value": table.cells[column][row]}, [row])


def multi(table: Table, generator: np.random.Generator) -> Found | None:
    """Return the same column of several rows, in the order they are asked for."""
    wanted = min(int(generator.integers(2, _MOST_NEEDLES + 1)), table.num_rows)
    rows = list(dict.fromkeys(uniform_row(table, generator) for _ in range(4 * wanted)))[:wanted]
    if len(rows) < 2:
        return None
    column = pick(table.schema.asked_indices, generator)
    comma, colon = ("、", "：") if table.schema.language == "zh" else ("; ", ": ")
    slots = key_slots(table, rows[0]) | {
        "keys": comma.join(table.key_text(row) for row in rows),
        "column": table.name(column),
        "value": "\n".join(f"{table.key_text(row)}{colon}{table.cells[column][row]}" for row in rows),
    }
    return Found(slots, rows)


def absent(table: Table, generator: np.random.Generator) -> Found | None:
    """Return a key that is not in the table."""
    if not table.absent_keys:
        return None
    key = table.absent_keys[int(generator.integers(len(table.absent_keys)))]
    column = pick(table.schema.asked_indices, generator)
    return Found(key_slots(table, 0) | {"key": key, "column": table.name(column)}, [])


def neighbor(table: Table, generator: np.random.Generator) -> Found | None:
    """Return a cell of the row directly below the one a key names."""
    row = min(uniform_row(table, generator), table.num_rows - 2)
    column = pick(table.schema.asked_indices, generator)
    slots = key_slots(table, row) | {"column": table.name(column), "value": table.cells[column][row + 1]}
    return Found(slots, [row, row + 1])


RETRIEVAL = {
    "cell": cell,
    "row": whole_row,
    "reverse": reverse,
    "composite": composite,
    "ordinal": ordinal,
    "multi": multi,
    "absent": absent,
    "neighbor": neighbor,
}
