"""Long documents for continual pretraining, streamed from files, folders and datasets."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from datasets import Dataset, Features, IterableDataset, Value

from .files import file_kind, read_lines
from .sources import Rows, Source, iterate_rows, resolve_sources

DOCUMENT_KINDS = (".txt", ".jsonl", ".json", ".parquet")
Unreadable = Literal["raise", "skip"]
logger = logging.getLogger(__name__)


def load_documents(
    source: Source | Sequence[Source],
    *,
    text_column: str = "text",
    document_separator: str | None = None,
    split: str = "train",
    name: str | None = None,
    streaming: bool = True,
    text_suffixes: Sequence[str] = (),
    unreadable: Unreadable = "raise",
) -> IterableDataset | Dataset:
    r"""Load documents as rows `{"text": str}`, one document a row.

    What is read, and what a document is in it:

    | source | document |
    |---|---|
    | `.txt`, `text_suffixes` | the whole file; with `document_separator`, what is between these |
    | `.jsonl`, `.ndjson` | the text column of one line (one JSON object a line) |
    | `.json` | the text column of one object of its list; in folders only where nothing else is |
    | the above with `.gz` or `.zst` | the same |
    | `.parquet` | the text column of one row |
    | a folder | every such file below it, in sorted order; hidden names and other kinds are left out |
    | a folder written by `save_to_disk`, an id on the Hub, a (streamed) dataset | the text column of one row |

    A text file is one document unless told otherwise, because blank lines occur inside documents too, and a document
    cut at every one of them has nothing long to teach. Texts of whitespace alone are passed over. Hidden are names
    that begin with a dot and, without `text_suffixes`, those that begin with an underscore.

    Args:
        source (`str`, `os.PathLike`, `Dataset`, `IterableDataset` or a list of these):
            where the documents are.
        text_column (`str`, *optional*, defaults to `"text"`):
            the column that contains the document; unused for `.txt`.
        document_separator (`str`, *optional*):
            the line between two documents of a text file, such
            as `"<|endoftext|>"`; `""` is a blank line. It belongs to neither document.
        split (`str`, *optional*, defaults to `"train"`):
            which split of a dataset with several.
        name (`str`, *optional*):
            which configuration of a dataset on the Hub that has several.
        streaming (`bool`, *optional*, defaults to `True`):
            read while iterating, one document in memory at a time.
            `False` reads everything now, into memory, and so finds every bad row now.
        text_suffixes (`Sequence[str]`, *optional*):
            further endings of text files, such as `[".py", ".md"]` for
            repositories; each file is read like a `.txt` file.
        unreadable (`str`, *optional*, defaults to `"raise"`):
            what becomes of text files that are no UTF-8, and of
            empty files in folders: `"raise"` stops at the first one, `"skip"` leaves them out, with a warning for each
            that is no UTF-8.

    Returns:
        `IterableDataset` or, without streaming, `Dataset`: rows `{"text": str}` in the order of the sources. The
        first document is read here, so that a wrong column name stops before any work; later rows are checked as they
        are read.

    Raises:
        FileNotFoundError: for a path or dataset id that leads nowhere.
        ValueError: for empty files (the file), bytes that are no UTF-8 (file, line), lines that are no JSON object
            (file, line), a missing text column (row, and the columns that are there), and sources without any text.
        TypeError: for a text that is not a string (row).

    Example:

    ```python
    >>> documents = load_documents(["books/", "papers.jsonl"])
    >>> next(iter(documents))
    {'text': 'It was a bright cold day ...'}
    ```
    """
    if document_separator is not None and "\n" in document_separator:
        raise ValueError(f"document_separator is one line without its end, got {document_separator!r}.")
    if unreadable not in ("raise", "skip"):
        raise ValueError(f"unreadable must be 'raise' or 'skip', got {unreadable!r}.")
    text_kinds = (".txt", *_suffixes(text_suffixes))
    sources = resolve_sources(
        source,
        kinds=(*DOCUMENT_KINDS, *text_kinds[1:]),
        split=split,
        name=name,
        skip_empty=unreadable == "skip",
        # Data sets keep _SUCCESS and the like beside their files; in repositories such names are sources.
        hidden=(".",) if text_suffixes else (".", "_"),
        hint="Further text files are named with text_suffixes; unreadable='skip' leaves empty ones out.",
    )
    settings: dict[str, Any] = {
        "sources": sources,
        "text_column": text_column,
        "document_separator": document_separator,
        "text_kinds": text_kinds,
        "unreadable": unreadable,
    }
    if next(_generate_documents(**settings), None) is None:
        raise ValueError(f"No document with any text in {_describe(sources)}. Texts of whitespace alone do not count.")
    features = Features({"text": Value("string")})
    if not streaming:
        return Dataset.from_list(list(_generate_documents(**settings)), features=features)
    return IterableDataset.from_generator(_generate_documents, gen_kwargs=settings, features=features)


def _suffixes(given: Sequence[str]) -> tuple[str, ...]:
    """Return endings with their dot, in lower case; raises `ValueError` for those that are read otherwise."""
    if isinstance(given, str):
        raise ValueError(f"text_suffixes is a list of endings, got the text {given!r}: write [{given!r}].")
    suffixes = tuple(f".{suffix.lower().removeprefix('.')}" for suffix in given)
    for suffix in suffixes:
        if suffix in (".", ".gz", ".zst", ".ndjson", *DOCUMENT_KINDS[1:]):
            raise ValueError(f"text_suffixes contains {suffix!r}, which is no ending of text files: leave it out.")
    return suffixes


def _generate_documents(
    sources: list[Rows],
    text_column: str,
    document_separator: str | None,
    text_kinds: tuple[str, ...],
    unreadable: Unreadable,
) -> Iterator[dict[str, str]]:
    for rows in sources:
        texts: Iterable[str]
        if isinstance(rows, Path) and file_kind(rows) in text_kinds:
            texts = _split_text(rows, document_separator)
            if unreadable == "skip":
                texts = _unless_unreadable(texts)
        else:
            texts = (_text_of(row, text_column, place) for place, row in iterate_rows(rows, [text_column]))
        for text in texts:
            if text.strip():
                yield {"text": text}


def _unless_unreadable(texts: Iterator[str]) -> list[str]:
    """All documents of a text file, or none when it turns out not to be UTF-8."""
    try:
        return list(texts)
    except ValueError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
        logger.warning("Left out: %s", error)
        return []


def _split_text(path: Path, separator: str | None) -> Iterator[str]:
    lines: list[str] = []
    for _, line in read_lines(path):
        if separator is not None and line.removesuffix("\n") == separator:
            yield "".join(lines)
            lines = []
        else:
            lines.append(line)
    yield "".join(lines)


def _text_of(row: dict[str, Any], column: str, place: str) -> str:
    if column not in row:
        raise ValueError(
            f"{place}: no column {column!r}. The row has: {', '.join(map(repr, row)) or 'no column'}. "
            "Name the column that contains the document with text_column."
        )
    text = row[column]
    if not isinstance(text, str):
        kind = "null" if text is None else type(text).__name__
        raise TypeError(f"{place}: column {column!r} is {kind}, but a document must be a string.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{place}: character {error.start} of column {column!r} is half of a surrogate pair, which no tokenizer "
            "can read. Repair or remove the row."
        ) from error
    return text


def _describe(sources: list[Rows]) -> str:
    names = [str(rows) if isinstance(rows, Path) else "a dataset" for rows in sources]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
