"""`lsw-hf tables` and `lsw-hf data`, run as a user runs them, on a folder of text."""

import json

import pytest
from datasets import load_dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from lsw_hf import cli

STORY = "the old lamp near the river shows a small key and the garden keeps a large stone . "
SCHEMA = """
columns:
  - {name: number, kind: integer, low: 100, high: 999}
  - {name: place, kind: words, values: [box, lamp, river, garden]}
"""


@pytest.fixture
def saved_tokenizer(tiny_tokenizer, tmp_path):
    folder = tmp_path / "tokenizer"
    tiny_tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def byte_tokenizer(tmp_path):
    """One token a byte: knows every word."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: place for place, letter in enumerate([*alphabet, "<eos>"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    template = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
    folder = tmp_path / "bytes"
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", chat_template=template).save_pretrained(
        folder
    )
    return str(folder)


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    for place in range(12):
        (folder / f"{place:02d}.txt").write_text(STORY * (1 + place % 4) + f"number {place} .", encoding="utf-8")
    (folder / "copy.txt").write_text((folder / "03.txt").read_text(encoding="utf-8"), encoding="utf-8")
    return str(folder)


def run(*words):
    return cli.main([str(word) for word in words])


def test_tables_are_written(byte_tokenizer, tmp_path, capsys):
    (tmp_path / "schema.yaml").write_text(SCHEMA, encoding="utf-8")
    out = tmp_path / "tables"
    words = ["tables", "--tokenizer", byte_tokenizer, "--output", out, "--num-samples", 5, "--length", "200-260"]
    words += ["--schema", tmp_path / "schema.yaml", "--formats", "tsv", "--question-types", "cell,reverse"]
    assert run(*words, "--rows-per-shard", 2) == 0
    assert "5 rows, 1" in capsys.readouterr().out
    rows = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 5
    assert set(rows["format"]) == {"tsv"}
    assert all(200 <= row["length"] <= 260 for row in rows)
    # One token a byte: the shortest word of the padding costs two.
    assert all(row["length"] - 2 <= row["num_tokens"] <= row["length"] for row in rows)


def test_windows_are_written(saved_tokenizer, corpus, tmp_path, capsys):
    out = tmp_path / "windows"
    words = ["data", "interleave", "--documents", corpus, "--tokenizer", saved_tokenizer, "--output", out]
    assert run(*words, "--window-length", 64, "--documents-per-window", 3) == 0
    rows = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    assert all(len(row["input_ids"]) == 64 for row in rows)
    assert f"{len(rows)} windows of 64 tokens from 13 documents, " in capsys.readouterr().out


def test_inspection_is_printed_and_saved(saved_tokenizer, corpus, tmp_path, capsys):
    out = tmp_path / "report.json"
    assert run("data", "inspect", "--documents", corpus, "--tokenizer", saved_tokenizer, "--output", out) == 0
    assert "13 documents, " in capsys.readouterr().out
    assert json.loads(out.read_text(encoding="utf-8"))["duplicate_documents"] == 1


def test_sources_are_read_and_unreadable_files_left_out(saved_tokenizer, corpus, tmp_path, capsys):
    (tmp_path / "corpus" / "code.py").write_text("the key = a lamp", encoding="utf-8")
    (tmp_path / "corpus" / "old.py").write_bytes(b"caf\xe9")
    words = ("data", "inspect", "--documents", corpus, "--tokenizer", saved_tokenizer, "--text-suffixes", ".py")
    assert run(*words, "--unreadable", "skip") == 0
    assert "14 documents, " in capsys.readouterr().out


def test_refused_folders_say_which_option_helps(saved_tokenizer, tmp_path, capsys):
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "code.py").write_text("the key = a lamp", encoding="utf-8")
    words = ("data", "inspect", "--documents", folder, "--tokenizer", saved_tokenizer)
    assert run(*words) == 1
    assert "It contains: .py. Further text files are named with text_suffixes" in capsys.readouterr().err
    (folder / "__init__.py").touch()
    assert run(*words, "--text-suffixes", ".py") == 1
    assert "__init__.py is empty (0 bytes)" in (error := capsys.readouterr().err)
    assert "unreadable='skip' leaves empty ones out" in error


def test_duplicates_are_left_out(corpus, tmp_path, capsys):
    out = tmp_path / "kept.jsonl"
    assert run("data", "dedup", "--documents", corpus, "--output", out) == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 12
    assert "12 documents kept, 1 equal and 0 similar ones left out." in capsys.readouterr().out


def test_evaluation_items_are_found(corpus, tmp_path, capsys):
    (tmp_path / "items.jsonl").write_text(
        json.dumps({"question": STORY}) + "\n" + " ".join(f"w{n}" for n in range(20)) + "\n", encoding="utf-8"
    )
    assert run("data", "contamination", "--documents", corpus, "--evaluation", tmp_path / "items.jsonl") == 0
    out = capsys.readouterr().out
    assert "1 of 2 evaluation items have at least 50% of their 13-grams in 13 documents" in out
    assert "item 0: 100%" in out


def test_windows_into_a_file_are_refused_first(tmp_path, capsys):
    (tmp_path / "windows").write_text("kept")
    words = ("data", "interleave", "--documents", "nowhere", "--tokenizer", "nowhere", "--window-length", "64")
    assert run(*words, "--output", tmp_path / "windows") != 0
    assert "windows is a file, but interleave writes a folder: give another name" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["inspect", "dedup", "contamination"])
def test_files_that_cannot_be_written_are_refused_before_any_work(action, tmp_path, capsys):
    words = ("data", action, "--documents", "nowhere.txt", "--tokenizer", "nowhere", "--evaluation", "nowhere.txt")
    assert run(*words, "--output", tmp_path) == 1
    assert f"{tmp_path} is a folder, but {action} writes a file: name one inside it" in capsys.readouterr().err
    assert run(*words, "--output", tmp_path / "none" / "x.json") == 1
    assert f"the folder {tmp_path / 'none'} does not exist. Make it first." in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": 1}\n{oops\n', "items.jsonl, line 2: begins like a JSON object but is none at column 2"),
        (b"caf\xe9\n", "items.jsonl, line 1: byte 0xe9 at position 3 of the line is not UTF-8"),
        (b"\n \n", "items.jsonl contains no evaluation item. Write one a line."),
        (None, "items.jsonl. Give --evaluation a file of JSON lines or text"),
    ],
)
def test_unreadable_evaluation_items_are_named(content, message, corpus, tmp_path, capsys):
    if content is not None:
        (tmp_path / "items.jsonl").write_bytes(content)
    assert run("data", "contamination", "--documents", corpus, "--evaluation", tmp_path / "items.jsonl") != 0
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("data", "inspct", "--documents", "x"), "unknown action 'inspct'. Did you mean 'inspect'?"),
        (("data", "inspect", "--documents", "x"), "inspect needs --tokenizer."),
        (("data", "dedup", "--documents", "x"), "dedup needs --output."),
        (("data", "contamination", "--documents", "x"), "contamination needs --evaluation."),
        (("tables", "--tokenizer", "x", "--output", "y", "--length", "many"), "expected a number of tokens or two"),
    ],
)
def test_bad_command_lines(words, message, capsys):
    with pytest.raises(SystemExit) as error:
        run(*words)
    assert error.value.code == 2
    assert message in capsys.readouterr().err
