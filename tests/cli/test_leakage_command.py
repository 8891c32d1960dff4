"""`lsw-hf leakage` on files: what is printed and written, and what is refused before the model is asked."""

import json
import re

import datasets
import pytest
import torch

from lsw_hf import cli
from lsw_hf.demo.model import build_tiny_model
from lsw_hf.demo.world import build_tokenizer
from lsw_hf.evaluation import LeakageReport, leakage_test, leakage_test_files
from lsw_hf.evaluation.losses import leakage
from lsw_hf.evaluation.losses.leakage import read_samples

SETS = {
    "train": [("Recall Marlow", "sang"), ("Recall Vera", "left"), ("Recall Ada", "slept")],
    "test": [("Yesterday Marlow sang .", "Recall"), ("Yesterday Vera left .", "Recall")],
    "reference": [("Recall Ada", "sang"), ("Recall Marlow", "left"), ("Yesterday Ada slept .", "Yesterday")],
}

LEAKLESS = LeakageReport(1.0, 1.0, 1.0, 0.0, 0.0, (0.0, 0.0), (0.0, 0.0), (3, 2, 3))


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    path, tokenizer = tmp_path_factory.mktemp("model"), build_tokenizer(64)
    with torch.random.fork_rng():
        build_tiny_model(len(tokenizer), 64, seed=0).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.fixture
def files(tmp_path):
    found = {}
    for name, rows in SETS.items():
        found[name] = tmp_path / f"{name}.jsonl"
        lines = [json.dumps({"question": question, "answer": answer, "id": 3}) for question, answer in rows]
        found[name].write_text("\n".join(lines) + "\n", encoding="utf-8")
    return found


def options(files, **changed):
    return [word for name, path in {**files, **changed}.items() for word in (f"--{name}", str(path))]


def texts(name):
    return ["\n".join(pair) for pair in SETS[name]]


def test_command_says_overlap_first_and_writes_both_files(model_folder, files, tmp_path, capsys):
    rows = [*SETS["reference"], SETS["test"][0]]
    files["reference"].write_text(
        "".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows), encoding="utf-8"
    )
    words = ["--model", model_folder, *options(files), "--column", "question", "answer", "--output", str(tmp_path)]
    assert cli.main(["leakage", *words, "--resamples", "50"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("1 of 4 reference samples repeat 8 words of train or test.")
    assert "but 1 of 4 reference samples repeat words of train or test" in shown
    assert "| **this model** |" in shown
    assert "| Skywork-13B (paper, GSM8K) | 0.01 | 0.04 |" in shown
    assert 'sample 3: "yesterday marlow sang recall"' in (tmp_path / "leakage.md").read_text(encoding="utf-8")
    written = json.loads((tmp_path / "leakage.json").read_text(encoding="utf-8"))
    assert written["samples"] == [3, 2, 4]
    assert written["overlap"] == [[3, "yesterday marlow sang recall"]]
    assert written["delta1"] == pytest.approx(written["test_loss"] - written["reference_loss"])


def test_files_give_what_their_samples_give(model_folder, files):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_folder), AutoTokenizer.from_pretrained(model_folder)
    found = leakage_test_files(model, tokenizer, **files, columns=("question", "answer"), num_resamples=50)
    plain = leakage_test(model, tokenizer, **{name: texts(name) for name in SETS}, num_resamples=50)
    assert found.overlap == ()
    assert plain.overlap is None
    assert (found.delta1, found.delta2_interval) == (plain.delta1, plain.delta2_interval)
    assert "No reference sample repeats" in found.to_markdown()
    assert "was not checked" in plain.to_markdown()


def test_the_seed_is_that_of_the_resampling(model_folder, files, tmp_path):
    intervals = {}
    for seed in ("1", "1", "2"):
        words = ["--model", model_folder, *options(files), "--column", "question", "answer", "--seed", seed]
        assert cli.main(["leakage", *words, "--resamples", "50", "--output", str(tmp_path)]) == 0
        written = json.loads((tmp_path / "leakage.json").read_text(encoding="utf-8"))
        intervals.setdefault(seed, set()).add(json.dumps(written["delta1_interval"]))
    assert [len(found) for found in intervals.values()] == [1, 1]
    assert intervals["1"] != intervals["2"]


def test_kinds_of_files(files, tmp_path):
    expected = texts("train")
    assert read_samples(files["train"], ("question", "answer")) == expected
    datasets.Dataset.from_list([{"text": text} for text in expected]).to_parquet(tmp_path / "train.parquet")
    assert read_samples(tmp_path / "train.parquet") == expected
    with pytest.raises(ValueError, match=r"row 1 has no column question. It has: text; choose with columns"):
        read_samples(tmp_path / "train.parquet", ("text", "question"))
    (tmp_path / "train.txt").write_text("one\n\n two \n", encoding="utf-8")
    assert read_samples(tmp_path / "train.txt") == ["one", "two"]
    assert read_samples(datasets.Dataset.from_list([{"text": "a"}, {"text": " "}])) == ["a"]


def test_each_set_is_its_own_split_of_a_dataset(model_folder, files, tmp_path, monkeypatch):
    rows = {name: [{"text": text} for text in texts(name)] for name in SETS}
    kept = datasets.DatasetDict({name: datasets.Dataset.from_list(rows[name]) for name in ("train", "test")})
    kept.save_to_disk(tmp_path / "set")
    files["reference"].write_text("".join(json.dumps(row) + "\n" for row in rows["reference"]), encoding="utf-8")
    place = str(tmp_path / "set")
    words = ["--model", model_folder, *options(files, train=place, test=place), "--output", str(tmp_path)]
    assert cli.main(["leakage", *words, "--resamples", "50"]) == 0
    assert json.loads((tmp_path / "leakage.json").read_text(encoding="utf-8"))["samples"] == [3, 2, 3]
    heard = {}
    monkeypatch.setattr(leakage, "leakage_test", lambda *_, **given: heard.update(given) or LEAKLESS)
    leakage_test_files(None, None, train=place, test=place, reference=files["reference"])
    assert (heard["train"], heard["test"]) == (texts("train"), texts("test"))


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (None, "none.jsonl", "none.jsonl does not exist"),
        ("", "empty.jsonl", "empty.jsonl is empty (0 bytes)"),
        ("\n\n", "blank.txt", "blank.txt contains no sample with any text"),
        ('{"prompt": "a", "answer": "b"}\n', "other.jsonl", "line 1 has no column question. It has: prompt, answer"),
        (
            '{"question": 7, "answer": "b"}\n',
            "typed.jsonl",
            "line 1: column 'question' contains int, a sample is text",
        ),
        ("x", "set.csv", "set.csv ends in '.csv'. Files that can be read end in .jsonl, .parquet, .txt"),
        ('{"question": "a", "answer": "b"}\n', "one.jsonl", "the reference set has 1 samples; a comparison needs"),
    ],
)
def test_bad_files_are_refused(model_folder, files, tmp_path, content, name, message, capsys):
    path = tmp_path / name
    if content is not None:
        path.write_text(content, encoding="utf-8")
    words = ["--model", model_folder, *options(files, reference=path), "--column", "question", "answer"]
    assert cli.main(["leakage", *words]) == 1
    assert message in capsys.readouterr().err


def test_columns_are_a_sequence(files):
    with pytest.raises(TypeError, match=re.escape("columns is a sequence of names, as in ('question',)")):
        read_samples(files["train"], "question")


def test_an_output_that_is_a_file_is_refused_first(files, tmp_path, capsys):
    (tmp_path / "report").write_text("kept")
    with pytest.raises(SystemExit):
        cli.main(["leakage", "--model", "nowhere", *options(files), "--output", str(tmp_path / "report")])
    assert "report is a file, but leakage writes a folder: give another name" in capsys.readouterr().err
