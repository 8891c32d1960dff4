"""Questions that need the whole table."""

from fractions import Fraction

import numpy as np

from ..table import Table
from .conditions import columns_of, draw_condition
from .found import Found, pick
from .reasoning import number_text

_MOST_LISTED = 10
_MONOTONE = {
    "en": {"ascending": "ascending", "descending": "descending", "neither": "neither"},
    "zh": {"ascending": "升序", "descending": "降序", "neither": "都不是"},
}


def count(table: Table, generator: np.random.Generator) -> Found | None:
    """How many rows satisfy a condition."""
    condition = draw_condition(table, generator)
    if condition is None:
        return None
    return Found({"condition": condition.text, "value": str(len(condition.rows))}, [])


def total(table: Table, generator: np.random.Generator) -> Found | None:
    """Sum of a number column over the rows that satisfy a condition."""
    return _over_rows(table, generator, mean=False)


def mean(table: Table, generator: np.random.Generator) -> Found | None:
    """Mean of a number column over the rows that satisfy a condition, rounded half up to two places."""
    return _over_rows(table, generator, mean=True)


def _over_rows(table: Table, generator: np.random.Generator, mean: bool) -> Found | None:
    columns = columns_of(table, "integer", "decimal")
    condition = draw_condition(table, generator, 2) if columns else None
    if condition is None:
        return None
    column = pick(columns, generator)
    value = Fraction(int(table.numbers[column][condition.rows].sum()))
    if mean:
        value /= len(condition.rows)
    text = number_text(table.schema.columns[column], value)
    if mean and "." not in text:
        text += ".00"
    return Found({"condition": condition.text, "column": table.name(column), "value": text}, [])


def extreme(table: Table, generator: np.random.Generator) -> Found | None:
    """Largest or smallest value of a column, and the row that has it; only where one row alone has it."""
    largest = bool(generator.integers(2))
    found = _ranked(table, generator, 1, largest)
    if found is None:
        return None
    column, rows = found
    slots = {"column": table.name(column), "value": table.cells[column][rows[0]], "key": table.key_text(rows[0])}
    words = {"en": ("smallest", "largest"), "zh": ("最小", "最大")}[table.schema.language]
    if table.schema.columns[column].kind == "date":
        words = {"en": ("earliest", "latest"), "zh": ("最早", "最晚")}[table.schema.language]
    return Found(slots | {"extreme": words[largest]}, rows)


def top_k(table: Table, generator: np.random.Generator) -> Found | None:
    """Keys of the k rows with the largest values, largest first; only where their order is clear."""
    found = _ranked(table, generator, int(generator.integers(2, 6)), largest=True)
    if found is None:
        return None
    column, rows = found
    comma = "、" if table.schema.language == "zh" else "; "
    slots = {"number": str(len(rows)), "column": table.name(column), "key_column": ", ".join(table.schema.key)}
    return Found(slots | {"value": comma.join(table.key_text(row) for row in rows)}, rows)


def _ranked(table: Table, generator: np.random.Generator, wanted: int, largest: bool) -> tuple[int, list[int]] | None:
    columns = columns_of(table, "integer", "decimal", "date")
    for place in generator.permutation(len(columns)).tolist():
        column = columns[place]
        keys = -table.numbers[column] if largest else table.numbers[column]
        rows = np.argsort(keys, kind="stable")[: wanted + 1]
        if len(np.unique(keys[rows])) == wanted + 1:
            return column, rows[:wanted].tolist()
    return None


def most_frequent(table: Table, generator: np.random.Generator) -> Found | None:
    """Return the value that occurs most often in a column, and how often; only where it is one value."""
    columns = columns_of(table, "category", "city", "words")
    for place in generator.permutation(len(columns)).tolist():
        column = columns[place]
        values, counts = np.unique(table.numbers[column], return_counts=True)
        if np.count_nonzero(counts == counts.max()) == 1 and counts.max() > 1:
            text = table.schema.columns[column].text(int(values[counts.argmax()]))
            return Found({"column": table.name(column), "value": text, "times": str(counts.max())}, [])
    return None


def duplicates(table: Table, generator: np.random.Generator) -> Found | None:
    """How many different values of a column occur more than once."""
    columns = columns_of(table, "category", "city", "words", "name", "code", "date", "integer", "decimal")
    if not columns:
        return None
    column = pick(columns, generator)
    _, counts = np.unique(table.numbers[column], return_counts=True)
    return Found({"column": table.name(column), "value": str(np.count_nonzero(counts > 1))}, [])


def distinct(table: Table, generator: np.random.Generator) -> Found | None:
    """How many different values a column has."""
    columns = columns_of(table, "category", "city", "words", "name", "code", "date", "integer", "decimal")
    if not columns:
        return None
    column = pick(columns, generator)
    return Found({"column": table.name(column), "value": str(len(np.unique(table.numbers[column])))}, [])


def monotone(table: Table, generator: np.random.Generator) -> Found | None:
    """Whether a column never falls, never rises, or neither; the generator sorts some tables for it."""
    columns = columns_of(table, "integer", "decimal", "date")
    if not columns or table.num_rows < 3:
        return None
    steps = {column: np.diff(table.numbers[column]) for column in columns}
    sorted_ = [column for column in columns if (steps[column] >= 0).all() or (steps[column] <= 0).all()]
    nearly = [column for column in columns if 0 < min((steps[column] < 0).sum(), (steps[column] > 0).sum()) <= 1]
    column = pick(sorted_ or nearly or columns, generator)
    order = "ascending" if (steps[column] >= 0).all() else "descending" if (steps[column] <= 0).all() else "neither"
    return Found({"column": table.name(column), "value": _MONOTONE[table.schema.language][order]}, [])


def list_all(table: Table, generator: np.random.Generator) -> Found | None:
    """Keys of all rows that satisfy a condition, in table order, where these are few."""
    condition = draw_condition(table, generator, 2, _MOST_LISTED)
    if condition is None:
        return None
    rows = condition.rows.tolist()
    slots = {"condition": condition.text, "key_column": ", ".join(table.schema.key)}
    return Found(slots | {"value": "\n".join(table.key_text(row) for row in rows)}, rows)


AGGREGATION = {
    "count": count,
    "sum": total,
    "mean": mean,
    "extreme": extreme,
    "top_k": top_k,
    "most_frequent": most_frequent,
    "duplicates": duplicates,
    "distinct": distinct,
    "monotone": monotone,
    "list_all": list_all,
}
