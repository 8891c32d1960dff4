"""The leakage test on models that did and did not see the test split, and the overlap check."""

import copy
import dataclasses
import re

import numpy as np
import pytest
import torch

from lsw_hf.evaluation import LeakageReport, find_overlap, leakage_test


def samples(count, seed):
    """Sentences of one distribution: a word chain in which each word has three likely successors."""
    generator = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        word, words = int(generator.integers(24)), []
        for _ in range(14):
            words.append(f"word{word}")
            word = (5 * word + int(generator.integers(3))) % 24
        texts.append(" ".join(words))
    return texts


def trained(model, tokenizer, texts, steps, seed):
    model = copy.deepcopy(model).train()
    torch.manual_seed(seed)
    rows = torch.tensor([tokenizer(text)["input_ids"] for text in texts])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        batch = rows[torch.randint(len(rows), (16,))]
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 5))])
def test_flags_the_leaky_model_and_clears_the_clean_one(tiny_model, words, seed):
    train, test, reference = (samples(120, 10 * seed + part) for part in range(3))
    many = samples(2000, 10 * seed + 5)
    # Clean: many other samples of the distribution. Leaky: the test split itself, over and over.
    base = trained(tiny_model, words, many, 80, seed)
    clean = leakage_test(base, words, train=train, test=test, reference=reference)
    assert not clean.test_leaked, clean
    assert not clean.train_overfitted, clean
    assert clean.verdict.startswith("no sign")
    leaky = leakage_test(trained(base, words, test, 100, seed), words, train=train, test=test, reference=reference)
    assert leaky.test_leaked, leaky
    assert "test data may have leaked" in leaky.verdict
    fitted = leakage_test(trained(base, words, train, 100, seed), words, train=train, test=test, reference=reference)
    assert fitted.train_overfitted, fitted
    assert not fitted.test_leaked, fitted


def test_losses_and_deltas_are_pooled(tiny_model, words):
    sets = [["word1 word2 word3", "word4 word5"], ["word6 word7 word8 word9", "word1"], ["word2 word3", "word9"]]

    def pooled(texts):
        total, count = 0.0, 0
        for text in texts:
            ids = torch.tensor([words(text)["input_ids"]])
            with torch.no_grad():
                total += float(tiny_model(input_ids=ids, labels=ids).loss) * (ids.shape[1] - 1)
            count += ids.shape[1] - 1
        return total / count

    report = leakage_test(tiny_model, words, train=sets[0], test=sets[1], reference=sets[2], num_resamples=50)
    losses = [pooled(texts) for texts in sets]
    assert [report.train_loss, report.test_loss, report.reference_loss] == pytest.approx(losses, rel=1e-5)
    assert report.delta1 == pytest.approx(losses[1] - losses[2], rel=1e-4)
    assert report.delta2 == pytest.approx(losses[1] - losses[0], rel=1e-4)
    assert report.samples == (2, 2, 2)


def test_intervals_hold_the_difference_of_two_equal_distributions(tiny_model, words):
    inside = []
    for trial in range(12):
        sets = [samples(25, 100 * trial + part) for part in range(3)]
        report = leakage_test(tiny_model, words, train=sets[0], test=sets[1], reference=sets[2], num_resamples=300)
        inside += [report.delta1_interval[0] <= 0 <= report.delta1_interval[1]]
        inside += [report.delta2_interval[0] <= 0 <= report.delta2_interval[1]]
    assert np.mean(inside) >= 0.8


def test_report_shows_the_papers_table(tmp_path):
    report = LeakageReport(1.0, 0.8, 1.2, -0.4, -0.2, (-0.5, -0.3), (-0.3, -0.1), (5, 6, 7))
    assert report.test_leaked
    text = report.to_markdown()
    assert "| **this model** | -0.40 [-0.50, -0.30] | -0.20 [-0.30, -0.10] |" in text
    assert "| Skywork-13B (paper, GSM8K) | 0.01 | 0.04 |" in text
    overlapping = dataclasses.replace(report, overlap=((3, "Wörter"),))
    overlapping.save(tmp_path / "leakage.json")
    assert LeakageReport.load(tmp_path / "leakage.json") == overlapping
    report.save(tmp_path / "leakage.json")
    assert '"test_leaked": true' in (tmp_path / "leakage.json").read_text()


def test_a_wide_interval_clears(tmp_path):
    assert not LeakageReport(1.0, 0.8, 1.2, -0.4, -0.2, (-0.9, 0.1), (-0.3, -0.1), (5, 6, 7)).test_leaked
    assert not LeakageReport(0.5, 0.8, 0.8, 0.0, 0.3, (-0.1, 0.1), (-0.1, 0.7), (5, 6, 7)).train_overfitted


def test_overlap():
    others = ["The cat, that sat on the mat, was very old indeed."]
    reference = ["A dog ran.", "They say the cat that sat on the MAT was gray", "the cat that sat on"]
    assert find_overlap(reference, others) == [(1, "the cat that sat on the mat was")]
    assert find_overlap(["今天天气很好我们去公园"], ["昨天天气很好我们去公园玩"], ngram=8) == [
        (0, "天 天 气 很 好 我 们 去")
    ]
    assert find_overlap(reference, others, ngram=5)[1][0] == 2
    with pytest.raises(ValueError, match=re.escape("ngram must be at least 1; got 0")):
        find_overlap([], [], ngram=0)


def test_short_copies_are_overlap():
    others = ["Two plus two is four.", "", "One more question that is somewhat longer than the others are."]
    assert find_overlap(["two plus two is FOUR", "two plus two", ""], others) == [(0, "two plus two is four")]


def test_one_string_is_no_set(tiny_model, words):
    sets = {"train": ["word1 word2"] * 2, "test": ["word1 word2"] * 2, "reference": "word1 word2"}
    with pytest.raises(TypeError, match="the reference set is one string; give a sequence of samples"):
        leakage_test(tiny_model, words, **sets)


def test_small_sets_are_refused(tiny_model, words):
    with pytest.raises(ValueError, match="the reference set has 1 samples"):
        leakage_test(tiny_model, words, train=["word1 word2"] * 2, test=["word1 word2"] * 2, reference=["word1 word2"])
