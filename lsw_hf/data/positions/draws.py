"""Keyed random draws: a number is a function of (seed, epoch, row, counter), never of who asks or in which order.

A generator object has a state, so what it returns depends on the worker, the process and the batch that used it
before. Here each draw is computed from its own key with the SplitMix64 finaliser, for a whole batch at once.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 0xFFFFFFFFFFFFFFFF


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64 finaliser: a bijection on 64-bit integers whose output bits all depend on all input bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def content_hash(tokens: np.ndarray) -> int:
    """Return a 64-bit integer that identifies a row by its tokens.

    Args:
        tokens (`np.ndarray` of shape `(length,)`):
            Token ids, any integer type: the value does not depend on it.
    """
    data = np.ascontiguousarray(tokens, dtype=np.int32).data
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def row_keys(seed: int, epoch: int, rows: Sequence[int]) -> np.ndarray:
    """Return one 64-bit key per row, to be handed to [`keyed_uniform`].

    Args:
        seed (`int`):
            Seed of the run.
        epoch (`int`):
            Epoch, 0 for the first.
        rows (`Sequence[int]` of length `num_rows`):
            What identifies each row, for example [`content_hash`].
    """
    keys = np.asarray(rows, dtype=np.uint64).reshape(-1)
    for word in (seed, epoch):
        keys = _mix(keys ^ _mix(np.full(1, (word * _GOLDEN + _GOLDEN) & _MASK, dtype=np.uint64)))
    return keys


def keyed_uniform(keys: np.ndarray, counter: np.ndarray | int) -> np.ndarray:
    """Return float64 draws, uniform in [0, 1), one for each key.

    Args:
        keys (`np.ndarray` of `uint64`):
            Keys from [`row_keys`].
        counter (`int` or `np.ndarray` of the shape of `keys`):
            Which draw of that key: equal counters, equal draws.
    """
    steps = np.atleast_1d(np.asarray(counter, dtype=np.uint64)) + np.uint64(1)
    return (_mix(keys + steps * np.uint64(_GOLDEN)) >> np.uint64(11)) * 2.0**-53


def keyed_integers(keys: np.ndarray, counter: np.ndarray | int, high: np.ndarray | int) -> np.ndarray:
    """Return int64 draws, uniform in {0, ..., high}; `high` is included and may differ by key."""
    return (keyed_uniform(keys, counter) * (np.asarray(high, dtype=np.int64) + 1)).astype(np.int64)


def keyed_subsets(
    keys: np.ndarray, counter: int, sizes: np.ndarray, highs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draws for each key a subset of {0, ..., high - 1}, each subset of its size equally likely.

    Args:
        keys (`np.ndarray` of `uint64`, shape `(num_rows,)`):
            Keys from [`row_keys`].
        counter (`int`):
            First counter used; counters above it are used as well.
        sizes (`np.ndarray` of shape `(num_rows,)`):
            Size of each subset, in [0, high].
        highs (`np.ndarray` of shape `(num_rows,)`):
            Number of values each subset is drawn from.

    Returns:
        `tuple` of two int64 arrays of shape `(sizes.sum(),)`: the row, and the value; sorted by row, then by value.
    """
    sizes, highs = np.asarray(sizes, dtype=np.int64), np.asarray(highs, dtype=np.int64)
    # Redrawing what is taken already would take long where most values are wanted: there, rank them all.
    dense = 2 * sizes > highs
    rows = np.repeat(np.arange(len(sizes)), sizes)
    values = np.empty(len(rows), dtype=np.int64)
    values[dense[rows]] = _ranked_subsets(keys[dense], counter, sizes[dense], highs[dense])
    sparse = np.flatnonzero(~dense)
    values[~dense[rows]] = _redrawn_subsets(keys[sparse], counter, sizes[sparse], highs[sparse])
    return rows, values


def _ranked_subsets(keys: np.ndarray, counter: int, sizes: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """Give each value of each row a random priority and keep the best `size` of a row."""
    rows = np.repeat(np.arange(len(highs)), highs)
    values = np.arange(len(rows)) - np.repeat(np.cumsum(highs) - highs, highs)
    chosen = np.zeros(len(rows), dtype=bool)
    # Sorted by row first, so `values` counts ranks as well.
    chosen[np.lexsort((keyed_uniform(keys[rows], counter + values), rows))] = values < np.repeat(sizes, highs)
    return values[chosen]


def _redrawn_subsets(keys: np.ndarray, counter: int, sizes: np.ndarray, highs: np.ndarray) -> np.ndarray:
    """Draws values, keeps one of equal ones and draws the others again; no value is treated unlike another."""
    rows = np.repeat(np.arange(len(sizes)), sizes)
    # Each row counts on by its own size: by the largest of the batch, its draws would depend on the rows beside it.
    counters = counter + np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    values = np.empty(len(rows), dtype=np.int64)
    again = np.ones(len(rows), dtype=bool)
    while again.any():
        values[again] = keyed_integers(keys[rows[again]], counters[again], highs[rows[again]] - 1)
        values = values[np.lexsort((values, rows))]
        again[1:] = (values[1:] == values[:-1]) & (rows[1:] == rows[:-1])
        again[:1] = False
        counters += sizes[rows]
    return values
