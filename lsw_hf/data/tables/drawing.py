"""Rows of a table: keys that never repeat, cells drawn from their columns, pairs a user forbids left out."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from .schema import TableSchema
from .table import Table

RowFilter = Callable[[Mapping[str, str]], bool]
"""Gets a row as `{header: cell}`, returns whether it may appear."""
KeyFilter = Callable[[str], bool]
"""Gets the text of a key (cells joined by ", "), returns whether it may appear."""

_LISTED_KEYS = 1 << 16
_ATTEMPTS_PER_KEY = 8


def draw_table(
    schema: TableSchema,
    num_rows: int,
    generator: np.random.Generator,
    *,
    keep_key: KeyFilter | None = None,
    keep_row: RowFilter | None = None,
) -> Table:
    """Draws a table.

    Args:
        schema ([`TableSchema`]):
            Its columns.
        num_rows (`int`):
            Rows to draw, each with a key of its own.
        generator (`np.random.Generator`):
            Source of all draws; an equal generator gives an equal table.
        keep_key (`Callable`, *optional*):
            Decides which keys may appear.
        keep_row (`Callable`, *optional*):
            Decides which rows may appear. The other cells of a refused row are drawn again, a few times, before its
            key is given up.

    Returns:
        [`Table`]: `num_rows` rows, or fewer when the allowed keys run out.
    """
    samplers = [schema.columns[index].sampler(generator) for index in schema.value_indices]
    keys = _fresh_keys(schema.key_size, generator)
    parts: list[list[np.ndarray]] = []
    found = 0
    while found < num_rows:
        flat = next(keys, None)
        if flat is None:
            break
        columns = _columns(schema, flat, samplers, keep_key, keep_row)
        parts.append([column[: num_rows - found] for column in columns])
        found += len(parts[-1][0])
    numbers = tuple(np.concatenate(column) for column in zip(*parts, strict=True))
    cells = tuple(column.texts(values) for column, values in zip(schema.columns, numbers, strict=True))
    return Table(schema, numbers, cells)


def _fresh_keys(size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Batches of numbers below `size`, none of them twice."""
    if size <= _LISTED_KEYS:
        yield from np.array_split(generator.permutation(size), max(1, size // 512))
        return
    seen = np.empty(0, dtype=np.int64)
    while len(seen) < size // 2:
        batch = generator.integers(0, size, 1024)
        _, first = np.unique(batch, return_index=True)
        batch = batch[np.sort(first)]
        batch = batch[~np.isin(batch, seen)]
        seen = np.concatenate([seen, batch])
        yield batch


def _columns(
    schema: TableSchema,
    flat: np.ndarray,
    samplers: list[Callable[[int], np.ndarray]],
    keep_key: KeyFilter | None,
    keep_row: RowFilter | None,
) -> list[np.ndarray]:
    key_columns = [schema.columns[index] for index in schema.key_indices]
    places = np.unravel_index(flat, [column.size for column in key_columns])
    keys = [place + column.bounds[0] for place, column in zip(places, key_columns, strict=True)]
    if keep_key is not None:
        texts = zip(*(column.texts(key) for column, key in zip(key_columns, keys, strict=True)), strict=True)
        kept = np.fromiter((keep_key(", ".join(text)) for text in texts), dtype=bool, count=len(flat))
        keys = [key[kept] for key in keys]
    values = [sampler(len(keys[0])) for sampler in samplers]
    columns = _in_place(schema, keys, values)
    if keep_row is None:
        return columns
    kept = _kept(schema, columns, keep_row)
    for _ in range(_ATTEMPTS_PER_KEY):
        refused = np.flatnonzero(~kept)
        if len(refused) == 0:
            break
        for value, sampler in zip(values, samplers, strict=True):
            value[refused] = sampler(len(refused))
        columns = _in_place(schema, keys, values)
        kept[refused] = _kept(schema, [column[refused] for column in columns], keep_row)
    return [column[kept] for column in columns]


def _in_place(schema: TableSchema, keys: list[np.ndarray], values: list[np.ndarray]) -> list[np.ndarray]:
    columns = dict(zip(schema.key_indices, keys, strict=True)) | dict(zip(schema.value_indices, values, strict=True))
    return [columns[index] for index in range(len(schema.columns))]


def _kept(schema: TableSchema, columns: list[np.ndarray], keep_row: RowFilter) -> np.ndarray:
    names = [column.name for column in schema.columns]
    texts = zip(*(column.texts(values) for column, values in zip(schema.columns, columns, strict=True)), strict=True)
    return np.fromiter(
        (bool(keep_row(dict(zip(names, row, strict=True)))) for row in texts), dtype=bool, count=len(columns[0])
    )
