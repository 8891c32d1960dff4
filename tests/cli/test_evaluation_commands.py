"""`lsw-hf needle`, `eval` and `compare` on tiny models: files written, words printed, bad input refused."""

import json

import pytest
import torch

from lsw_hf import cli
from lsw_hf.demo.model import build_tiny_model
from lsw_hf.demo.world import build_tokenizer
from lsw_hf.evaluation import NeedleReport
from lsw_hf.evaluation.needle.examiner import Examiner

GRID = ["--context-lengths", "64,96", "--depths", "0.2,0.8", "--num-samples", "2", "--task", "tiny"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two tiny models of the demo's world, of which the second is trained no better than the first."""
    tokenizer = build_tokenizer(64)
    paths = []
    for seed in (0, 1):
        path = tmp_path_factory.mktemp(f"model{seed}")
        with torch.random.fork_rng():
            build_tiny_model(len(tokenizer), 64, seed=seed).save_pretrained(path)
        tokenizer.save_pretrained(path)
        paths.append(str(path))
    return paths


def test_needle_writes_prints_and_draws(folders, tmp_path, capsys):
    words = ["--model", folders[0], *GRID, "--output", str(tmp_path / "n.json"), "--plot", str(tmp_path / "n.png")]
    assert cli.main(["needle", *words]) == 0
    assert "| depth | 64 | 96* |" in capsys.readouterr().out
    report = NeedleReport.load(tmp_path / "n.json")
    assert report.grid["context_lengths"] == [64, 96]
    assert len(report.samples) == 8
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")


def test_eval_writes_one_page(folders, tmp_path, capsys):
    texts = tmp_path / "texts.txt"
    texts.write_text("Yesterday Marlow sang . " * 60, encoding="utf-8")
    words = ["--model", folders[1], "--baseline", folders[0], *GRID, "--output-dir", str(tmp_path / "out")]
    assert cli.main(["eval", *words, "--texts", str(texts)]) == 0
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["after", "before", "index.html"]
    assert sorted(path.name for path in (out / "after").iterdir()) == [
        "loss.json",
        "needle.json",
        "short_context.json",
    ]
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "At 96 tokens the model finds" in page
    assert "Loss by position" in page
    # The baseline's window is the original one.
    assert json.loads((out / "after" / "short_context.json").read_text())["window"] == 64
    assert f"Open {out / 'index.html'}." in capsys.readouterr().out


def test_eval_goes_on_where_it_was_stopped(folders, tmp_path, monkeypatch, capsys):
    asked, examine = [], Examiner.examine

    def count(self, haystacks):
        asked.extend(question for questions in haystacks for question in questions)
        return examine(self, haystacks)

    def stop(*_arguments, **_options):
        raise KeyboardInterrupt

    words = ["eval", "--model", folders[1], "--baseline", folders[0], *GRID, "--output-dir", str(tmp_path)]
    monkeypatch.setattr(Examiner, "examine", count)
    with monkeypatch.context() as patch:
        patch.setattr("lsw_hf.evaluation.summary.short_context.measure_short_context", stop)
        assert cli.main(words) == 130
    assert len(asked) == 8
    assert cli.main([*words, "--seed", "5"]) == 1
    assert "needle.json contains a report of another evaluation: seed was 0 and is 5" in capsys.readouterr().err
    assert len(asked) == 8
    assert cli.main(words) == 0
    # The short window of the first model, and both grids of the second.
    assert len(asked) == 8 + 3 * 8
    assert not list(tmp_path.rglob("unfinished"))


def test_eval_keeps_the_prompt_style_at_short_lengths(folders, tmp_path):
    words = ["--model", folders[1], *GRID, "--original-window", "64", "--output-dir", str(tmp_path)]
    assert cli.main(["eval", *words, "--prompt-style", "plain"]) == 0
    found = json.loads((tmp_path / "short_context.json").read_text())
    assert found["needle"]["settings"]["prompt_style"] == "plain"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--model", "no/such/folder"], "no/such/folder"),
        (["--tasks", "single_9"], "--tasks: there is no family single_9; there are single_1, single_2"),
        (["--tasks", "single_2"], "a context_length of 32 tokens is too short for the task 'single_2'"),
        (["--passages", "missing.jsonl"], "file of passages not found: missing.jsonl"),
        (["--texts", "missing.txt"], "missing.txt"),
        (["--haystack", "some.txt"], "--haystack and --language belong to the built-in needles; --task tiny brings"),
        (["--language", "zh"], "--haystack and --language belong to the built-in needles"),
    ],
)
def test_eval_refuses_before_it_measures(folders, extra, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "lsw_hf.evaluation.needle.grid.evaluate_needle", lambda *_, **__: pytest.fail("measured first")
    )
    words = ["--model", folders[1], "--baseline", folders[0], *GRID, "--output-dir", str(tmp_path / "out"), *extra]
    assert cli.main(["eval", *words]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_eval_refuses_short_texts_before_it_measures(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        "lsw_hf.evaluation.needle.grid.evaluate_needle", lambda *_, **__: pytest.fail("measured first")
    )
    texts = tmp_path / "texts.txt"
    texts.write_text("Yesterday Marlow sang . " * 3, encoding="utf-8")
    assert cli.main(["eval", "--model", folders[1], *GRID, "--texts", str(texts)]) == 1
    assert "--texts: no document has the 96 tokens of the longest context" in capsys.readouterr().err


def test_compare_prints_and_refuses(folders, tmp_path, capsys):
    files = []
    for index, extra in enumerate(([], [], ["--seed", "5"])):
        files.append(str(tmp_path / f"{index}.json"))
        cli.main(["needle", "--model", folders[min(index, 1)], *GRID, *extra, "--output", files[-1]])
    capsys.readouterr()
    picture, page = tmp_path / "pair.png", tmp_path / "pair.html"
    assert cli.main(["compare", *files[:2], "--plot", str(picture), "--page", str(page)]) == 0
    assert "| length | before | after | change | gained | lost |" in capsys.readouterr().out
    assert picture.exists()
    assert "data:image/png" in page.read_text()
    assert cli.main(["compare", files[0], files[2]]) == 1
    assert "the reports are of different grids: seed: 0 and 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            ["--task", "color"],
            "--task must be one of number, word, uuid, sentence, tiny or MODULE:CLASS; got 'color'",
        ),
        (["--task", "no_such_module:Task"], "No module named 'no_such_module'"),
        (["--task", "collections:OrderedDict"], "is no NeedleTask"),
        (["--depths", "2"], "depths lie between 0 (beginning) and 1 (end)"),
        (["--task", "number", "--haystack", "missing.txt"], "haystack file not found: missing.txt"),
        (["--task", "number"], "the tokenizer does not know all words of the task 'number-en'"),
    ],
)
def test_bad_options_are_refused(folders, extra, message, capsys):
    assert cli.main(["needle", "--model", folders[0], *GRID, *extra]) == 1
    assert message in capsys.readouterr().err


def test_lengths_are_numbers(capsys):
    with pytest.raises(SystemExit):
        cli.main(["needle", "--model", "x", "--context-lengths", "4k"])
    assert "expected numbers separated by commas, got '4k'" in capsys.readouterr().err
