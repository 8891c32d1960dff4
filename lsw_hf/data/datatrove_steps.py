"""The generators of this package as steps of a `datatrove` pipeline, on one machine, under Slurm or on Ray."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from .corpus.documents import load_documents
from .tables import TableGenerator
from .tables.dataset import write_table_part
from .windows.config import ChunkInterleaveConfig
from .windows.parquet import write_windows

Step = Callable[..., Iterator[Any]]
"""What datatrove calls with the documents of the step before, `rank` and `world_size`."""


def read_step(source: Any, **options: Any) -> Step:
    """[`load_documents`] as the first step: each task reads its share of the files.

    Args:
        source, options:
            As for [`load_documents`].

    Returns:
        `Callable`: passes on datatrove documents.

    Raises:
        ValueError: more tasks than files, when the step runs.
        ImportError: `datatrove` is missing, when the step runs.
    """

    def read(data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        try:
            from datatrove.data import Document
        except ImportError as error:
            raise ImportError("Pipelines need datatrove: pip install 'lsw-hf[data]'.") from error
        documents = load_documents(source, **options)
        if world_size > documents.num_shards:
            raise ValueError(
                f"tasks={world_size}, but the documents are in {documents.num_shards} files: each task reads whole "
                "files. Use fewer tasks or more files."
            )
        for place, row in enumerate(documents.shard(num_shards=world_size, index=rank)):
            yield Document(text=row["text"], id=f"{rank}/{place}")

    return read


def interleave_step(
    tokenizer: Any, config: ChunkInterleaveConfig, output_dir: str | os.PathLike[str], seed: int = 0
) -> Step:
    """[`write_windows`] as the last step: one parquet file a task.

    Args:
        tokenizer, config, output_dir, seed:
            As for [`write_windows`].

    Returns:
        `Callable`: takes documents (objects with a `text`) and passes none on.
    """

    def interleave(data: Iterable[Any], rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        texts = (document.text for document in data)
        write_windows(texts, tokenizer, config, output_dir, rank=rank, world_size=world_size, seed=seed)
        return iter(())

    return interleave


def tables_step(generator: TableGenerator, output_dir: str | os.PathLike[str], num_samples: int) -> Step:
    """[`TableGenerator`] as the only step: one parquet file a task, together the rows `0` to `num_samples - 1`.

    Args:
        generator ([`TableGenerator`]):
            Where rows come from; the rows are the same for any number of tasks.
        output_dir (`str` or `os.PathLike`):
            Folder of the files, made if missing.
        num_samples (`int`):
            Rows of all tasks together, at least one a task.

    Returns:
        `Callable`: takes and passes on nothing.

    Raises:
        ValueError: fewer rows than tasks, when the step runs.
    """

    def tables(data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Any]:
        write_table_part(generator, Path(output_dir), num_samples, rank, world_size)
        return iter(())

    return tables
