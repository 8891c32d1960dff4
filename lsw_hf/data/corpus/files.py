"""Rows of one file on disk, streamed; what is wrong with a file is said with its name and line."""

from __future__ import annotations

import gzip
import io
import json
import logging
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

PARQUET_BATCH_ROWS = 256
_PACKED = (".gz", ".zst")
logger = logging.getLogger(__name__)
# Where a `.json` file keeps its rows if it is one object.
_FIELDS_OF_ROWS = ("data", "rows", "examples", "instances", "train", "validation", "test")


def file_kind(path: Path) -> str:
    """Return the suffix that says how a file is read, such as `".jsonl"`, which also stands for `.ndjson`; a trailing
    `.gz` or `.zst` is looked through.
    """
    kind = (path.with_suffix("") if path.suffix.lower() in _PACKED else path).suffix.lower()
    return ".jsonl" if kind == ".ndjson" else kind


def find_files(
    path: Path,
    kinds: Iterable[str],
    *,
    skip_empty: bool = False,
    hidden: tuple[str, ...] = (".", "_"),
    hint: str = "",
) -> list[Path]:
    """Return `path` itself, or all files of the given kinds below a folder, in sorted order.

    Args:
        path (`Path`):
            an existing file or folder. In a folder, hidden names and files of other kinds are left out, and `.json`
            files where there are others: settings are kept in such files too.
        kinds (`Iterable[str]`):
            accepted suffixes, with the dot.
        skip_empty (`bool`, *optional*, defaults to `False`):
            leave files of 0 bytes in a folder out.
        hidden (`tuple[str, ...]`, *optional*, defaults to `(".", "_")`):
            beginnings of hidden names.
        hint (`str`, *optional*, defaults to `""`):
            what the caller can do about files that are refused here.

    Returns:
        `list[Path]`: at least one file, each of them with at least one byte.

    Raises:
        ValueError: for a file of another kind, an empty file, or a folder without a file of these kinds.
    """
    kinds = tuple(kinds)
    if path.is_dir():
        names = sorted(item for item in path.rglob("*") if item.is_file())
        inside = [item for item in names if not any(part.startswith(hidden) for part in item.relative_to(path).parts)]
        found = [item for item in inside if file_kind(item) in kinds]
        others = [item for item in found if file_kind(item) != ".json"]
        if others and len(others) < len(found):
            logger.warning(
                "Left out: %d .json files in %s, where there are others. Name them to read them.",
                len(found) - len(others),
                path,
            )
        found = others or found
        if skip_empty:
            found = [item for item in found if item.stat().st_size > 0]
        if not found:
            seen = ", ".join(sorted({item.suffix or "no suffix" for item in inside})) or "nothing"
            raise ValueError(
                f"The folder {path} has no file that ends in {' or '.join(kinds)}. It contains: {seen}. "
                f"{hint}".rstrip()
            )
    elif file_kind(path) in kinds:
        found = [path]
    else:
        raise ValueError(
            f"{path} ends in {path.suffix or 'no suffix'!r}. Files that can be read end in {', '.join(kinds)} "
            f"(text and JSON also compressed, .gz or .zst). Rename or convert the file. {hint}".rstrip()
        )
    for item in found:
        if item.stat().st_size == 0:
            raise ValueError(
                f"{item} is empty (0 bytes). Remove it from the source or write it again. {hint}".rstrip()
            )
    return found


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line with its `\\n`) of a UTF-8 file, plain or packed; a byte order mark is dropped.

    Raises:
        ValueError: for bytes that are no UTF-8 (with the line and the byte's place in it) and for broken packed files.
    """
    number = 0
    try:
        with _opened(path) as handle:
            for number, raw in enumerate(handle, start=1):
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
                yield number, line[:-2] + "\n" if line.endswith("\r\n") else line
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}, line {number}: byte 0x{error.object[error.start]:02x} at position {error.start} of the line is "
            "not UTF-8. Save the file as UTF-8, or convert it: iconv -f ENCODING -t UTF-8."
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{path}, after line {number}: the gzip file is damaged ({error}). Fetch it again."
        ) from error
    except OSError as error:
        if path.suffix.lower() != ".zst" or error.errno is not None:
            raise
        raise ValueError(f"{path}, after line {number}: the zst file is damaged ({error}). Fetch it again.") from error


def _opened(path: Path) -> Any:
    kind = path.suffix.lower()
    if kind == ".gz":
        return gzip.open(path, "rb")
    if kind == ".zst":
        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of a file with one JSON object a line; blank lines are passed over.

    Raises:
        ValueError: for a line that is not JSON or not an object.
    """
    for number, line in read_lines(path):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{place}: not valid JSON at column {error.colno} ({error.msg}). Each line is one whole JSON object."
            ) from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
            raise ValueError(f"{place}: cannot be read ({error}). Repair or remove the line.") from error
        if not isinstance(row, dict):
            raise ValueError(
                f"{place}: a JSON {type(row).__name__}, but each line must be a JSON object with named columns."
            )
        yield place, row


def read_json(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of a `.json` file, which is read whole: a list of objects, one object with one such list
    under `data`, `rows`, `examples`, `instances`, `train`, `validation` or `test`, or one object. JSON lines by that
    name are read as what they are.

    Raises:
        ValueError: for what is not JSON, and for rows that are no objects.
    """
    text = "".join(line for _, line in read_lines(path))
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from read_jsonl(path)
            return
        raise ValueError(
            f"{path}, line {error.lineno}: not valid JSON at column {error.colno} ({error.msg})."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({error}). Repair the file.") from error
    if isinstance(found, dict):
        names = [name for name in _FIELDS_OF_ROWS if isinstance(found.get(name), list) and found[name]]
        if len(names) > 1:
            raise ValueError(f"{path} has several lists of rows: {', '.join(names)}. Give each a file of its own.")
        found = found[names[0]] if names else [found]
    if not isinstance(found, list):
        raise ValueError(
            f"{path}: a JSON {type(found).__name__}, but it must be a list of objects with named columns."
        )
    for number, row in enumerate(found):
        if not isinstance(row, dict):
            raise ValueError(
                f"{path}, item {number}: a JSON {type(row).__name__}, but each must be an object with named columns."
            )
        yield f"{path}, item {number}", row


def read_parquet(path: Path, columns: list[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of a parquet file, a few hundred rows in memory at a time.

    Args:
        path (`Path`):
            the file.
        columns (`list[str]`, *optional*):
            read these alone; names that the file does not have are left out.

    Raises:
        ValueError: for a file that is not parquet.
    """
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = None if columns is None else [name for name in names if name in columns]
            # A row of no column at all would not be yielded: read everything, and let the caller say what is missing.
            batches = file.iter_batches(batch_size=PARQUET_BATCH_ROWS, columns=wanted or None)
            number = 0
            for batch in batches:
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as parquet ({error}). Write it again, or name it by its format."
        ) from error


def read_rows(path: Path, columns: list[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of a `.jsonl`, `.json` or `.parquet` file; see `read_jsonl`, `read_json` and `read_parquet`.

    Raises:
        ValueError: also when the file turns out to have no rows.
    """
    kind = file_kind(path)
    rows = (
        read_parquet(path, columns) if kind == ".parquet" else read_json(path) if kind == ".json" else read_jsonl(path)
    )
    number = 0
    for number, item in enumerate(rows, start=1):  # noqa: B007 (counted for the check below)
        yield item
    if number == 0:
        raise ValueError(f"{path} contains no rows. Remove it from the source or write it again.")
