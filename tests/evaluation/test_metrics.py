"""Metrics as `evaluate` loads them from their folders."""

from pathlib import Path

import evaluate
import pytest

import lsw_hf.evaluation
from lsw_hf.evaluation import leakage_test, loss_by_position

METRICS = Path(lsw_hf.evaluation.__file__).parent / "metrics"
NAMES = sorted(path.name for path in METRICS.iterdir() if path.is_dir() and not path.name.startswith("_"))


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    """Modules are copied to a cache before they are imported: one that nobody else uses."""
    from evaluate import config

    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HF_EVALUATE_CACHE", "HF_METRICS_CACHE", "HF_MODULES_CACHE"):
            patch.setattr(config, name, cache)
        yield


def load(name):
    return evaluate.load(str(METRICS / name), cache_dir=None)


def test_folders_are_spaces():
    assert NAMES == ["effective_context_length", "leakage", "loss_by_position", "needle_retrieval"]
    for name in NAMES:
        assert {path.name for path in (METRICS / name).iterdir()} >= {
            f"{name}.py",
            "README.md",
            "app.py",
            "requirements.txt",
        }
        assert "sdk: gradio" in (METRICS / name / "README.md").read_text().split("---")[1]


def test_needle_retrieval():
    found = load("needle_retrieval").compute(
        predictions=["It is 482.", "14827", "Ada", "７"], references=["482", "482", "ada", "7"],
        context_lengths=[10, 20, 20, 10], depths=[0.5, 0.5, 0.1, 0.1],
    )  # fmt: skip
    assert found["accuracy"] == 0.5
    assert found["interval"] == pytest.approx([0.15, 0.85], abs=0.01)
    assert found["by_length"] == {10: 0.5, 20: 0.5}
    assert found["by_depth"] == {0.1: 0.5, 0.5: 0.5}
    assert load("needle_retrieval").compute(predictions=["７"], references=["7"], mode="normalized")["accuracy"] == 1.0
    with pytest.raises(ValueError, match="1 predictions, but 2 values for by_depth"):
        load("needle_retrieval").compute(predictions=["a"], references=["a"], depths=[0.1, 0.2])


def test_effective_context_length():
    metric = load("effective_context_length")
    scores, lengths = [1.0, 0.8, 0.9, 0.7, 0.4], [100, 100, 200, 200, 400]
    found = metric.compute(predictions=scores, references=lengths)
    assert found["effective_context_length"] == 100
    assert found["averages"] == pytest.approx({100: 90.0, 200: 80.0, 400: 40.0})
    own = metric.compute(predictions=scores, references=lengths, share_of_shortest=0.85)
    assert own["threshold"] == pytest.approx(76.5)
    assert own["effective_context_length"] == 200
    assert metric.compute(predictions=[0.1], references=[5])["effective_context_length"] == 0
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\]; got 85"):
        metric.compute(predictions=[0.1], references=[5], share_of_shortest=85)


@pytest.fixture
def folder(tiny_model, words, tmp_path):
    tiny_model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    return str(tmp_path)


def test_loss_by_position(folder, tiny_model, words):
    texts = [" ".join(f"word{(i * k) % 96}" for i in range(60)) for k in (1, 5, 7)]
    found = load("loss_by_position").compute(predictions=texts, model_id=folder, context_length=20, num_buckets=2)
    expected = loss_by_position(tiny_model, words, texts, context_length=20, num_buckets=2)
    assert found["loss"] == pytest.approx(expected.loss, rel=1e-5)
    assert [bucket["start"] for bucket in found["buckets"]] == [0, 10]


def test_leakage(folder, tiny_model, words):
    texts = [f"word{i} word{i + 1} word{2 * i}" for i in range(9)]
    sets = ["train", "test", "reference"] * 3
    found = load("leakage").compute(predictions=texts, references=sets, model_id=folder)
    expected = leakage_test(tiny_model, words, train=texts[::3], test=texts[1::3], reference=texts[2::3])
    assert found["delta1"] == pytest.approx(expected.delta1, abs=1e-5)
    assert found["verdict"] == expected.verdict
    with pytest.raises(ValueError, match=r"one of train, test, reference; got \['dev'\]"):
        load("leakage").compute(predictions=texts[:1], references=["dev"], model_id=folder)
