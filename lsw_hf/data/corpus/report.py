"""What a collection of documents contains: how long its documents are, and how many windows they fill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from ...reports import markdown_table

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
WINDOW_LENGTHS = (4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 200_000)
_BATCH_ROWS = 32
_BAR = 40


@dataclass(frozen=True)
class CorpusReport:
    """Lengths of a collection, in tokens.

    Attributes:
        documents, empty_documents, duplicate_documents (`int`): all of them; those without text; those whose text,
            letter by letter, came before.
        tokens, duplicate_tokens (`int`): all tokens; those of duplicates.
        shortest, longest (`int`): of documents with text.
        percentiles (`dict[int, int]`):
            document length at each percentile.
        histogram (`list[tuple[int, int, int]]`):
            `(from, up to, documents)`, borders at powers of two.
        windows (`dict[int, dict[str, int]]`):
            by window length: `full`, windows when documents are packed one after
            the other; `whole`, documents that fill at least one window by themselves.
    """

    documents: int
    empty_documents: int
    duplicate_documents: int
    tokens: int
    duplicate_tokens: int
    shortest: int
    longest: int
    percentiles: dict[int, int]
    histogram: list[tuple[int, int, int]]
    windows: dict[int, dict[str, int]]

    def to_dict(self) -> dict[str, Any]:
        """All fields, JSON-able."""
        return asdict(self)

    def to_markdown(self) -> str:
        """Tables for people."""
        share = self.duplicate_documents / max(self.documents, 1)
        most = max((count for _, _, count in self.histogram), default=1)
        lengths = (self.shortest, *self.percentiles.values(), self.longest)
        bars = [
            (f"{low:,} - {high:,}", f"{count:,}", "#" * -(-_BAR * count // most))
            for low, high, count in self.histogram
        ]
        windows = [(f"{length:,}", f"{row['full']:,}", f"{row['whole']:,}") for length, row in self.windows.items()]
        return "\n\n".join(
            (
                f"{self.documents:,} documents, {self.tokens:,} tokens; {self.empty_documents:,} empty, "
                f"{self.duplicate_documents:,} exact duplicates ({share:.1%}, {self.duplicate_tokens:,} tokens).",
                markdown_table(
                    ("length in tokens", "shortest", *(f"{p}%" for p in self.percentiles), "longest"),
                    [("", *(f"{number:,}" for number in lengths))],
                    align="l" + "r" * len(lengths),
                ),
                markdown_table(("tokens", "documents", ""), bars, align="lrl"),
                markdown_table(
                    ("window", "full windows when packed", "documents that fill one alone"), windows, align="rrr"
                ),
            )
        )


def inspect_documents(
    documents: Iterable[Mapping[str, Any]],
    tokenizer: Any,
    *,
    text_column: str = "text",
    window_lengths: Sequence[int] = WINDOW_LENGTHS,
) -> CorpusReport:
    """Read a collection once and reports its lengths, in memory proportional to the number of documents, not their
    size.

    Args:
        documents (`Iterable`):
            Rows with text.
        tokenizer (`PreTrainedTokenizerBase`):
            What counts tokens, without special tokens.
        text_column (`str`, *optional*, defaults to `"text"`):
            Column of the text.
        window_lengths (`Sequence[int]`, *optional*):
            Window lengths to report, in tokens.

    Raises:
        ValueError: a window length below 1; a collection without any text.
    """
    if not window_lengths or min(window_lengths) < 1:
        raise ValueError(f"window_lengths must be positive, got {list(window_lengths)}.")
    lengths: list[int] = []
    duplicates: list[int] = []
    seen: set[bytes] = set()
    batch: list[str] = []

    def close_batch() -> None:
        options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        for text, ids in zip(batch, tokenizer(batch, **options)["input_ids"] if batch else [], strict=True):
            lengths.append(len(ids))
            digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if digest in seen and ids:
                duplicates.append(len(ids))
            seen.add(digest)
        batch.clear()

    for row in documents:
        batch.append(row[text_column])
        if len(batch) == _BATCH_ROWS:
            close_batch()
    close_batch()
    return _summarize(np.array(lengths, dtype=np.int64), duplicates, window_lengths)


def _summarize(lengths: np.ndarray, duplicates: Sequence[int], window_lengths: Sequence[int]) -> CorpusReport:
    filled = lengths[lengths > 0]
    if len(filled) == 0:
        raise ValueError(f"None of the {len(lengths)} documents contains any text.")
    borders = [1 << power for power in range(int(filled.max()).bit_length() + 1)]
    counts, _ = np.histogram(filled, borders)
    first = int(np.flatnonzero(counts)[0])
    return CorpusReport(
        documents=len(lengths),
        empty_documents=len(lengths) - len(filled),
        duplicate_documents=len(duplicates),
        tokens=int(filled.sum()),
        duplicate_tokens=sum(duplicates),
        shortest=int(filled.min()),
        longest=int(filled.max()),
        percentiles={p: int(np.percentile(filled, p, method="nearest")) for p in PERCENTILES},
        histogram=[(borders[i], borders[i + 1] - 1, int(counts[i])) for i in range(first, len(counts))],
        windows={
            length: {"full": int(filled.sum()) // length, "whole": int((filled >= length).sum())}
            for length in window_lengths
        },
    )
