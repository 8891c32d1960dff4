"""Filler sources: order, repetition, and what is refused."""

import re
from itertools import islice

import numpy as np
import pytest

from lsw_hf.evaluation import FillerSource, NoiseFiller, ProseFiller, TextFiller
from lsw_hf.evaluation.texts.fillers import split_sentences


def take(source, count, seed=0):
    return list(islice(source.sentences(np.random.default_rng(seed)), count))


@pytest.mark.parametrize("source", [ProseFiller("en"), ProseFiller("zh"), NoiseFiller(), TextFiller(["A b. C d."])])
def test_sources_are_endless_and_repeatable(source):
    assert isinstance(source, FillerSource)
    assert len(take(source, 700)) == 700
    assert take(source, 300, seed=5) == take(source, 300, seed=5)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_prose_varies_and_holds_no_digits(language):
    sentences = take(ProseFiller(language), 1000)
    assert len(set(sentences)) > 900
    assert not any(re.search(r"\d", sentence) for sentence in sentences)
    assert sentences != take(ProseFiller(language), 1000, seed=1)


def test_noise_repeats_in_order():
    assert take(NoiseFiller("One. Two."), 5) == ["One.", "Two.", "One.", "Two.", "One."]


def test_texts_are_read_from_a_random_sentence_on_and_start_over():
    source = TextFiller(["One. Two.\nThree", "Four! Five?"])
    assert source.all_sentences == ["One.", "Two.", "Three", "Four!", "Five?"]
    starts = set()
    for seed in range(60):
        taken = take(source, 7, seed)
        start = source.all_sentences.index(taken[0])
        starts.add(start)
        assert taken == [source.all_sentences[(start + i) % 5] for i in range(7)]
    assert len(starts) == 5


def test_sentence_borders():
    assert split_sentences("It costs 3.14 now. Buy!  Or not?\n\nNew line") == [
        "It costs 3.14 now.", "Buy!", "Or not?", "New line",
    ]  # fmt: skip
    assert split_sentences("今天下雨。明天晴！好吗？") == ["今天下雨。", "明天晴！", "好吗？"]
    pieces = split_sentences("word " * 200)
    assert all(len(piece) <= 300 for piece in pieces)
    assert " ".join(pieces).split() == ["word"] * 200


def test_files(tmp_path):
    (tmp_path / "a.txt").write_text("One. Two.", encoding="utf-8")
    (tmp_path / "b.txt").write_text("Three.", encoding="utf-8")
    source = TextFiller.from_files(tmp_path / "a.txt", tmp_path / "b.txt")
    assert source.all_sentences == ["One.", "Two.", "Three."]
    assert source.name == "a.txt b.txt"
    with pytest.raises(ValueError, match=r"haystack file not found: .*c\.txt"):
        TextFiller.from_files(tmp_path / "c.txt")
    (tmp_path / "d.txt").write_bytes(b"ok \xff")
    with pytest.raises(ValueError, match=r"d\.txt is not UTF-8 text \(byte 3\)"):
        TextFiller.from_files(tmp_path / "d.txt")


def test_empty_texts_are_refused():
    with pytest.raises(ValueError, match="contain no sentence"):
        TextFiller(["  \n "])
    with pytest.raises(ValueError, match="NoiseFiller is empty"):
        NoiseFiller(" ")
    with pytest.raises(ValueError, match="'en' or 'zh'; got 'de'"):
        ProseFiller("de")
