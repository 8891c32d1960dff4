"""Options of `lsw-hf data interleave`: the fields of `ChunkInterleaveConfig`, and the order of the documents."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from .parser import CommandParser, count


def chunk_numbers(text: str) -> int | dict[int, float]:
    """Parse `2`, or numbers of chunks with their probabilities like `1:0.2,2:0.8`."""
    try:
        if ":" not in text:
            return int(text)
        pairs = [part.split(":") for part in text.split(",") if part.strip()]
        numbers = {int(number): float(probability) for number, probability in pairs}
    except ValueError:
        numbers, pairs = {}, []
    if not numbers or len(numbers) < len(pairs):
        raise argparse.ArgumentTypeError(f"expected a number of chunks, or some like 1:0.2,2:0.8, got {text!r}")
    return numbers


def token_id(text: str) -> int | str:
    """Parse a token id, or one of the words `eos` and `none`."""
    if text in ("eos", "none"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a token id, eos or none, got {text!r}") from None


def add_window_options(parser: CommandParser) -> None:
    """How documents become windows."""
    group = parser.add_argument_group("interleave")
    add = group.add_argument
    add("--window-length", type=count(2), default=32_768, help="tokens of every window (default: 32768)")
    add("--documents-per-window", type=count(1), default=8, help="documents that share a window (default: 8)")
    add(
        "--chunks-per-document",
        type=chunk_numbers,
        default=2,
        metavar="K",
        help="chunks a document is cut into (default: 2, the paper's best), or drawn for each: 1:0.2,2:0.8",
    )
    add("--split", default="random", help="lengths of a document's chunks: random or equal (default: random)")
    add(
        "--interleaved-fraction",
        type=float,
        default=1.0,
        help="share of the windows that are interleaved; the others hold whole documents in a row (default: 1)",
    )
    add(
        "--plain-attention",
        default="window",
        help="those others: window lets attention cross documents, document writes seq_lengths, from which "
        "padding-free collators keep documents apart (default: window)",
    )
    add(
        "--separator-id",
        type=token_id,
        default="eos",
        help="token that ends a document: an id, eos, or none to leave tokens as they are (default: eos)",
    )
    add(
        "--separators",
        default="document",
        help="document: one at the end of each document's last chunk; window: one at the end of each window, so that "
        "masks made from separators see one document (default: document)",
    )
    add("--shuffle-rounds", action="store_true", help="another order of the documents in every round of chunks")
    add(
        "--group-documents",
        type=count(0),
        default=0,
        metavar="N",
        help="read N documents ahead and put similar lengths together, for even gaps (default: 0, as they come)",
    )
    add(
        "--similar-documents",
        action="store_true",
        help="put documents about the same things into a window, by BM25; holds all documents in memory",
    )
    add("--provenance", action="store_true", help="write which document and offset every chunk came from")


def window_config(options: argparse.Namespace, tokenizer: Any) -> Any:
    """Return the `ChunkInterleaveConfig` of the options.

    Raises:
        ValueError: options that exclude each other, a separator the tokenizer does not have, and whatever the config
            itself refuses.
    """
    from ..data.windows.config import ChunkInterleaveConfig

    separator = {"eos": tokenizer.eos_token_id, "none": None}.get(options.separator_id, options.separator_id)
    if separator is None and options.separator_id == "eos":
        raise ValueError(
            "The tokenizer has no end token to put between documents: name one with --separator-id, or none."
        )
    if separator is not None and not 0 <= separator < len(tokenizer):
        raise ValueError(
            f"--separator-id {separator} is no token of the tokenizer: ids go from 0 to {len(tokenizer) - 1}."
        )
    if options.similar_documents and options.group_documents:
        raise ValueError(
            "--similar-documents and --group-documents both decide which documents share a window: use one of them."
        )
    return ChunkInterleaveConfig(
        window_length=options.window_length,
        documents_per_window=options.documents_per_window,
        chunks_per_document=options.chunks_per_document,
        split=options.split,
        interleaved_fraction=options.interleaved_fraction,
        plain_attention=options.plain_attention,
        separator_id=separator,
        separators=options.separators,
        shuffle_rounds=options.shuffle_rounds,
        group_documents=options.group_documents,
        provenance=options.provenance,
    )


def ordered_texts(options: argparse.Namespace, rows: Iterable[dict[str, str]]) -> Iterable[str]:
    """Texts in the order in which they meet in windows: as they come, or similar ones together."""
    texts = (row["text"] for row in rows)
    if not options.similar_documents:
        return texts
    from ..data.corpus.similarity import order_by_similarity

    held = list(texts)
    return [held[place] for place in order_by_similarity(held, options.documents_per_window, seed=options.seed)]
