"""Teacher-forced scoring against log-probabilities computed from whole sequences."""

import dataclasses

import pytest
import torch

from lsw_hf.evaluation import NeedleGrid, ProseNeedleTask, evaluate_needle
from lsw_hf.evaluation.needle.grid import iterate_haystacks
from lsw_hf.evaluation.needle.task import NeedleEncoder
from lsw_hf.evaluation.reading.reader import GreedyReader

GRID = NeedleGrid((131,), depths=(0.2, 0.8), num_samples=3, questions_per_haystack=3, scoring="likelihood")


def whole_log_probability(model, ids, start):
    """Mean log-probability of ids[start:], from one forward pass over everything."""
    with torch.no_grad():
        table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(torch.stack([table[i - 1, ids[i]] for i in range(start, len(ids))]).mean())


def test_margins_equal_those_of_whole_sequences(tiny_model, words, word_task):
    report = evaluate_needle(tiny_model, words, GRID, word_task, progress=False)
    encoder = NeedleEncoder(words, word_task)
    questions = [q for qs in iterate_haystacks(encoder, GRID, 131) for q in qs]
    for sample, question in zip(report.samples, questions, strict=True):
        assert len(question.candidates) == len(set(question.candidates)) == 8
        scores = []
        for answer in question.candidates:
            ids = words(f"{question.prompt} {answer}")["input_ids"]
            assert ids[:131] == question.input_ids
            scores.append(whole_log_probability(tiny_model, ids, 131))
        assert sample.margin == pytest.approx(scores[0] - max(scores[1:]), abs=1e-5)
        assert sample.correct == (sample.margin > 0)
        assert sample.answered == question.candidates[max(range(8), key=scores.__getitem__)]


def test_answers_of_different_lengths_are_scored_per_token(tiny_model):
    prefix, rows = [3, 9, 4, 11], [[5, 6], [5, 7, 8, 10]]
    reader = GreedyReader(tiny_model, max_new_tokens=1)
    found = reader.log_probabilities(rows, [1, 3], reader.prefill(prefix), 4)
    expected = [whole_log_probability(tiny_model, prefix + row, 5) for row in rows]
    assert found == pytest.approx(expected, abs=1e-5)


def test_a_planted_answer_wins(tiny_model, words, word_task):
    """A head that always prefers one token makes exactly those needles right that it answers."""
    favorite = words.convert_tokens_to_ids("value7")
    with torch.no_grad():
        tiny_model.lm_head.weight.zero_()
    bias = torch.zeros(len(words))
    bias[favorite] = 5.0
    tiny_model.lm_head.register_forward_hook(lambda module, inputs, output: output + bias)
    grid = dataclasses.replace(GRID, num_samples=60)
    report = evaluate_needle(tiny_model, words, grid, word_task, progress=False)
    assert any(sample.expected == "value7" for sample in report.samples)
    assert all(sample.correct == (sample.expected == "value7") for sample in report.samples)


def test_prose_answers_after_their_prefix(tokenizers):
    tokenizer = tokenizers["byte bpe"]
    encoder = NeedleEncoder(tokenizer, ProseNeedleTask("word"))
    grid = NeedleGrid((400,), depths=(0.5,), num_samples=1, scoring="likelihood")
    ((question,),) = iterate_haystacks(encoder, grid, 400)
    for answer in question.candidates:
        ids = encoder.ids(f"{question.prompt} {answer}")
        assert tokenizer.decode(ids[len(question.input_ids) :]) == f" {answer}"
