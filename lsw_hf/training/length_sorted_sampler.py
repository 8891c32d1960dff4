"""Batches of rows of similar lengths, in random order.

A module of its own so that the sampler can be used with any data loader, without the trainers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import datasets
import numpy as np
import torch
from transformers import TrainerCallback

_ROWS_AT_ONCE = 1_000


class LengthSortedSampler(torch.utils.data.Sampler[int]):
    """Indices of a dataset such that every `group_size` consecutive ones are neighbors in length.

    All rows are sorted by length, cut into groups, and the groups are shuffled
    ([LongAlign, 2401.18058](https://arxiv.org/abs/2401.18058), "sorted batching"). With the rows of one optimizer step
    as a group, little is padded and no process waits for another one's long row.

    ```text
    lengths      9 2 5 7 1 8     group_size=2
    sorted       1 2 | 5 7 | 8 9
    one epoch    5 7   9 8   1 2
    ```

    *Relation* to [`~transformers.trainer_pt_utils.LengthGroupedSampler`]: that one shuffles first and sorts within
    slices of 50 batches, so neighbors are neighbors of a slice only, and the steps of a slice run from long to
    short; it draws from the global generator and does not count processes in a batch. Here the whole dataset is
    sorted, the order of steps has no trend, and everything follows from seed and epoch.

    Args:
        lengths (`Sequence[int]` or `np.ndarray`):
            Tokens of each row.
        group_size (`int`):
            Rows of one optimizer step: batch size x accumulation steps x processes.
        seed (`int`, *optional*, defaults to 0):
            Order of the groups, of the rows in a group, and of rows of equal length.

    Every index comes once an epoch. When `group_size` does not divide the rows, the smaller group lies at a random
    place of the sorted rows and comes last, so that the others stay whole. The order is a function of seed and epoch,
    so a resume that skips the batches that were seen continues exactly.

    Raises:
        ValueError: if there are no rows, or `group_size` is below 1.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, group_size: int, *, seed: int = 0) -> None:
        if group_size < 1:
            raise ValueError(f"group_size must be at least 1 row, got {group_size}.")
        if len(lengths) == 0:
            raise ValueError("lengths is empty: there is no row to sort.")
        self.lengths = np.asarray(lengths)
        self.group_size = group_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Another order, equally reproducible, from the next iteration on.

        Args:
            epoch (`int`):
                Number of the epoch, 0 for the first.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        draws = np.random.default_rng([self.seed, self.epoch])
        shuffled = draws.permutation(len(self.lengths))
        order = shuffled[np.argsort(self.lengths[shuffled], kind="stable")]
        size, rest = self.group_size, len(order) % self.group_size
        start = size * int(draws.integers(len(order) // size + 1))
        last, order = order[start : start + rest], np.delete(order, np.arange(start, start + rest))
        for group in draws.permutation(len(order) // size):
            yield from draws.permutation(order[group * size : (group + 1) * size]).tolist()
        yield from draws.permutation(last).tolist()


def row_lengths(dataset: datasets.Dataset, column: str = "input_ids") -> np.ndarray:
    """Tokens of each row, read from the Arrow offsets without decoding any token.

    Args:
        dataset ([`~datasets.Dataset`]):
            Rows with a list column.
        column (`str`, *optional*, defaults to `"input_ids"`):
            That column.

    Returns:
        `np.ndarray` of shape `(rows,)`.

    Raises:
        ValueError: for a stream, whose lengths are not known beforehand.
    """
    import pyarrow.compute

    if not isinstance(dataset, datasets.Dataset):
        raise ValueError(
            "length_sorted_batches=True needs a datasets.Dataset: the lengths in a stream are not known beforehand. "
            "Set it to False, or load the rows."
        )
    batches = dataset.select_columns(column).with_format("arrow").iter(_ROWS_AT_ONCE)
    parts = [pyarrow.compute.list_value_length(batch[column]).to_numpy() for batch in batches]
    return np.concatenate([np.empty(0, dtype=np.int64), *parts])


class EpochOfBatches(TrainerCallback):
    """Tells a [`LengthSortedSampler`] the epoch, also after a resume.

    Args:
        sampler ([`LengthSortedSampler`]):
            The sampler in use.
    """

    def __init__(self, sampler: LengthSortedSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See [`~transformers.TrainerCallback`]."""
        self.sampler.set_epoch(int(state.epoch or 0))
