"""`--json`: standard output is one JSON object with the facts of the text, for every command that prints facts."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from benchmarks.context_zoo import ARCHITECTURES
from lsw_hf import cli
from lsw_hf.conversion.skywork import ConversionReport
from lsw_hf.demo import recipe
from lsw_hf.demo.model import build_tiny_model
from lsw_hf.demo.world import build_tokenizer
from lsw_hf.evaluation import NeedleReport, NeedleSample
from lsw_hf.recipes.stages import STAGES

GRID = ["--context-lengths", "64,96", "--depths", "0.2,0.8", "--num-samples", "2", "--task", "tiny"]


@pytest.fixture
def told(capsys):
    """Run a command with `--json` and return the status and the object, which is all that stands in the output."""

    def run(*words):
        capsys.readouterr()
        status = cli.main([*map(str, words), "--json"])
        return status, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A tiny model of the demo's world."""
    tokenizer, path = build_tokenizer(64), tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        build_tiny_model(len(tokenizer), 64, seed=0).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_the_option(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    assert "--json" in capsys.readouterr().out


def test_suggest_and_extend(told, tmp_path):
    AutoModelForCausalLM.from_config(ARCHITECTURES["llama"]()).save_pretrained(tmp_path / "source")
    words = ("--model", tmp_path / "source", "--context-length", 1024)
    status, found = told("suggest", *words, "--training", "long")
    assert (status, found["recommended"], found["window"], found["context_length"]) == (0, "abf", 64, 1024)
    assert "yarn" in [candidate["method"] for candidate in found["candidates"]]
    status, found = told("extend", *words, "--output-dir", tmp_path / "long")
    assert (status, found["output_dir"]) == (0, str(tmp_path / "long"))
    assert (found["rope_type"], found["factor"], found["problems"]) == ("yarn", 16.0, [])


def test_a_refusal_prints_no_object(tmp_path, capsys):
    assert cli.main(["suggest", "--model", str(tmp_path), "--context-length", "64", "--json"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "has no config.json" in shown.err


def test_convert(told, tmp_path, monkeypatch):
    report = ConversionReport("old", "llama", changes=["three tokens were added"], dropped=["a"], probe_texts=9)
    monkeypatch.setattr("lsw_hf.conversion.skywork.convert_checkpoint", lambda *_, **__: report)
    assert told("convert", "old", tmp_path / "new") == (
        0,
        {
            "tensors": 0,
            "tensors_changed": 0,
            "tensors_left_out": 1,
            "changes": ["three tokens were added"],
            "probe_texts": 9,
            "report": f"{tmp_path / 'new'}/conversion_report.json",
        },
    )


def test_refresh(told, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "longskywork"}')
    for file in (Path(__file__).parent.parent / "models" / "saved_by_95168b3").glob("*.txt"):
        shutil.copy(file, tmp_path / f"{file.stem}.py")
    status, found = told("refresh", tmp_path)
    assert (status, found["folder"]) == (0, str(tmp_path))
    assert "modeling_longskywork.py" in found["replaced"]
    assert told("refresh", tmp_path)[1]["replaced"] == []


def test_needle_prints_the_report_that_output_writes(told, tiny, tmp_path):
    status, found = told("needle", "--model", tiny, *GRID, "--output", tmp_path / "needle.json")
    assert status == 0
    assert NeedleReport.from_dict(found) == NeedleReport.load(tmp_path / "needle.json")


def test_eval(told, tiny, tmp_path):
    status, found = told("eval", "--model", tiny, "--baseline", tiny, *GRID, "--output-dir", tmp_path)
    assert (status, found["page"]) == (0, str(tmp_path / "index.html"))
    assert sorted(found["after"]) == ["needle", "short_context"]
    assert found["before"]["needle"]["accuracy"] == found["after"]["needle"]["accuracy"]


def test_leakage(told, tiny, tmp_path):
    words = []
    for name in ("train", "test", "reference"):
        (tmp_path / f"{name}.txt").write_text("Recall Marlow sang\nRecall Vera left\n", encoding="utf-8")
        words += [f"--{name}", tmp_path / f"{name}.txt"]
    status, found = told("leakage", "--model", tiny, *words, "--resamples", 20, "--ngram", 3)
    assert (status, found["delta1"], found["test_leaked"], found["ngram"]) == (0, 0.0, False, 3)
    assert found["overlap"] == [[0, "recall marlow sang"], [1, "recall vera left"]]


def test_tables(told, tmp_path):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: place for place, letter in enumerate([*alphabet, "<eos>"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    template = "{% for message in messages %}{{ message['content'] }}{{ eos_token }}{% endfor %}"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", chat_template=template)
    tokenizer.save_pretrained(tmp_path / "bytes")
    words = ("--tokenizer", tmp_path / "bytes", "--output", tmp_path / "out", "--num-samples", 2, "--length", 400)
    status, found = told("tables", *words, "--formats", "tsv")
    assert (status, found["rows"], found["formats"], found["output"]) == (0, 2, {"tsv": 2}, str(tmp_path / "out"))


def test_data(told, tiny, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, text in {"a": "Yesterday Marlow sang .", "b": "Yesterday Vera left .", "copy": "Recall Ada"}.items():
        (corpus / f"{name}.txt").write_text(text * 9, encoding="utf-8")
    (corpus / "d.txt").write_text((corpus / "a.txt").read_text(), encoding="utf-8")
    (tmp_path / "items.txt").write_text("Yesterday Marlow sang . " * 5 + "\nshort\n", encoding="utf-8")
    words = ("--documents", corpus, "--tokenizer", tiny)
    status, found = told("data", "inspect", *words)
    assert (status, found["documents"], found["duplicate_documents"]) == (0, 4, 1)
    status, found = told("data", "dedup", *words, "--output", tmp_path / "kept.jsonl")
    assert (status, found["kept"], found["exact_duplicates"]) == (0, 3, 1)
    status, found = told("data", "contamination", *words, "--evaluation", tmp_path / "items.txt")
    assert (status, found["items"], found["short_items"], found["threshold"]) == (0, 1, 1, 0.5)
    options = ("--window-length", 8, "--documents-per-window", 2, "--separator-id", "none")
    status, found = told("data", "interleave", *words, *options, "--output", tmp_path / "windows")
    assert (status, found["documents_read"], found["window_length"]) == (0, 4, 8)
    assert found["windows"] * 8 == found["tokens_emitted"]


def report(path, right, **grid):
    """Saves a report of twenty questions at each of two lengths, so many of them right."""
    samples = [
        NeedleSample(length, 0.5, 0.5, number, f"question {number}", "a", "a", number < right[place])
        for place, length in enumerate((512, 1024))
        for number in range(20)
    ]
    NeedleReport({"context_lengths": [512, 1024], **grid}, tuple(samples), {"task": "t"}).save(path)
    return str(path)


@pytest.mark.parametrize(
    ("right", "status", "verdict"),
    [
        ((20, 20), 0, "No worse: new."),
        ((15, 20), 0, "No worse: new."),  # five lost, none gained: once in 32 by chance
        ((14, 20), 2, "Worse beyond the interval: new, over all lengths."),  # once in 64
        ((13, 20), 2, "Worse beyond the interval: new, at 512 tokens."),  # once in 128: enough for one of two lengths
        ((15, 15), 2, "Worse beyond the interval: new, over all lengths."),
    ],
)
def test_compare_is_a_gate(told, tmp_path, capsys, right, status, verdict):
    files = [report(tmp_path / "before.json", (20, 20)), report(tmp_path / "after.json", right)]
    assert cli.main(["compare", *files, "--labels", "old", "new"]) == status
    shown = capsys.readouterr().out
    assert shown.startswith("| length | old | new | change | gained | lost |")
    assert shown.endswith(f"\n\n{verdict}\n")
    found_status, found = told("compare", *files)
    assert (found_status, found["worse"], found["lost"]) == (status, status == 2, 40 - sum(right))
    assert [row["context_length"] for row in found["lengths"]] == [512, 1024]
    assert found["lengths"][0]["worse"] == ("512" in verdict)
    assert found["lengths"][0]["after"] == right[0] / 20
    # The other way round is a gain.
    assert cli.main(["compare", *reversed(files)]) == 0


def test_errors_of_compare_are_never_taken_for_worse(tmp_path, capsys):
    first, other = report(tmp_path / "a.json", (20, 20)), report(tmp_path / "b.json", (20, 20), seed=5)
    assert cli.main(["compare", first, other]) == 1
    assert cli.main(["compare", first, str(tmp_path / "none.json")]) == 1
    for words in ([first], [first, other, "--plott", "x"], [first, other, "--labels", "one"]):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["compare", *words])
        assert stopped.value.code == 1
    assert "Did you mean '--plot'?" in capsys.readouterr().err


def test_help_of_compare_names_the_status(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["compare", "--help"])
    assert stopped.value.code == 0
    assert "  2  it is worse beyond the interval" in capsys.readouterr().out


def test_demo_prints_its_plan_and_both_grids(told, tmp_path, monkeypatch):
    budget = recipe.TinySettings(2, 1, 1, 1, row_length=512, table_length=512, num_samples=2)
    monkeypatch.setattr(recipe, "settings_for", lambda context_length: budget)
    status, found = told("demo", "--context-length", 1024, "--output-dir", tmp_path / "demo")
    assert status == 0
    assert found["model_path"] == str(tmp_path / "demo" / "model")
    assert [stage["stage"] for stage in found["plan"]["stages"]] == list(STAGES)
    for moment in ("before", "after"):
        assert {cell["context_length"] for cell in found[moment]["cells"]} == {512, 1024}
    assert (
        found["before"]["settings"]["max_position_embeddings"],
        found["after"]["settings"]["max_position_embeddings"],
    ) == (512, 1024)
