"""`lsw-hf data inspect|interleave|dedup|contamination`: what a corpus contains, and windows made of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, get_type_hints

from ..data.windows.config import SEPARATOR_HELP, SMALLEST, ChunkInterleaveConfig, separator_token
from ..files import replacing, write_json
from .output import CommandOutput
from .parser import CommandParser, count, nearest

HELP = "report on documents, remove duplicates, check for test data, write interleaved windows"
EXAMPLE = "lsw-hf data inspect --documents books/ --tokenizer PATH_OR_ID"
_WINDOW_LENGTH = 32_768
DETAILS = """
  inspect        lengths in tokens, how many windows they fill, exact duplicates
  interleave     write chunk-interleaved windows of --window-length tokens to --output (parquet)
  dedup          write the documents without duplicates to --output (JSON lines)
  contamination  how much of --evaluation (JSON lines or text, one item a line) is in the documents"""
ACTIONS = ("inspect", "interleave", "dedup", "contamination")


def main(arguments: Sequence[str]) -> int:
    """Run one action with the given options and return the exit status."""
    parser = CommandParser("data", details=DETAILS, example=EXAMPLE)
    parser.add_argument("action", metavar="ACTION", help=", ".join(ACTIONS))
    parser.add_argument("--documents", required=True, nargs="+", help="files, folders or a dataset id")
    parser.add_argument("--text-column", default="text", help="column of the text (default: text)")
    parser.add_argument("--text-suffixes", nargs="+", default=(), help="further text files, such as .py .md")
    parser.add_argument("--unreadable", default="raise", help="files that are empty or no UTF-8: raise or skip")
    parser.add_argument("--tokenizer", default=None, help="path or Hub id; for inspect and interleave")
    parser.add_argument("--output", default=None, help="file or folder to write")
    parser.add_argument("--threshold", type=float, default=None, help="similarity (dedup) or overlap (contamination)")
    parser.add_argument("--evaluation", default=None, help="file of evaluation items, one a line")
    parser.add_argument("--seed", type=int, default=0, help="all that is drawn follows from it (default: 0)")
    parser.add_json_option()
    add_window_options(parser)
    options = parser.parse(arguments)
    if options.action not in ACTIONS:
        parser.error(f"unknown action {options.action!r}.{nearest(options.action, ACTIONS)}")
    needed = {"inspect": ("tokenizer",), "interleave": ("tokenizer", "output"), "dedup": ("output",)}
    for name in needed.get(options.action, ("evaluation",)):
        if getattr(options, name) is None:
            parser.error(f"{options.action} needs --{name}.")
    if options.output:
        (_check_folder if options.action == "interleave" else _check_file)(Path(options.output), options.action)
    actions = {"inspect": _inspect, "interleave": _interleave, "dedup": _dedup, "contamination": _contamination}
    with CommandOutput(options.json) as output:
        actions[options.action](options, output)
    return 0


def _inspect(options: argparse.Namespace, output: CommandOutput) -> None:
    from ..context.saved_model import load_tokenizer
    from ..data.corpus.report import inspect_documents

    report = inspect_documents(_documents(options), load_tokenizer(options.tokenizer, {}))
    output.show(report.to_markdown(), report.to_dict())
    if options.output:
        write_json(options.output, report.to_dict())


def _interleave(options: argparse.Namespace, output: CommandOutput) -> None:
    from ..context.saved_model import load_tokenizer
    from ..data.corpus.similarity import order_by_similarity
    from ..data.windows.parquet import write_windows

    tokenizer = load_tokenizer(options.tokenizer, {})
    config = window_config(options, tokenizer)
    if options.similar_documents:
        order_by_similarity([], options.documents_per_window)  # what it refuses, before a corpus is read
    texts = ordered_texts(options, _documents(options))
    counts = write_windows(texts, tokenizer, config, options.output, seed=options.seed)
    output.show(
        f"{counts.windows} windows of {options.window_length} tokens from {counts.documents_read} documents, "
        f"{counts.tokens_dropped} tokens left over, {counts.windows_interleaved} windows interleaved: "
        f"{options.output}",
        asdict(counts) | {"window_length": options.window_length, "output": options.output},
    )


def _dedup(options: argparse.Namespace, output: CommandOutput) -> None:
    from ..data.corpus.deduplication import Deduplicator

    seen = Deduplicator(options.threshold)
    kept = seen.filter(_documents(options))
    lines = (json.dumps({"text": row["text"]}, ensure_ascii=False) + "\n" for row in kept)
    path = Path(options.output)
    with replacing(path) as draft, draft.open("w", encoding="utf-8") as file:
        file.writelines(lines)
    facts = {"kept": seen.kept, "exact_duplicates": seen.exact_duplicates, "near_duplicates": seen.near_duplicates}
    output.show(
        f"{seen.kept} documents kept, {seen.exact_duplicates} equal and {seen.near_duplicates} similar ones left out.",
        facts | {"output": options.output},
    )


def _contamination(options: argparse.Namespace, output: CommandOutput) -> None:
    from ..data.corpus.contamination import check_contamination
    from ..data.corpus.files import read_lines

    path = Path(options.evaluation)
    if not path.is_file():
        raise ValueError(f"There is no file {path}. Give --evaluation a file of JSON lines or text, one item a line.")
    texts = [
        _item_text(line.rstrip("\n"), options.text_column, f"{path}, line {number}")
        for number, line in read_lines(path)
        if line.strip()
    ]
    if not texts:
        raise ValueError(f"{path} contains no evaluation item. Write one a line.")
    threshold = 0.5 if options.threshold is None else options.threshold
    report = check_contamination(_documents(options), texts, threshold=threshold)
    lines = [
        f"{report.contaminated} of {report.items} evaluation items have at least {threshold:.0%} of their 13-grams in "
        f"{report.documents} documents; {report.short_items} items are too short to judge.",
        *(f"  item {entry['item']}: {entry['overlap']:.0%}, e.g. {entry['example']!r}" for entry in report.worst),
    ]
    output.show("\n".join(lines), report.to_dict() | {"threshold": threshold})
    if options.output:
        write_json(options.output, report.to_dict())


def _documents(options: argparse.Namespace) -> Any:
    from ..data.corpus.documents import load_documents

    return load_documents(
        options.documents,
        text_column=options.text_column,
        text_suffixes=options.text_suffixes,
        unreadable=options.unreadable,
    )


def _check_file(path: Path, action: str) -> None:
    """Refuse what cannot be written, before a corpus is read for it."""
    if path.is_dir():
        raise IsADirectoryError(f"--output {path} is a folder, but {action} writes a file: name one inside it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"--output {path}: the folder {path.parent} does not exist. Make it first.")


def _check_folder(path: Path, action: str) -> None:
    """Do the same for what writes a folder."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"--output {path} is a file, but {action} writes a folder: give another name.")


def _item_text(line: str, column: str, place: str) -> str:
    """Return all texts of a JSON object (its text column, if it has one), or the line itself."""
    if not line.lstrip().startswith("{"):
        return line
    try:
        item = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"{place}: begins like a JSON object but is none at column {error.colno} ({error.msg}). Each line is one "
            "JSON object or one text."
        ) from error
    return (
        item[column]
        if isinstance(item.get(column), str)
        else " ".join(value for value in item.values() if isinstance(value, str))
    )


def add_window_options(parser: CommandParser) -> None:
    """Add an option for every field of `ChunkInterleaveConfig`, with its default and its help."""
    group = parser.add_argument_group("interleave")
    # Not `item.type`: `HfArgumentParser` overwrites it in the fields that training arguments share.
    types = get_type_hints(ChunkInterleaveConfig)
    for item in fields(ChunkInterleaveConfig):
        default, text = item.default, item.metadata["help"]
        if item.name == "separator_id":
            default, text = "eos", SEPARATOR_HELP
        if default is MISSING:
            default = _WINDOW_LENGTH
        kind = types[item.name]
        if kind is bool:
            reading: dict[str, Any] = {"action": "store_true"}
        else:
            reading = {
                "type": count(SMALLEST[item.name]) if kind is int else float if kind is float else str,
                "metavar": item.metadata.get("metavar"),
            }
            text = f"{text} (default: {default})".replace("%", "%%")
        group.add_argument(f"--{item.name.replace('_', '-')}", default=default, help=text, **reading)
    group.add_argument(
        "--similar-documents",
        action="store_true",
        help="Put documents about the same things into a window, by BM25; keeps all documents in memory.",
    )


def window_config(options: argparse.Namespace, tokenizer: Any) -> ChunkInterleaveConfig:
    """Return the `ChunkInterleaveConfig` of the options.

    Raises:
        ValueError: options that exclude each other, a separator the tokenizer does not have, and whatever the config
            itself refuses.
    """
    if options.similar_documents and options.group_documents:
        raise ValueError(
            "--similar-documents and --group-documents both decide which documents share a window: use one of them."
        )
    given = {item.name: getattr(options, item.name) for item in fields(ChunkInterleaveConfig)}
    return ChunkInterleaveConfig(**{**given, "separator_id": separator_token(options.separator_id, tokenizer)})


def ordered_texts(options: argparse.Namespace, rows: Any) -> Iterable[str]:
    """Return texts of a stream in the order in which they meet in windows: drawn, or similar ones together."""
    from ..data.corpus.similarity import order_by_similarity
    from ..data.windows.dataset import in_drawn_order

    if not options.similar_documents:
        return (row["text"] for row in in_drawn_order(rows, options.shuffle_buffer, options.seed))
    held = [row["text"] for row in rows]
    return [held[place] for place in order_by_similarity(held, options.documents_per_window, seed=options.seed)]
