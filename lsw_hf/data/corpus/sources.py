"""From what a user names (paths, folders, dataset ids, datasets) to things whose rows can be read one by one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from datasets import Dataset, IterableDataset, load_dataset, load_from_disk

from ..streams import read_whole
from .files import find_files, read_rows

Source: TypeAlias = "str | os.PathLike[str] | Dataset | IterableDataset"
# Parts of a dataset with row numbers, so that a shuffle moves them as it moves files.
_MOST_PARTS, _ROWS_PER_PART = 64, 1_000


class DatasetPart(NamedTuple):
    """A part of a dataset: its rows, the number of the first one, and the file on the Hub that it is, if it is one."""

    rows: Dataset | IterableDataset
    first_row: int = 0
    file: str | None = None


Rows: TypeAlias = "Path | DatasetPart"


def resolve_sources(
    source: Source | Sequence[Source],
    *,
    kinds: Iterable[str],
    split: str = "train",
    name: str | None = None,
    skip_empty: bool = False,
    hidden: tuple[str, ...] = (".", "_"),
    hint: str = "",
) -> list[Rows]:
    """Return the files and parts of datasets that `source` names, in the order given; the files of a folder are
    sorted.

    A dataset with row numbers becomes up to 64 parts of at least 1,000 rows, a dataset on the Hub one for each of its
    files. A stream stays one: cutting one that `take` or `skip` was applied to would choose other rows.

    Args:
        source: a file, a folder of files, a folder written by `Dataset.save_to_disk`, the id of a dataset on the Hub,
            a dataset, or a list of these.
        kinds (`Iterable[str]`):
            accepted file suffixes, with the dot.
        split (`str`, *optional*, defaults to `"train"`):
            which split of a dataset with several.
        name (`str`, *optional*):
            which configuration of a dataset on the Hub that has several.
        skip_empty, hidden, hint: what is left out of folders, and what to do about the rest, see `find_files`.

    Raises:
        FileNotFoundError: for a path or id that leads nowhere.
        ValueError: for no source, a file of another kind or without content, and a split that does not exist.
        TypeError: for anything else than paths and datasets.
    """
    kinds = tuple(kinds)
    items = [source] if isinstance(source, (str, os.PathLike, Dataset, IterableDataset)) else source
    if not isinstance(items, Sequence):
        raise TypeError(
            f"A source is a path, a dataset id, a dataset or a list of these, got {type(source).__name__}."
        )
    if not items:
        raise ValueError("The list of sources is empty. Name at least one file, folder or dataset.")
    resolved: list[Rows] = []
    for item in items:
        if isinstance(item, (Dataset, IterableDataset)):
            resolved.extend(_parts_of(item))
        elif isinstance(item, (str, os.PathLike)):
            path = Path(item).expanduser()
            is_files = path.exists() and not _is_saved_dataset(path)
            if is_files and os.fspath(item).strip():
                resolved.extend(find_files(path, kinds, skip_empty=skip_empty, hidden=hidden, hint=hint))
            else:
                resolved.extend(_load_one(os.fspath(item), split, name))
        else:
            raise TypeError(f"A source is a path, a dataset id or a dataset, got {type(item).__name__}: {item!r}.")
    return resolved


def _is_saved_dataset(path: Path) -> bool:
    return (path / "dataset_dict.json").is_file() or (path / "state.json").is_file()


def _parts_of(dataset: Dataset | IterableDataset) -> list[DatasetPart]:
    if not isinstance(dataset, Dataset):
        return [DatasetPart(dataset)]
    count = max(1, min(_MOST_PARTS, len(dataset) // _ROWS_PER_PART))
    parts, first = [], 0
    for index in range(count):
        rows = dataset.shard(num_shards=count, index=index, contiguous=True)
        parts.append(DatasetPart(rows, first))
        first += len(rows)
    return parts


def _load_one(text: str, split: str, name: str | None) -> list[DatasetPart]:
    """Return the parts of a dataset saved in a folder, or on the Hub."""
    if not text.strip():
        raise ValueError("A source is an empty string. Name a file, a folder or a dataset.")
    path = Path(text).expanduser()
    if _is_saved_dataset(path):
        return _parts_of(_pick_split(load_from_disk(str(path)), split, text))
    looks_like_path = path.is_absolute() or text.startswith(("./", "../", "~")) or text.count("/") > 1 or path.suffix
    if looks_like_path:
        raise FileNotFoundError(f"{text} does not exist (looked from {Path.cwd()}). Check the spelling of the path.")
    try:
        stream = load_dataset(text, name=name, split=split, streaming=True)
    except OSError as error:
        raise FileNotFoundError(
            f"{text} is no file or folder here (looked from {Path.cwd()}), and as a dataset on the Hub it could not "
            f"be read: {error}"
        ) from error
    count = stream.num_shards
    shards = [stream.shard(num_shards=count, index=index) for index in range(count)]
    return [DatasetPart(rows, file=f"{text}, file {number}") for number, rows in enumerate(shards, start=1)]


def _pick_split(loaded: Any, split: str, text: str) -> Dataset:
    if isinstance(loaded, Dataset):
        return loaded
    if split not in loaded:
        raise ValueError(f"The dataset {text} has no split {split!r}. It has: {', '.join(loaded)}.")
    return loaded[split]


def iterate_rows(rows: Rows, columns: list[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of a file or dataset; `place` is for error messages: the file and line, or the row's number.

    Args:
        rows: one entry of `resolve_sources`.
        columns (`list[str]`, *optional*):
            the columns that will be used, for formats that can leave others unread.
    """
    if isinstance(rows, Path):
        yield from read_rows(rows, columns)
        return
    number = rows.first_row
    for number, row in enumerate(read_whole(rows.rows), start=rows.first_row + 1):
        yield f"{rows.file}, row {number}" if rows.file else f"dataset row {number}", row
    if number == 0 and rows.file is None:
        raise ValueError("The dataset has no rows. Check the filter or the split that it comes from.")
