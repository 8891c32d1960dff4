"""Whether training documents contain text that a model will be tested on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

_UNIT = re.compile(r"[^\W_]+")
_WIDE = re.compile("[぀-ヿ㐀-鿿豈-﫿가-힯]")
_MOST_EXAMPLES = 10


@dataclass(frozen=True)
class ContaminationReport:
    """Overlap of evaluation items with training documents.

    Attributes:
        items (`int`):
            evaluation items with at least one n-gram.
        contaminated (`int`):
            items of whose n-grams at least the threshold occurs in the training documents.
        short_items (`int`):
            items too short for an n-gram; not judged.
        documents (`int`):
            training documents read.
        worst (`list[dict]`):
            up to 10 items with the largest overlap: `item` (its place), `overlap`, `example`.
    """

    items: int
    contaminated: int
    short_items: int
    documents: int
    worst: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """All fields, JSON-able."""
        return asdict(self)


def units_of(text: str) -> list[str]:
    """Words in lower case, and every Chinese, Japanese or Korean character by itself; punctuation is left out."""
    units: list[str] = []
    for word in _UNIT.findall(text.casefold()):
        if _WIDE.search(word):
            units.extend(part for part in re.split(f"({_WIDE.pattern})", word) if part)
        else:
            units.append(word)
    return units


def check_contamination(
    documents: Iterable[Mapping[str, Any]],
    evaluation_texts: Iterable[str],
    *,
    ngram_length: int = 13,
    threshold: float = 0.5,
    text_column: str = "text",
) -> ContaminationReport:
    """Count evaluation items whose n-grams occur in training documents.

    Documents are read once, as a stream; only the evaluation n-grams are held in memory. Thirteen units is the length
    that large language model reports commonly use; the threshold is our choice.

    Args:
        documents (`Iterable`):
            training rows with text.
        evaluation_texts (`Iterable[str]`):
            one text per evaluation item.
        ngram_length (`int`, *optional*, defaults to 13):
            words (or characters of Chinese, Japanese, Korean).
        threshold (`float`, *optional*, defaults to 0.5):
            share of an item's n-grams from which it counts, in (0, 1].
        text_column (`str`, *optional*, defaults to `"text"`):
            column of a document's text.

    Raises:
        ValueError: an n-gram length below 1, a threshold outside (0, 1], no evaluation item long enough.
    """
    if ngram_length < 1:
        raise ValueError(f"ngram_length must be at least 1, got {ngram_length}.")
    if not 0.0 < threshold <= 1.0:
        raise ValueError(f"threshold must lie in (0, 1], got {threshold!r}.")
    texts = list(evaluation_texts)
    grams = [set(_ngrams(units_of(text), ngram_length)) for text in texts]
    wanted = set().union(*grams) if grams else set()
    if not wanted:
        raise ValueError(f"None of the {len(texts)} evaluation items has {ngram_length} words: lower ngram_length.")
    found: set[tuple[str, ...]] = set()
    num_documents = 0
    for row in documents:
        num_documents += 1
        found.update(gram for gram in _ngrams(units_of(row[text_column]), ngram_length) if gram in wanted)
    judged = [(place, len(own & found) / len(own), own & found) for place, own in enumerate(grams) if own]
    worst = sorted((entry for entry in judged if entry[1] > 0), key=lambda entry: -entry[1])[:_MOST_EXAMPLES]
    return ContaminationReport(
        items=len(judged),
        contaminated=sum(overlap >= threshold for _, overlap, _ in judged),
        short_items=len(texts) - len(judged),
        documents=num_documents,
        worst=[
            {"item": place, "overlap": overlap, "example": " ".join(min(shared))} for place, overlap, shared in worst
        ],
    )


def _ngrams(units: list[str], length: int) -> Iterable[tuple[str, ...]]:
    # Views, not copies: a document may be a whole library.
    return zip(*(itertools.islice(units, start, None) for start in range(length)), strict=False)
