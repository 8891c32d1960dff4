"""What a corpus holds: lengths, windows, duplicates, evaluation data."""

import json
import sys
import tracemalloc

import numpy as np
import pytest

from lsw_hf.data.corpus.contamination import check_contamination, units_of
from lsw_hf.data.corpus.deduplication import Deduplicator
from lsw_hf.data.corpus.report import inspect_documents

STORY = "the old lamp near the river shows a small key and the garden keeps a large stone under the new box . "


def rows(*texts):
    return [{"text": text} for text in texts]


def test_report_counts_lengths_windows_and_duplicates(tiny_tokenizer):
    lengths = [1, 3, 3, 8, 20, 20]
    texts = [" ".join(["lamp"] * length) for length in lengths] + ["", "   "]
    report = inspect_documents(rows(*texts), tiny_tokenizer, window_lengths=(4, 20))
    assert (report.documents, report.empty_documents, report.duplicate_documents) == (8, 2, 2)
    assert (report.tokens, report.duplicate_tokens) == (55, 23)
    assert (report.shortest, report.longest) == (1, 20)
    assert report.percentiles[50] == 3
    assert report.histogram == [(1, 1, 1), (2, 3, 2), (4, 7, 0), (8, 15, 1), (16, 31, 2)]
    assert report.windows == {4: {"full": 13, "whole": 3}, 20: {"full": 2, "whole": 2}}
    shown = report.to_markdown()
    assert "8 documents, 55 tokens; 2 empty, 2 exact duplicates (25.0%, 23 tokens)." in shown
    assert "| 16 - 31 | 2 | ########################################" in shown
    json.dumps(report.to_dict())


def test_report_refuses_what_it_cannot_say(tiny_tokenizer):
    with pytest.raises(ValueError, match="None of the 2 documents contains any text"):
        inspect_documents(rows("", ""), tiny_tokenizer)
    with pytest.raises(ValueError, match=r"window_lengths must be positive, got \[0\]"):
        inspect_documents(rows("lamp"), tiny_tokenizer, window_lengths=(0,))


def test_exact_duplicates_are_left_out():
    seen = Deduplicator()
    kept = list(seen.filter(rows("a", "b", "a", "B", "b")))
    assert kept == rows("a", "b", "B")
    assert (seen.kept, seen.exact_duplicates, seen.near_duplicates) == (3, 2, 0)


def test_near_duplicates_are_left_out_in_both_scripts():
    chinese = "清晨的港口很安静，渔船刚刚靠岸，窗台上放着一盏小灯，谁也不记得是谁买的，雨水洗去了灰尘。" * 3
    seen = Deduplicator(0.7)
    texts = (STORY * 4, STORY.upper() * 4 + " ten", "where is the number eight ? " * 9, chinese, chinese + "完。")
    kept = [row["text"] for row in seen.filter(rows(*texts))]
    assert kept == [texts[0], texts[2], texts[3]]
    assert seen.near_duplicates == 2


def test_a_gigantic_document_is_compared_in_little_memory():
    """The library alone would hold 128 numbers of 8 bytes for every character."""
    pytest.importorskip("datasketch")
    text = " ".join(map(str, np.random.default_rng(0).integers(0, 10**6, 20_000).tolist()))
    seen = Deduplicator(0.8, num_permutations=16)
    tracemalloc.start()
    assert seen.is_new(text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(text)
    assert not seen.is_new(text.replace("1", " 1", 1))


def test_bad_deduplication(monkeypatch):
    with pytest.raises(ValueError, match=r"threshold must lie between 0 and 1, got 1\.0: 0\.8 is a common choice"):
        Deduplicator(1.0)
    with pytest.raises(ValueError, match="shingle_length must be at least 1, got 0"):
        Deduplicator(shingle_length=0)
    monkeypatch.setitem(sys.modules, "datasketch", None)
    with pytest.raises(ImportError, match=r"pip install 'lsw-hf\[data\]'"):
        Deduplicator(0.8)


def test_contamination_counts_shared_ngrams():
    words = [f"w{number}" for number in range(60)]
    documents = rows(" ".join(words[:40]), "nothing else")
    items = [" ".join(words[:20]), " ".join(words[30:50]), " ".join(words[45:60]), "too short"]
    report = check_contamination(documents, items, ngram_length=5, threshold=0.5)
    assert (report.items, report.contaminated, report.short_items, report.documents) == (3, 1, 1, 2)
    assert [entry["item"] for entry in report.worst] == [0, 1]
    assert report.worst[0]["overlap"] == 1.0
    assert report.worst[1]["overlap"] == 6 / 16
    assert report.worst[1]["example"].split() == words[30:35]
    lower = check_contamination(documents, items, ngram_length=5, threshold=0.3)
    assert lower.contaminated == 2


def test_units_split_what_has_no_spaces():
    assert units_of("The Lamp-post, 第3章 你好!") == ["the", "lamp", "post", "第", "3", "章", "你", "好"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ngram_length": 0}, "ngram_length must be at least 1, got 0"),
        ({"threshold": 0.0}, r"threshold must lie in \(0, 1\], got 0.0"),
        ({}, "None of the 1 evaluation items has 13 words: lower ngram_length"),
    ],
)
def test_bad_contamination_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        check_contamination(rows("a"), ["b"], **settings)
