"""Schemas drawn at random: what a table is about when the user does not say."""

import numpy as np

from .schema import Column, ColumnKind, TableSchema
from .vocabulary import CATEGORIES, HEADERS, Language


def random_schema(
    generator: np.random.Generator, language: Language, num_columns: tuple[int, int] = (4, 8)
) -> TableSchema:
    """Draws a schema: an id or code as key, a category, a number, and further columns of mixed kinds.

    Args:
        generator (`np.random.Generator`):
            source of the draws.
        language (`str`):
            `"en"` or `"zh"`, of headers and cells.
        num_columns (`tuple[int, int]`, *optional*, defaults to `(4, 8)`):
            fewest and most columns, between 4 and 12.

    Our choice: the paper's schemas are not known.
    """
    low, high = num_columns
    if not 4 <= low <= high <= 12:
        raise ValueError(f"num_columns must be two numbers between 4 and 12 in order, got {num_columns}.")
    keys: tuple[ColumnKind, ColumnKind] = ("id", "code")
    kinds: list[ColumnKind] = [keys[int(generator.integers(2))], "category", "integer"]
    extra: list[ColumnKind] = ["name", "city", "date", "integer", "decimal", "code", "category", "name", "city"]
    wanted = int(generator.integers(low, high + 1))
    kinds += [extra[place] for place in generator.permutation(len(extra))[: wanted - 3]]
    free = {
        kind: [HEADERS[language][kind][place] for place in generator.permutation(len(HEADERS[language][kind]))]
        for kind in HEADERS[language]
    }
    categories = [list(CATEGORIES[language])[place] for place in generator.permutation(len(CATEGORIES[language]))]
    columns = []
    for kind in kinds:
        name = categories.pop() if kind == "category" else free[kind].pop()
        values = CATEGORIES[language][name] if kind == "category" else ()
        columns.append(Column(name, kind, values, language=language))
    order = [0, *(1 + generator.permutation(len(columns) - 1)).tolist()]
    return TableSchema(tuple(columns[place] for place in order), language=language)
