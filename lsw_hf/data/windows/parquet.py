"""Chunk-interleaved windows in parquet files: one process, or one of many inside a larger engine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...files import replacing
from .config import ChunkInterleaveConfig, InterleaveCounts, stream_seed
from .dataset import tokenize_texts
from .interleaver import ChunkInterleaver

_ROWS_PER_GROUP = 64


def write_windows(
    texts: Iterable[str],
    tokenizer: Any,
    config: ChunkInterleaveConfig,
    output_dir: str | os.PathLike[str],
    *,
    rank: int = 0,
    world_size: int = 1,
    seed: int = 0,
) -> InterleaveCounts:
    """Tokenize documents, interleave them and write the windows to one parquet file.

    Memory contains the documents of one window and 64 finished windows, whatever the size of the corpus.

    Args:
        texts (`Iterable[str]`):
            Documents of this rank.
        tokenizer (`PreTrainedTokenizerBase`):
            Used without special tokens; `config.separator_id` ends documents.
        config ([`ChunkInterleaveConfig`]):
            How windows are built.
        output_dir (`str` or `os.PathLike`):
            Folder of the file `windows-RANK-of-WORLD.parquet`, made if missing.
        rank, world_size (`int`, *optional*, default to 0 and 1):
            Which part of the corpus `texts` is.
        seed (`int`, *optional*, defaults to 0):
            Cuts follow from it and from the rank.

    Returns:
        [`InterleaveCounts`]: what was read, written and dropped.

    Raises:
        ValueError: a rank outside the world; documents that do not suffice for a window (of several ranks, one may
            write an empty file).
        NotADirectoryError: `output_dir` is a file.
    """
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in [0, world_size), got rank={rank} and world_size={world_size}.")
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name a folder to write windows to.")
    folder.mkdir(parents=True, exist_ok=True)
    windows = ChunkInterleaver(tokenize_texts(texts, tokenizer), config, seed=stream_seed(seed, part=rank))
    path = folder / f"windows-{rank:05d}-of-{world_size:05d}.parquet"
    # Equal labels are written too: trainers that find none would have to guess which tokens count.
    schema = pa.schema({name: pa.list_(pa.int32()) for name in _columns(config)})
    with replacing(path) as draft:
        with pq.ParquetWriter(draft, schema) as writer:
            for group in _groups(windows):
                rows = {name: [row[name] for row in group] for name in schema.names}
                writer.write_table(pa.table(rows, schema=schema))
        if windows.counts.windows == 0 and world_size == 1:
            raise ValueError(
                f"The documents contain only {windows.counts.tokens_dropped} tokens, fewer than one window of "
                f"{config.window_length}: give more text or a smaller window_length."
            )
    return windows.counts


def _columns(config: ChunkInterleaveConfig) -> list[str]:
    names = ["input_ids", "labels"]
    if config.plain_attention == "document":
        names.append("seq_lengths")
    if config.provenance:
        names += ["chunk_documents", "chunk_offsets", "chunk_lengths"]
    return names


def _groups(windows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group = []
    for window in windows:
        group.append(window)
        if len(group) == _ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group
