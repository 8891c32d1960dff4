"""Documents in an order that puts similar ones into one window: hard negatives for chunk interleaving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_SNIPPET_CHARACTERS = 4_000


def order_by_similarity(
    texts: Sequence[str], documents_per_window: int, *, num_candidates: int = 64, seed: int = 0
) -> list[int]:
    """Order documents so that every run of `documents_per_window` of them is alike by BM25.

    Interleaved in this order, a document's second chunk is separated from its first by text about the same things,
    which the model must not confuse with it. NExtLong ([arXiv 2501.12766](https://arxiv.org/abs/2501.12766)) extends
    documents by such hard negatives, retrieved per chunk and possibly repeated. *Relation*: here whole documents are
    grouped, and each is used exactly once, so that chunk interleaving keeps its promise to lose and double nothing.
    Our choice.

    Args:
        texts (`Sequence[str]`):
            The documents, held in memory; their first 4,000 characters are compared. Use it shard by shard.
        documents_per_window (`int`):
            Documents interleaved in a window, at least 2.
        num_candidates (`int`, *optional*, defaults to 64):
            Neighbors retrieved per document; when all of them are taken, unused documents fill the run.
        seed (`int`, *optional*, defaults to 0):
            Order in which documents look for company.

    Returns:
        `list[int]`: every place of `texts` exactly once. Hand documents to the interleaver in this order, with
        `group_documents=0`.

    Raises:
        ImportError: the package `bm25s` is missing.
        ValueError: fewer than 2 documents per window; texts without any word.
    """
    if documents_per_window < 2:
        raise ValueError(
            f"documents_per_window must be at least 2 for documents to be alike, got {documents_per_window}."
        )
    _import_bm25s()  # now, not after a long list of texts was begun
    if len(texts) <= documents_per_window:
        return list(range(len(texts)))
    neighbors = _neighbors(texts, min(num_candidates, len(texts)))
    free = np.ones(len(texts), dtype=bool)
    order: list[int] = []
    waiting = np.random.default_rng(seed).permutation(len(texts)).tolist()
    for first in waiting:
        if not free[first]:
            continue
        free[first] = False
        run = [first]
        for other in neighbors[first].tolist():
            if len(run) == documents_per_window:
                break
            if free[other]:
                free[other] = False
                run.append(other)
        order.extend(run)
    return order


def _neighbors(texts: Sequence[str], count: int) -> np.ndarray:
    bm25s = _import_bm25s()
    tokens = bm25s.tokenize([text[:_SNIPPET_CHARACTERS] for text in texts], stopwords=None, show_progress=False)
    if not tokens.vocab:
        raise ValueError(f"None of the {len(texts)} texts contains a word to compare: leave them in their order.")
    retriever = bm25s.BM25()
    retriever.index(tokens, show_progress=False)
    places, _ = retriever.retrieve(tokens, k=count, show_progress=False)
    return np.asarray(places)


def _import_bm25s() -> Any:
    try:
        import bm25s
    except ImportError as error:
        raise ImportError("Ordering documents by similarity needs BM25: pip install 'lsw-hf[data]'.") from error
    return bm25s
