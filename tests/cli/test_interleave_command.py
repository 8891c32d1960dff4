"""Every field of the library's config as an option of `lsw-hf data interleave`, with the library's own refusals."""

import json
import sys

import pytest
from datasets import load_dataset

from lsw_hf import cli
from lsw_hf.data.windows.config import ChunkInterleaveConfig
from lsw_hf.data.windows.interleaver import ChunkInterleaver

NUMBERS = "one two three four five six seven eight nine ten".split()
TEXTS = [" ".join([NUMBERS[place % 10], "lamp"] * (5 + place % 7)) for place in range(40)]


@pytest.fixture
def words(tiny_tokenizer, tmp_path):
    """The command up to its options."""
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "texts.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8"
    )
    out = ["data", "interleave", "--documents", tmp_path / "texts.jsonl", "--output", tmp_path / "out"]
    return [*map(str, out), "--tokenizer", str(tmp_path / "tokenizer"), "--window-length", "24"]


def rows_of(tmp_path):
    return list(load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")))


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        (
            "--chunks-per-document 1:0.25,3:0.75 --split equal",
            {"chunks_per_document": {1: 0.25, 3: 0.75}, "split": "equal"},
        ),
        (
            "--interleaved-fraction 0.5 --plain-attention document --provenance",
            {"interleaved_fraction": 0.5, "plain_attention": "document", "provenance": True},
        ),
        ("--shuffle-rounds --group-documents 20", {"shuffle_rounds": True, "group_documents": 20}),
        ("--separators window --separator-id 9", {"separators": "window", "separator_id": 9}),
        ("--separator-id none", {"separator_id": None}),
    ],
)
def test_options_are_the_fields_of_the_config(words, tiny_tokenizer, tmp_path, capsys, options, settings):
    """The rows are those that the library gives for the same settings; no option is dead."""
    words += ["--documents-per-window", "3", "--seed", "5", "--shuffle-buffer", "0"]
    assert cli.main([*words, *options.split()]) == 0
    settings = {"separator_id": tiny_tokenizer.eos_token_id, "shuffle_buffer": 0, **settings}
    config = ChunkInterleaveConfig(window_length=24, documents_per_window=3, **settings)
    documents = tiny_tokenizer(TEXTS, add_special_tokens=False)["input_ids"]
    truth = ChunkInterleaver(documents, config, seed=5)
    assert rows_of(tmp_path) == [{name: list(values) for name, values in window.items()} for window in truth]
    assert f", {truth.counts.windows_interleaved} windows interleaved: " in capsys.readouterr().out


def test_similar_documents_share_windows(words, tiny_tokenizer, tmp_path):
    options = "--documents-per-window 2 --similar-documents --provenance --separator-id none".split()
    assert cli.main([*words, *options]) == 0
    lamp, *numbers = tiny_tokenizer.convert_tokens_to_ids(["lamp", *NUMBERS])
    topics = [set(row["input_ids"]) - {lamp} for row in rows_of(tmp_path)]
    assert sum(len(topic) == 1 for topic in topics) > len(topics) / 3  # in the order of the file: never
    assert set.union(*topics) == set(numbers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--split even", "split must be one of 'random', 'equal', got 'even'"),
        ("--interleaved-fraction 1.5", "interleaved_fraction must lie in [0, 1], got 1.5"),
        ("--plain-attention none", "plain_attention must be one of 'window', 'document', got 'none'"),
        ("--separators all", "separators must be one of 'document', 'window', got 'all'"),
        ("--chunks-per-document two", "must be a number of chunks, or some like 1:0.2,2:0.8, got 'two'"),
        ("--separator-id period", "separator_id must be a token id, eos or none, got 'period'"),
        ("--chunks-per-document 0", "chunks_per_document must be a positive integer"),
        ("--chunks-per-document 1:0.2,2:0.2", "chunks_per_document must be >= 0 and sum to 1"),
        ("--documents-per-window 24", "does not fit a window of 24 tokens"),
        ("--separators window --separator-id none", "separators='window' puts a token at the end of every window"),
        ("--separator-id 4000", "separator_id 4000 is not a token of the tokenizer: ids go from 0 to "),
        ("--similar-documents --group-documents 9", "both decide which documents share a window: use one of them"),
        (
            "--similar-documents --documents-per-window 1",
            "documents_per_window must be at least 2 for documents to be",
        ),
    ],
)
def test_bad_combinations_are_refused_before_the_documents_are_read(words, options, message, tmp_path, capsys):
    (tmp_path / "texts.jsonl").write_text("no JSON at all", encoding="utf-8")
    assert cli.main([*words, *options.split()]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_library_is_named_before_the_documents_are_read(words, tmp_path, monkeypatch, capsys):
    (tmp_path / "texts.jsonl").write_text("no JSON at all", encoding="utf-8")
    monkeypatch.setitem(sys.modules, "bm25s", None)
    assert cli.main([*words, "--similar-documents"]) == 1
    assert "pip install 'lsw-hf[data]'" in capsys.readouterr().err


def test_a_tokenizer_without_an_end_token(words, tiny_tokenizer, tmp_path, capsys):
    path = tmp_path / "tokenizer" / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(settings | {"eos_token": None}), encoding="utf-8")
    assert cli.main([*words, "--documents-per-window", "3"]) == 1
    assert (
        "no end token to put between documents: set separator_id to a token id, or to none" in capsys.readouterr().err
    )
    assert cli.main([*words, "--documents-per-window", "3", "--separator-id", "none"]) == 0
