"""Options of `lsw-hf data interleave`: the fields of `ChunkInterleaveConfig`, and the order of the documents."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from ..data.windows.config import SEPARATOR_HELP, ChunkInterleaveConfig, separator_token
from .parser import CommandParser, count

_WINDOW_LENGTH = 32_768


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
                "type": count(0) if kind is int else float if kind is float else str,
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


def ordered_texts(options: argparse.Namespace, rows: Iterable[dict[str, str]]) -> Iterable[str]:
    """Return texts in the order in which they meet in windows: as they come, or similar ones together."""
    texts = (row["text"] for row in rows)
    if not options.similar_documents:
        return texts
    from ..data.corpus.similarity import order_by_similarity

    held = list(texts)
    return [held[place] for place in order_by_similarity(held, options.documents_per_window, seed=options.seed)]
