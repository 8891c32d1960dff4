"""Chunk-interleaved windows as a `datasets.IterableDataset`: sharded over ranks and workers, resumable, for any
trainer.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, IterableDataset

from ..streams import read_whole
from .config import ChunkInterleaveConfig, InterleaveCounts, TooFewDocumentsError, stream_seed
from .interleaver import ChunkInterleaver

_MOST_SHARDS = 8
_WINDOWS_PER_SHARD = 64
_READ_ROWS = 256
_TOKENIZE_ROWS = 32
logger = logging.getLogger(__name__)


def interleave_dataset(
    dataset: Dataset | IterableDataset,
    config: ChunkInterleaveConfig,
    *,
    tokenizer: Any = None,
    text_column: str = "text",
    num_shards: int | None = None,
    num_epochs: int = 1,
    seed: int = 0,
    counts: dict[str, int] | None = None,
) -> IterableDataset:
    """Chunk-interleaved windows over a dataset of documents.

    The documents are cut into `num_shards` parts, and every part becomes a stream of windows of its own, a function of
    (seed, epoch, part). The first pass over the first part gives the windows of
    `interleave_chunks(documents, seed=seed)` on the documents in their order, which is drawn for each pass with
    `config.shuffle_buffer`. Ranks and workers get whole parts, so together they give the same windows however many
    there are. Every part drops its last unfilled window, and interleaves its own documents only: a part needs at least
    `documents_per_window` of them. The first part is refused if it has fewer; of a later one a warning is logged.

    With `config.provenance`, `chunk_documents` are row numbers of a `Dataset`; in an `IterableDataset`, places within
    part `shard`, a column that is added, in the order of its pass.

    Resuming with `state_dict` and `load_state_dict` gives exactly the windows that were left. It repeats the work of
    the current part up to that place, so more parts mean a quicker resume.

    Args:
        dataset (`Dataset` or `IterableDataset`):
            Rows with `input_ids` (and, if wanted, `labels`), or with text when a tokenizer is given.
        config ([`ChunkInterleaveConfig`]):
            How windows are built.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Tokenizes `text_column` as the stream is read, without special tokens: no document begins with the
            tokenizer's BOS, and `config.separator_id` alone says what ends it.
        text_column (`str`, *optional*, defaults to `"text"`):
            Column of the text.
        num_shards (`int`, *optional*):
            Parts. Defaults to at most 8 of a `Dataset`, fewer where a part would have less than 64 windows' documents,
            and to 1 of an `IterableDataset`. At least the number of ranks times workers makes all of them useful. The
            files of a stream are dealt to the parts in turn: leave one that `take` or `skip` was applied to in one
            part, because datasets would take from each.
        num_epochs (`int`, *optional*, defaults to 1):
            Passes over each part, one after the other, with other cuts and documents in another order.
        seed (`int`, *optional*, defaults to 0):
            Everything drawn follows from it.
        counts (`dict[str, int]`, *optional*):
            Filled, in the process that reads, with the [`InterleaveCounts`] of all parts and passes so far.

    Returns:
        `IterableDataset`: rows of `input_ids` and `labels` as `int64` arrays, and what the config adds.

    Raises:
        ValueError: no column of tokens or text, counts below 1, more parts than the dataset has; while reading, a
            first part without the documents or tokens of one window.
        TypeError: while reading, a text that is no string, or tokens that are no integers.
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
        parts = 1 if num_shards is None else num_shards
    if parts > limit:
        raise ValueError(f"num_shards={parts}, but the dataset can only be cut into {limit} parts: ask for fewer.")
    windows = _ShardWindows(dataset, config, tokenizer, text_column, parts, num_epochs, seed, counts)
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
    counts: dict[str, int] | None = None

    def generate(self, shards: list[int]) -> Iterator[dict[str, Any]]:
        """Windows of the given shards, one shard after the other."""
        # Called once a part, in their order, by whoever reads all of them.
        before = InterleaveCounts() if 0 in shards else InterleaveCounts(**(self.counts or {}))
        for shard in shards:
            passes_without = 0
            for epoch in range(self.num_epochs):
                part, rows = self._part(shard, epoch)
                documents = read_documents(part, self.tokenizer, self.text_column, rows)
                windows = ChunkInterleaver(documents, self.config, seed=stream_seed(self.seed, epoch, shard))
                try:
                    for window in self._windows(windows, shard, rows):
                        self._count(before, windows.counts)
                        yield window
                except TooFewDocumentsError as error:
                    # Found at once in the first part; a small last one must not end a run that is almost through.
                    if shard == 0:
                        raise
                    logger.warning("Part %d of %d: %s", shard, self.num_shards, error)
                before = before + windows.counts
                self._count(before)
                passes_without = 0 if windows.counts.windows else passes_without + 1
                if passes_without == 2:
                    break  # a part too small for a window, which would be passed over without end until max_steps

    def _count(self, *counts: InterleaveCounts) -> None:
        if self.counts is not None:
            self.counts.update(vars(sum(counts, start=InterleaveCounts())))

    def _windows(self, windows: ChunkInterleaver, shard: int, rows: np.ndarray | None) -> Iterator[dict[str, Any]]:
        for window in windows:
            if windows.counts.windows_interleaved == windows.counts.windows_below_documents == 1:
                self._check_documents(windows, shard)
            if self.config.provenance:
                if rows is None:
                    window["shard"] = shard
                else:
                    window["chunk_documents"] = rows[window["chunk_documents"]].tolist()
            yield window
        if windows.counts.windows == 0:
            raise TooFewDocumentsError(
                f"the documents contain only {windows.counts.tokens_dropped} tokens, fewer than one window of "
                f"{self.config.window_length}: give more text, fewer parts (num_shards), or a shorter window."
            )

    def _check_documents(self, windows: ChunkInterleaver, shard: int) -> None:
        """After the first interleaved window: without this, interleaving could be off silently."""
        found = windows.counts.documents_read - windows.counts.documents_empty
        if found >= self.config.documents_per_window:
            return
        message = (
            f"documents_per_window={self.config.documents_per_window}, but part {shard} of {self.num_shards} contains "
            f"only {found} documents with tokens: ask for fewer parts (num_shards) or a smaller documents_per_window."
        )
        if shard == 0:
            raise TooFewDocumentsError(message)
        logger.warning(message)

    def _part(self, shard: int, epoch: int) -> tuple[Dataset | IterableDataset, np.ndarray | None]:
        """One part in the order of an epoch; of a `Dataset`, also the numbers of its rows."""
        buffer = self.config.shuffle_buffer
        if not isinstance(self.dataset, Dataset):
            part = self.dataset.shard(num_shards=self.num_shards, index=shard, contiguous=False)
            return in_drawn_order(part, buffer, self.seed, epoch, shard), None
        rows = np.arange(len(self.dataset))
        if buffer:
            # All of it, before it is cut into parts: neighbors are often of one source.
            rows = np.random.default_rng([self.seed, epoch]).permutation(rows)
        rows = np.array_split(rows, self.num_shards)[shard]
        return self.dataset.select(rows), rows


def in_drawn_order(
    stream: IterableDataset, shuffle_buffer: int, seed: int, epoch: int = 0, part: int = 0
) -> IterableDataset:
    """Return a stream of documents in the order of one pass, see `WindowOptions.shuffle_buffer`.

    Args:
        stream ([`~datasets.IterableDataset`]):
            One part of the documents.
        shuffle_buffer (`int`):
            Documents to draw from; 0 leaves the order to the stream.
        seed, epoch, part (`int`):
            What the order is a function of.
    """
    if shuffle_buffer:
        order_seed = int(np.random.SeedSequence([seed, part]).generate_state(1)[0])
        stream = stream.shuffle(seed=order_seed, buffer_size=shuffle_buffer)
    # What was shuffled, here or before, draws its order from this as well.
    stream.set_epoch(epoch)
    return stream


def read_documents(
    dataset: Dataset | IterableDataset,
    tokenizer: Any = None,
    text_column: str = "text",
    row_numbers: Sequence[int] | np.ndarray | None = None,
) -> Iterator[Mapping[str, Any]]:
    """Rows of a dataset as documents of token ids.

    Args:
        dataset (`Dataset` or `IterableDataset`):
            Rows with `input_ids` and, if wanted, `labels`; or with text.
        tokenizer (`PreTrainedTokenizerBase`, *optional*):
            Tokenizes the text, a few documents at a time.
        text_column (`str`, *optional*, defaults to `"text"`):
            Column of the text.
        row_numbers (`Sequence[int]`, *optional*):
            Numbers of the rows for messages; defaults to those of the order in which they are read.
    """
    if tokenizer is not None:
        yield from tokenize_texts((row[text_column] for row in read_whole(dataset)), tokenizer, row_numbers)
    elif isinstance(dataset, Dataset):
        yield from _arrow_documents(dataset)
    else:
        yield from read_whole(dataset)


def tokenize_texts(
    texts: Iterable[Any], tokenizer: Any, row_numbers: Sequence[int] | np.ndarray | None = None
) -> Iterator[Mapping[str, Any]]:
    """Yield texts as documents of token ids, a few at a time, without special tokens.

    Raises:
        TypeError: a text that is not a string, by its number.
    """
    batch: list[str] = []
    options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            kind = "null" if text is None else type(text).__name__
            place = f"row {row_numbers[number]}" if row_numbers is not None else f"document {number} that was read"
            raise TypeError(f"The text of {place} is {kind}, but must be a string: leave the row out.")
        batch.append(text)
        if len(batch) == _TOKENIZE_ROWS:
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
            if pa.types.is_fixed_size_list(column.type):  # has no offsets
                column = column.cast(pa.list_(column.type.value_type))
            arrays[name] = (column.flatten().to_numpy(zero_copy_only=False), column.offsets.to_numpy())
        for row in range(table.num_rows):
            document = {}
            for name, (values, offsets) in arrays.items():
                start = offsets[0]
                document[name] = values[offsets[row] - start : offsets[row + 1] - start]
            yield document
