"""Similar documents meet in a window, each document once."""

import sys

import pytest

from lsw_hf.data.corpus.similarity import order_by_similarity

TOPICS = ("harbour boat sail tide", "oven bread flour salt", "engine wheel brake road", "violin bow string song")


def texts():
    return [f"{TOPICS[place % 4]} {TOPICS[place % 4]} item{place}" for place in range(40)]


def test_runs_share_a_topic():
    order = order_by_similarity(texts(), 5, seed=3)
    assert sorted(order) == list(range(40))
    runs = [order[start : start + 5] for start in range(0, 40, 5)]
    assert all(len({place % 4 for place in run}) == 1 for run in runs)
    assert order == order_by_similarity(texts(), 5, seed=3)


def test_few_documents_keep_their_order():
    assert order_by_similarity(["a", "b"], 4) == [0, 1]


def test_texts_without_words():
    order = order_by_similarity(["", "lamp river", " ", "lamp river", "."] * 2, 2)
    assert sorted(order) == list(range(10))
    with pytest.raises(ValueError, match="None of the 6 texts contains a word to compare: leave them in their order"):
        order_by_similarity([""] * 6, 2)


def test_one_document_per_window_is_refused():
    with pytest.raises(ValueError, match="documents_per_window must be at least 2 for documents to be alike, got 1"):
        order_by_similarity(texts(), 1)


def test_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ImportError, match=r"pip install 'lsw-hf\[data\]'"):
        order_by_similarity(texts(), 5)
