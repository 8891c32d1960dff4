"""The benchmark on a real model, with its tiny inputs on a CPU: what it measures, and what it keeps when stopped."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "gpu" / "real_model.py"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import real_model

    return real_model


@pytest.fixture
def small(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv", ["real_model.py", "--device", "cpu", "--small", "--output", str(tmp_path / "out")]
    )
    arguments = benchmark.parse()
    arguments.model, arguments.texts = benchmark.write_small(tmp_path)
    return arguments


@pytest.mark.slow
def test_the_whole_script_on_a_cpu(benchmark, monkeypatch, tmp_path, capsys):
    output = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["real_model.py", "--device", "cpu", "--small", "--output", str(output)])
    benchmark.main()
    found = json.loads(output.read_text())
    assert found["finished"]
    rows = [(row["method"], row["context_length"], "refused" in row) for row in found["no_training"]]
    assert rows == [
        ("as it comes", 1_024, False),
        ("yarn", 1_024, False),
        ("longrope", 1_024, True),
        ("yarn", 256, False),
        ("longrope", 256, True),
    ]
    assert [row["arm"] for row in found["training"]] == ["skipped", "full", "skipped, few"]
    assert [row["row_length"] for row in found["training"]] == [64, 1_024, 64]
    assert {row["tokens"] for row in found["training"]} == {2_048}
    untrained = found["no_training"][1]["buckets"][-1]["loss"]
    assert all(row["buckets"][-1]["loss"] < untrained - 0.1 for row in found["training"])
    assert found["needle"][0]["model"] == "no training (yarn)"
    assert len(found["needle"]) == 4
    assert "| yarn | 1,024 |" in capsys.readouterr().out


def test_buckets_are_those_of_a_plain_forward(benchmark, small):
    inputs = benchmark.load_inputs(small)
    model = benchmark.load_model(small, torch.float32)
    row = benchmark.measure_loss(model, inputs, 256)
    ids = torch.tensor(list(inputs.held_out.values()))[:, :256]
    with torch.no_grad():
        logits = model(ids).logits[:, :-1]
    losses = functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    borders = [(0, 32), (32, 64), (64, 128), (128, 256)]
    assert [(bucket["start"], bucket["end"]) for bucket in row["buckets"]] == borders
    for bucket, (start, end) in zip(row["buckets"], borders, strict=True):
        # the first token has no loss
        expected = losses[:, max(start - 1, 0) : end - 1].mean(dim=1)
        assert bucket["by_window"] == pytest.approx(expected.tolist(), abs=1e-5)
        assert bucket["standard_error"] == pytest.approx((expected.std() / 2**0.5).item(), abs=1e-5)


def test_rows_of_all_arms_are_cut_from_the_same_text(benchmark, small):
    from real_model_training import training_rows

    inputs = benchmark.load_inputs(small)
    short, full, mixed = (training_rows(arm, inputs, 1_024) for arm in ("skipped", "full", "interleaved"))
    assert np.array_equal(np.concatenate(short["input_ids"]), np.concatenate(full["input_ids"]))
    assert len(mixed) == len(full)
    assert mixed["input_ids"] != full["input_ids"]
    assert short["labels"] == short["input_ids"]


def test_the_nearer_end_rules_the_learning_rate(benchmark, monkeypatch):
    from real_model_training import EndOfArm

    monkeypatch.setattr("time.perf_counter", lambda: now)
    now, control = 100.0, argparse.Namespace(should_training_stop=False)
    end = EndOfArm(steps=100, seconds=60.0, device="cpu")
    assert [end.rate(0), end.rate(4)] == pytest.approx([0.1, 0.8])
    assert [end.rate(5), end.rate(100)] == pytest.approx([1.0, 0.0])
    end.on_train_begin(None, None, None)
    now = 100.0 + 60.0 * 0.525
    assert end.rate(6) == pytest.approx(0.5)
    end.on_step_end(None, None, control)
    assert not control.should_training_stop
    now = 160.0
    end.on_step_end(None, None, control)
    assert control.should_training_stop
    assert end.seconds == 60.0


def test_a_stopped_run_keeps_what_it_has(benchmark, small, monkeypatch):
    small.methods, small.factors = ["yarn"], [8]

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "training", stopped)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(small)
    found = json.loads(small.output.read_text())
    assert not found["finished"]
    assert [row["method"] for row in found["no_training"]] == ["as it comes", "yarn"]


def test_missing_inputs_are_said(benchmark, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["real_model.py", "--device", "cpu"])
    with pytest.raises(SystemExit):
        benchmark.parse()
    assert "--model and --texts are needed; real_model_inputs.py makes them" in capsys.readouterr().err


def test_pages_lose_their_navigation(benchmark, tmp_path):
    from real_model_inputs import page_text

    page = tmp_path / "page.html"
    page.write_text(
        "<html><head><title>no</title></head><body><div class='navheader'><div>no</div></div>"
        "<p>One <b>two</b></p><pre>a\n  b &lt; c</pre><p id='title'>kept</p></body></html>"
    )
    assert page_text(page).split("\n") == ["One two", "", "a", "  b < c", "", "kept"]
