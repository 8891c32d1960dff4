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
    """Returns a 64-bit integer that identifies a row by its tokens.

    Args:
        tokens (`np.ndarray` of shape `(length,)`):
            Token ids, any integer type: the value does not depend on it.
    """
    data = np.ascontiguousarray(tokens, dtype=np.int32).tobytes()
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def row_keys(seed: int, epoch: int, rows: Sequence[int]) -> np.ndarray:
    """Returns one 64-bit key per row, to be handed to [`keyed_uniform`].

    Args:
        seed (`int`): Seed of the run.
        epoch (`int`): Epoch, 0 for the first.
        rows (`Sequence[int]` of length `num_rows`): What identifies each row, for example [`content_hash`].
    """
    keys = np.asarray(rows, dtype=np.uint64).reshape(-1)
    for word in (seed, epoch):
        keys = _mix(keys ^ _mix(np.full(1, (word * _GOLDEN + _GOLDEN) & _MASK, dtype=np.uint64)))
    return keys


def keyed_uniform(keys: np.ndarray, counter: np.ndarray | int) -> np.ndarray:
    """Returns float64 draws, uniform in [0, 1), one for each key.

    Args:
        keys (`np.ndarray` of `uint64`): Keys from [`row_keys`].
        counter (`int` or `np.ndarray` of the shape of `keys`): Which draw of that key: equal counters, equal draws.
    """
    steps = np.atleast_1d(np.asarray(counter, dtype=np.uint64)) + np.uint64(1)
    return (_mix(keys + steps * np.uint64(_GOLDEN)) >> np.uint64(11)) * 2.0**-53


def keyed_integers(keys: np.ndarray, counter: np.ndarray | int, high: np.ndarray | int) -> np.ndarray:
    """Returns int64 draws, uniform in {0, ..., high}; `high` is included and may differ by key."""
    return (keyed_uniform(keys, counter) * (np.asarray(high, dtype=np.int64) + 1)).astype(np.int64)
