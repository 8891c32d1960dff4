"""Streams inside streams, read whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datasets import Dataset, IterableDataset


def read_whole(dataset: Dataset | IterableDataset) -> Iterator[dict[str, Any]]:
    """Yield every row of a dataset, wherever it is read.

    A plain loop over an [`~datasets.IterableDataset`] in a worker of a data loader yields this worker's share only.
    That is right for the dataset that the loader was given and wrong for one that is read inside its generator, which
    would be split over the workers a second time.

    Args:
        dataset ([`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            The rows.
    """
    if isinstance(dataset, Dataset):
        yield from dataset
        return
    # Batches are not split. Of one row: in a larger one, rows that lack a column of their neighbors get it as null.
    for batch in dataset.iter(batch_size=1):
        yield {name: values[0] for name, values in batch.items()}
