"""Losses of texts against one plain forward pass; buckets, windows and the domain protocol against sums by hand."""

import math

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

from lsw_hf.evaluation import DomainLoss, PositionLossReport, domain_losses, loss_by_position
from lsw_hf.evaluation.losses.token_losses import TokenLosses


def plain_losses(model, ids):
    with torch.no_grad():
        table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return torch.tensor([-float(table[i, ids[i + 1]]) for i in range(len(ids) - 1)])


def random_rows(lengths, vocabulary, seed=0):
    generator = np.random.default_rng(seed)
    return [generator.integers(3, vocabulary, size=length).tolist() for length in lengths]


def random_text(length, seed):
    generator = np.random.default_rng(seed)
    return " ".join(f"word{index}" for index in generator.integers(96, size=length))


@pytest.mark.parametrize("batch_tokens", [1, 40, 10_000])
def test_losses_equal_a_plain_forward_pass(tiny_model, batch_tokens):
    rows = random_rows((2, 17, 5, 33), tiny_model.config.vocab_size)
    tiny_model.train()
    found = list(TokenLosses(tiny_model, batch_tokens).of(rows))
    assert tiny_model.training
    tiny_model.eval()
    for values, row in zip(found, rows, strict=True):
        torch.testing.assert_close(values, plain_losses(tiny_model, row), rtol=1e-4, atol=1e-5)


def test_the_head_runs_in_parts(tiny_model):
    seen = []
    tiny_model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(output.shape[1]))
    (values,) = TokenLosses(tiny_model).of(random_rows((1200,), tiny_model.config.vocab_size))
    assert len(values) == 1199
    # The first two calls are the probe of eight tokens.
    assert seen[2:] == [512, 512, 175]


def test_capped_logits_take_the_whole_forward():
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, final_logit_softcapping=0.5, initializer_range=0.5, sliding_window=64,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval()
    (row,) = random_rows((20,), 60)
    (values,) = TokenLosses(model).of([row])
    torch.testing.assert_close(values, plain_losses(model, row), rtol=1e-4, atol=1e-5)


def test_bad_rows_and_weights(tiny_model):
    with pytest.raises(ValueError, match="text 1 has 1 tokens; a loss needs at least 2"):
        list(TokenLosses(tiny_model).of([[3, 4], [5]]))
    with torch.no_grad():
        tiny_model.lm_head.weight[7] = float("nan")
    with pytest.raises(ValueError, match="not finite at token 1 of a text"):
        list(TokenLosses(tiny_model).of([[3, 4, 5]]))


def test_windows_side_by_side(tiny_model, words):
    texts = [random_text(70, 1), random_text(20, 2), random_text(45, 3)]
    report = loss_by_position(tiny_model, words, texts, context_length=23, num_buckets=4)
    rows = [words(text)["input_ids"] for text in texts]  # 71, 21 and 46 tokens with the BOS
    windows = [rows[0][:23], rows[0][23:46], rows[0][46:69], rows[2][:23], rows[2][23:46]]
    table = torch.stack([plain_losses(tiny_model, window) for window in windows]).numpy()  # position 1 .. 22
    assert report.windows == 5
    assert [(bucket.start, bucket.end) for bucket in report.buckets] == [(0, 6), (6, 12), (12, 17), (17, 23)]
    for bucket in report.buckets:
        part = table[:, max(bucket.start, 1) - 1 : bucket.end - 1]
        assert bucket.tokens == part.size
        assert bucket.loss == pytest.approx(part.mean(), rel=1e-5)
        # Windows of equal size: the standard error is that of their means.
        assert bucket.standard_error == pytest.approx(part.mean(axis=1).std(ddof=1) / math.sqrt(5), rel=1e-4)
    assert report.loss == pytest.approx(table.mean(), rel=1e-5)
    assert report.loss_between(6, 17) == pytest.approx(table[:, 5:16].mean(), rel=1e-5)


@pytest.mark.parametrize("stride", [1, 7, 15])
def test_sliding_windows_count_every_token_once(tiny_model, words, stride):
    text = random_text(50, 4)
    ids = words(text)["input_ids"]
    report = loss_by_position(tiny_model, words, [text], context_length=16, stride=stride, num_buckets=1)
    # The slow truth: token i is predicted by the window that first covers it.
    expected, end = [float(x) for x in plain_losses(tiny_model, ids[:16])], 16
    while end < len(ids):
        new_end = min(end + stride, len(ids))
        expected += plain_losses(tiny_model, ids[new_end - 16 : new_end]).tolist()[-(new_end - end) :]
        end = new_end
    assert report.buckets[0].tokens == len(ids) - 1 == len(expected)
    assert report.loss == pytest.approx(np.mean(expected), rel=1e-5)


def test_max_windows_and_saving(tiny_model, words, tmp_path):
    texts = (random_text(70, seed) for seed in range(10))
    report = loss_by_position(tiny_model, words, texts, context_length=23, num_buckets=2, max_windows=4)
    assert report.windows == 4
    report.save(tmp_path / "loss.json")
    assert PositionLossReport.load(tmp_path / "loss.json") == report
    assert "| 0 to 11 |" in report.to_markdown()


def test_bad_position_arguments(tiny_model, words):
    for options, message in [
        ({"context_length": 1}, "context_length must be at least 2"),
        ({"context_length": 8, "num_buckets": 8}, "between 1 and context_length - 1; got 8, 8"),
        ({"context_length": 20, "stride": 21}, "stride must be at least 1 and below context_length 20; got 21"),
        ({"context_length": 20}, "no text has 20 tokens; the longest has 6"),
    ]:
        with pytest.raises(ValueError, match=message):
            loss_by_position(tiny_model, words, [random_text(5, 0)], **options)
    report = loss_by_position(tiny_model, words, [random_text(50, 0)], context_length=20, num_buckets=2)
    with pytest.raises(ValueError, match=r"no bucket lies within positions 3 to 9; the borders are \[0, 10, 20\]"):
        report.loss_between(3, 9)


def test_domain_protocol(tiny_model, words):
    domains = {"news": [random_text(30, 1), random_text(9, 2)], "games": [random_text(14, 3)]}
    found = domain_losses(tiny_model, words, domains, max_tokens=12, num_characters=60)
    totals = {}
    for name, texts in domains.items():
        rows = [words(text[:60], add_special_tokens=False)["input_ids"][:12] for text in texts]
        losses = [plain_losses(tiny_model, row) for row in rows]
        totals[name] = (sum(float(x.sum()) for x in losses), sum(len(x) for x in losses))
        assert found[name].tokens == totals[name][1]
        assert found[name].total == pytest.approx(totals[name][0], rel=1e-5)
    pooled = sum(t for t, _ in totals.values()) / sum(n for _, n in totals.values())
    assert found["average"].loss == pytest.approx(pooled, rel=1e-5)
    assert found["average"].documents == 3
    assert found["average"].perplexity() == pytest.approx(math.exp(pooled), rel=1e-5)


def test_characters_are_a_third_of_the_tokens_by_default(tiny_model, words):
    text = "word1 word2 word3 word4"
    found = domain_losses(tiny_model, words, {"one": [text]}, max_tokens=45)
    assert found["one"].tokens == len("word1 word2 word3 word4"[:15].split()) - 1


def test_perplexity_per_token_of_the_reference():
    ours, reference = DomainLoss(3, 200, 400.0), DomainLoss(3, 160, 350.0)
    assert ours.perplexity() == pytest.approx(math.exp(2.0))
    # loss x tokens / tokens of the reference = 2 x 200 / 160
    assert ours.perplexity(reference) == pytest.approx(math.exp(2.5))
    with pytest.raises(ValueError, match="this one read 3, the reference 4"):
        ours.perplexity(DomainLoss(4, 160, 350.0))


def test_bad_domains(tiny_model, words):
    with pytest.raises(ValueError, match="cannot be called 'average'"):
        domain_losses(tiny_model, words, {"average": ["word1 word2"]})
    with pytest.raises(ValueError, match="the domain 'empty' has no document"):
        domain_losses(tiny_model, words, {"empty": ["", "word1"]})


def test_an_endless_stream_is_read_no_further_than_asked(tiny_model, words):
    def endless():
        for number in range(100):
            assert number < 3, "read on after the last window"
            yield " ".join(["word1"] * 20)

    found = loss_by_position(tiny_model, words, endless(), context_length=10, max_windows=5)
    assert found.windows == 5


def test_bad_texts_and_counts_are_refused(tiny_model, words):
    with pytest.raises(TypeError, match="texts is a sequence of texts; got one string"):
        loss_by_position(tiny_model, words, "word1 word2", context_length=10)
    with pytest.raises(ValueError, match="max_windows must be at least 1; got 0"):
        loss_by_position(tiny_model, words, ["word1 word2"], context_length=10, max_windows=0)
    with pytest.raises(TypeError, match="a domain is a sequence of documents; 'law' is one string"):
        domain_losses(tiny_model, words, {"law": "word1 word2"})
