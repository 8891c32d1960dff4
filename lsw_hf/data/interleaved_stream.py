"""
Chunk-interleaved windows as a `datasets.IterableDataset`: sharded over ranks and workers, resumable, for any trainer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset, IterableDataset

from lsw_hf.data.chunk_interleave import ChunkInterleaver
from lsw_hf.data.chunk_interleave_config import ChunkInterleaveConfig

_MOST_SHARDS = 8
_WINDOWS_PER_SHARD = 64
_READ_ROWS = 256
_TOKENISE_ROWS = 32


def interleave_dataset(
    dataset: Dataset | IterableDataset,
    config: ChunkInterleaveConfig,
    *,
    tokenizer: Any = None,
    text_column: str = "text",
    num_shards: int | None = None,
    num_epochs: int = 1,
    seed: int = 0,
) -> IterableDataset:
    """
    Chunk-interleaved windows over a dataset of documents.

    The documents are cut into `num_shards` parts, and every part becomes a stream of windows of its own, a function of
    (seed, epoch, part). Ranks and workers get whole parts, so together they give the same windows however many there
    are. Every part drops its last unfilled window.

    Resuming with `state_dict` and `load_state_dict` gives exactly the windows that were left. It repeats the work of
    the current part up to that place, so more parts mean a quicker resume.

    Args:
        dataset (`Dataset` or `IterableDataset`):
            Rows with `input_ids` (and, if wanted, `labels`), or with text when a tokenizer is given.
        config ([`ChunkInterleaveConfig`]):
            How windows are built.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Tokenises `text_column`, without special tokens, as the stream is read.
        text_column (`str`, *optional*, defaults to `"text"`):
            Where the text stands.
        num_shards (`int`, *optional*):
            Parts. Defaults to the shards of an `IterableDataset`, and to at most 8 for a `Dataset`. At least the
            number of ranks times workers makes all of them useful.
        num_epochs (`int`, *optional*, defaults to 1):
            Passes over each part, one behind the other, with other cuts and, for a `Dataset`, documents in another
            order.
        seed (`int`, *optional*, defaults to 0):
            Everything drawn follows from it.

    Returns:
        `IterableDataset`: rows of `input_ids` and `labels` as `int64` arrays, and what the config adds.

    Raises:
        ValueError: no column of tokens or text, counts below 1, more parts than the dataset has.
    """
    for name, value in (("num_shards", 1 if num_shards is None else num_shards), ("num_epochs", num_epochs)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}.")
    column = text_column if tokenizer is not None else "input_ids"
    if dataset.column_names is not None and column not in dataset.column_names:
        hint = "name the text_column" if tokenizer is not None else "give a tokenizer and the text_column"
        raise ValueError(f"The dataset has no column {column!r}, only {dataset.column_names}: {hint}.")
    if isinstance(dataset, Dataset):
        limit = max(1, len(dataset))
        wanted = len(dataset) // (_WINDOWS_PER_SHARD * config.documents_per_window)
        parts = max(1, min(_MOST_SHARDS, wanted)) if num_shards is None else num_shards
    else:
        limit = dataset.num_shards
        parts = limit if num_shards is None else num_shards
    if parts > limit:
        raise ValueError(f"num_shards={parts}, but the dataset can only be cut into {limit} parts: ask for fewer.")
    windows = _ShardWindows(dataset, config, tokenizer, text_column, parts, num_epochs, seed)
    # Without declared features: with them, datasets rebuilds every row token by token, at fifty times the cost.
    return IterableDataset.from_generator(windows.generate, gen_kwargs={"shards": list(range(parts))})


@dataclass(frozen=True)
class _ShardWindows:
    """Makes the windows of some shards; travels to workers by pickle."""

    dataset: Dataset | IterableDataset
    config: ChunkInterleaveConfig
    tokenizer: Any
    text_column: str
    num_shards: int
    num_epochs: int
    seed: int

    def generate(self, shards: list[int]) -> Iterator[dict[str, Any]]:
        """Windows of the given shards, one shard after the other."""
        for shard in shards:
            part = self.dataset.shard(num_shards=self.num_shards, index=shard)
            for epoch in range(self.num_epochs):
                documents = read_documents(self._ordered(part, shard, epoch), self.tokenizer, self.text_column)
                yield from ChunkInterleaver(documents, self.config, seed=f"{self.seed}-{epoch}-{shard}")

    def _ordered(self, part: Dataset | IterableDataset, shard: int, epoch: int) -> Dataset | IterableDataset:
        if isinstance(part, Dataset):
            return part if epoch == 0 else part.shuffle(seed=[self.seed, epoch, shard])
        # An IterableDataset that was shuffled draws its order from this; the others keep theirs.
        part.set_epoch(epoch)
        return part


def read_documents(
    dataset: Dataset | IterableDataset, tokenizer: Any = None, text_column: str = "text"
) -> Iterator[Mapping[str, Any]]:
    """
    Rows of a dataset as documents of token ids.

    Args:
        dataset (`Dataset` or `IterableDataset`): rows with `input_ids` and, if wanted, `labels`; or with text.
        tokenizer (`PreTrainedTokenizerBase`, *optional*): tokenises the text, a few documents at a time.
        text_column (`str`, *optional*, defaults to `"text"`): where the text stands.
    """
    if tokenizer is not None:
        yield from tokenise_texts((row[text_column] for row in dataset), tokenizer)
    elif isinstance(dataset, Dataset):
        yield from _arrow_documents(dataset)
    else:
        yield from dataset


def tokenise_texts(texts: Iterable[str], tokenizer: Any) -> Iterator[Mapping[str, Any]]:
    """Texts as documents of token ids, a few at a time, without special tokens."""
    batch: list[str] = []
    options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    for text in texts:
        batch.append(text)
        if len(batch) == _TOKENISE_ROWS:
            yield from ({"input_ids": input_ids} for input_ids in tokenizer(batch, **options)["input_ids"])
            batch = []
    if batch:
        yield from ({"input_ids": input_ids} for input_ids in tokenizer(batch, **options)["input_ids"])


def _arrow_documents(dataset: Dataset) -> Iterator[Mapping[str, np.ndarray]]:
    """Documents as views of the dataset's own memory, without a Python object per token."""
    columns = [name for name in ("input_ids", "labels") if name in dataset.column_names]
    for table in dataset.select_columns(columns).with_format("arrow").iter(batch_size=_READ_ROWS):
        arrays = {}
        for name in columns:
            column = table[name].combine_chunks()
            arrays[name] = (column.flatten().to_numpy(zero_copy_only=False), column.offsets.to_numpy())
        for row in range(table.num_rows):
            document = {}
            for name, (values, offsets) in arrays.items():
                start = offsets[0]
                document[name] = values[offsets[row] - start : offsets[row + 1] - start]
            yield document
