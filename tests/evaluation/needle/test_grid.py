"""The grid against scripted models and against the slow truth: one generate call for every prompt alone."""

import copy
import dataclasses
import re

import numpy as np
import pytest
import torch

from lsw_hf.evaluation import NeedleGrid, NeedleReport, ProseNeedleTask, TaskSuite, TextFiller, evaluate_needle
from lsw_hf.evaluation.needle.exact_length import FillerStock
from lsw_hf.evaluation.needle.grid import iterate_haystacks
from lsw_hf.evaluation.needle.task import NeedleEncoder
from lsw_hf.evaluation.reading.reader import ReadingOptions

SHARED = NeedleGrid((131, 257), num_samples=2, questions_per_haystack=5, distractors_per_64_tokens=2.0, seed=3)
SINGLE = NeedleGrid((97, 130), depths=(0.0, 0.5, 1.0), num_samples=2)
APART = dataclasses.replace(SINGLE, shared_haystack=False)


def naive_answers(model, tokenizer, grid, task, max_new_tokens):
    """Every prompt on its own through `generate`."""
    encoder = NeedleEncoder(tokenizer, task)
    answers = []
    for length in grid.context_lengths:
        for questions in iterate_haystacks(encoder, grid, length):
            for question in questions:
                ids = torch.tensor([question.input_ids])
                out = model.generate(
                    ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_new_tokens
                )
                answers.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return answers


@pytest.mark.parametrize("grid", [SINGLE, APART, SHARED], ids=["moving", "apart", "shared"])
@pytest.mark.parametrize("chunk", [None, 50])
def test_answers_equal_generate(tiny_model, words, word_task, grid, chunk):
    grid = dataclasses.replace(grid, max_new_tokens=5)
    report = evaluate_needle(tiny_model, words, grid, word_task, progress=False, reading=ReadingOptions(1e-4, chunk))
    expected = naive_answers(tiny_model, words, grid, word_task, 5)
    assert [sample.answered for sample in report.samples] == expected
    # The model must not be trivial: constant answers would hide a mixed-up cache.
    assert len(set(expected)) > len(expected) // 3


def test_end_of_sequence_ends_an_answer(tiny_model, words, word_task):
    grid = dataclasses.replace(SHARED, max_new_tokens=6)
    free = evaluate_needle(tiny_model, words, grid, word_task, progress=False)
    tiny_model.generation_config.eos_token_id = [2, words.convert_tokens_to_ids(free.samples[0].answered.split()[2])]
    report = evaluate_needle(tiny_model, words, grid, word_task, progress=False)
    assert report.samples[0].answered.split() == free.samples[0].answered.split()[:2]
    assert [sample.answered for sample in report.samples] == naive_answers_without_eos(
        tiny_model, words, grid, word_task
    )


def naive_answers_without_eos(model, tokenizer, grid, task):
    stop = tokenizer.decode([model.generation_config.eos_token_id[1]])
    return [answer.removesuffix(stop).strip() for answer in naive_answers(model, tokenizer, grid, task, 6)]


@pytest.mark.parametrize("grid", [SINGLE, SHARED], ids=["single", "shared"])
def test_a_model_that_looks_up_is_always_right(lookup_model, words, word_task, grid):
    report = evaluate_needle(lookup_model, words, grid, word_task, progress=False)
    assert report.accuracy == 1.0
    assert {cell.samples for cell in report.cells} == {grid.num_samples}


def test_planted_failures_are_found_in_their_cell(lookup_model, words, word_task):
    lookup_model.fails = lambda length, depth: length == 257 and 0.4 < depth < 0.6
    report = evaluate_needle(lookup_model, words, SHARED, word_task, progress=False)
    for cell in report.cells:
        assert cell.accuracy == (0.0 if (cell.context_length, cell.depth) == (257, 0.5) else 1.0)


@pytest.mark.parametrize("name", ["words", "words with bos", "byte bpe", "sentencepiece-like", "chat"])
@pytest.mark.parametrize("shared", [1, 6])
def test_prompts_have_exactly_the_length_on_the_axis(tokenizers, word_task, name, shared):
    tokenizer = tokenizers[name]
    task = word_task if name.startswith("words") else ProseNeedleTask()
    grid = NeedleGrid((331, 1024), num_samples=2, questions_per_haystack=shared, seed=5)
    encoder = NeedleEncoder(tokenizer, task)
    for length in grid.context_lengths:
        for questions in iterate_haystacks(encoder, grid, length):
            for question in questions:
                ids = tokenizer(question.prompt, add_special_tokens=encoder.style == "plain")["input_ids"]
                if name == "sentencepiece-like":
                    assert ids.pop() == tokenizer.eos_token_id  # what a question cannot be followed by
                assert ids == question.input_ids
                assert len(ids) == length
                assert question.prompt.count(question.fact.text) == 1
                assert ("<|assistant|>" in question.prompt) == (name == "chat")


@pytest.mark.parametrize(("kind", "language"), [("number", "en"), ("word", "zh"), ("uuid", "en"), ("sentence", "zh")])
def test_exact_lengths_with_a_real_sentencepiece_model(real_sentencepiece, kind, language):
    grid = NeedleGrid((517, 2048), depths=(0.0, 0.4, 1.0), num_samples=2, questions_per_haystack=3)
    encoder = NeedleEncoder(real_sentencepiece, ProseNeedleTask(kind, language))
    for length in grid.context_lengths:
        for questions in iterate_haystacks(encoder, grid, length):
            for question in questions:
                assert len(real_sentencepiece(question.prompt)["input_ids"]) == length == len(question.input_ids)
                assert question.fact.text in question.prompt
                assert abs(question.depth - question.cell_depth) <= 0.1


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_needles_stand_where_the_report_says(words, word_task, density):
    grid = NeedleGrid((300, 701), num_samples=4, questions_per_haystack=10, distractors_per_64_tokens=density, seed=1)
    for length in grid.context_lengths:
        for questions in iterate_haystacks(NeedleEncoder(words, word_task), grid, length):
            for question in questions:
                tokens = question.prompt.split()  # one token a word; the model sees a BOS before them
                start = next(
                    i
                    for i, word in enumerate(tokens)
                    if word == "Yesterday" and tokens[i + 1] == question.fact.question.split()[1]
                )
                depth = start / (len(tokens) - 2 - 4)
                assert question.depth == pytest.approx(depth)
                assert abs(depth - question.cell_depth) <= 0.1


def test_one_needle_stands_at_the_border_nearest_to_its_depth(words, word_task):
    grid = NeedleGrid((403,), depths=(0.0, 0.25, 0.5, 1.0), num_samples=3)
    questions = [q for group in iterate_haystacks(NeedleEncoder(words, word_task), grid, 403) for q in group]
    assert [question.cell_depth for question in questions] == 3 * [0.0, 0.25, 0.5, 1.0]
    for question in questions:
        half_a_sentence = 2 / (403 - 3 - 4)
        assert abs(question.depth - question.cell_depth) <= half_a_sentence + 1e-9
        if question.cell_depth in (0.0, 1.0):
            assert question.depth == question.cell_depth


def test_density_counts_every_fact(words, word_task):
    grid = NeedleGrid((644,), num_samples=2, questions_per_haystack=5, distractors_per_64_tokens=1.5)
    for questions in iterate_haystacks(NeedleEncoder(words, word_task), grid, 644):
        assert questions[0].prompt.split().count("Yesterday") == round(1.5 * (644 - 3) / 64)
    few = dataclasses.replace(grid, max_distractors=2)
    for questions in iterate_haystacks(NeedleEncoder(words, word_task), few, 644):
        assert questions[0].prompt.split().count("Yesterday") == 5 + 2


def test_short_lengths_share_fewer_questions(word_task):
    grid = NeedleGrid((64, 640), num_samples=4, questions_per_haystack=8, distractors_per_64_tokens=1.0)
    assert grid.questions_at(64) == 1
    assert grid.questions_at(640) == 8


def test_haystacks_depend_on_seed_length_and_number_only(words, word_task):
    encoder = NeedleEncoder(words, word_task)
    both = NeedleGrid((131, 257), num_samples=3, seed=9)
    alone = NeedleGrid((257,), num_samples=3, seed=9)
    first = [q.prompt for qs in iterate_haystacks(encoder, both, 257) for q in qs]
    assert first == [q.prompt for qs in iterate_haystacks(encoder, alone, 257) for q in qs]
    assert len(set(first)) == len(first)
    other = dataclasses.replace(alone, seed=10)
    assert not set(first) & {q.prompt for qs in iterate_haystacks(encoder, other, 257) for q in qs}


def test_lengths_beyond_the_window_are_marked_and_told(tiny_model, words, word_task, caplog):
    report = evaluate_needle(tiny_model, words, SHARED, word_task, progress=False)
    assert {cell.context_length: cell.beyond_window for cell in report.cells} == {131: False, 257: True}
    assert "lengths [257] exceed the model's max_position_embeddings of 256" in caplog.text
    assert "257*" in report.to_markdown()


def test_the_model_keeps_its_mode(tiny_model, words, word_task):
    tiny_model.train()
    evaluate_needle(tiny_model, words, SINGLE, word_task, progress=False)
    assert tiny_model.training


def test_report_survives_saving(lookup_model, words, word_task, tmp_path):
    report = evaluate_needle(lookup_model, words, SHARED, word_task, progress=False)
    report.save(tmp_path / "deep" / "needle.json")
    assert NeedleReport.load(tmp_path / "deep" / "needle.json") == report
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["needle.json"]
    cell = report.to_dict()["cells"][0]
    assert {name: cell[name] for name in ("context_length", "depth", "samples", "correct", "accuracy")} == {
        "context_length": 131, "depth": 0.1, "samples": 2, "correct": 2, "accuracy": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context_lengths": ()}, "context_lengths is empty"),
        ({"depths": ()}, "depths is empty"),
        ({"depths": (0.5, 0.5)}, "depths names a value twice"),
        ({"context_lengths": (0,)}, "token counts of at least 1"),
        ({"depths": (0.5, 1.5)}, "between 0 (beginning) and 1 (end)"),
        ({"num_samples": 0}, "num_samples must be at least 1; got 0"),
        ({"questions_per_haystack": 0}, "questions_per_haystack must be at least 1; got 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1; got 0"),
        ({"distractors_per_64_tokens": -1.0}, "must lie in [0, 64]; got -1.0"),
        ({"max_distractors": -1}, "max_distractors must be at least 0; got -1"),
        ({"seed": -1}, "seed must be at least 0; got -1"),
    ],
)
def test_bad_grids_say_what_is_wrong(fields, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        NeedleGrid(**{"context_lengths": (128,), **fields})


def test_too_short_a_length_names_the_minimum(tiny_model, words, word_task):
    with pytest.raises(ValueError, match=r"context_length of 6 tokens is too short.*the minimum is 7"):
        evaluate_needle(tiny_model, words, NeedleGrid((6,)), word_task, progress=False)
    report = evaluate_needle(tiny_model, words, NeedleGrid((7,)), word_task, progress=False)
    assert len(report.samples) == 50


def test_all_lengths_are_checked_before_the_model_is_asked(tiny_model, words, word_task, monkeypatch):
    asked = []
    monkeypatch.setattr(tiny_model, "forward", lambda **inputs: asked.append(inputs))
    with pytest.raises(ValueError, match="a context_length of 6 tokens is too short"):
        evaluate_needle(tiny_model, words, NeedleGrid((131, 6)), word_task, progress=False)
    assert not asked


@pytest.mark.parametrize("lengths", [4096, "4096", (512.5,), ("4k",)])
def test_lengths_are_a_sequence_of_whole_numbers(lengths):
    with pytest.raises(TypeError, match=r"sequence of whole numbers, as in \(4096, 32768\); got "):
        NeedleGrid(lengths)
    with pytest.raises(TypeError, match="sequence of whole numbers"):
        TaskSuite(lengths)


def test_a_tokenizer_that_allows_no_exact_length_is_refused(tokenizers, monkeypatch):
    """As with one that counts the same words differently in different places: no filler makes the prompt fit."""
    monkeypatch.setattr(FillerStock, "fitting", lambda stock, now, placed, size, *rest: stock.of_size(size + 2))
    encoder = NeedleEncoder(tokenizers["byte bpe"], ProseNeedleTask())
    with pytest.raises(ValueError, match=r"cut to a prompt of exactly 257 tokens.*counts the same sentence"):
        list(iterate_haystacks(encoder, NeedleGrid((257,), num_samples=2), 257))


def test_not_finite_logits_are_refused(tiny_model, words, word_task):
    with torch.no_grad():
        tiny_model.lm_head.weight[5] = float("nan")
    with pytest.raises(ValueError, match="not finite after 97 tokens"):
        evaluate_needle(tiny_model, words, SINGLE, word_task, progress=False)


def test_chat_needs_a_template(tiny_model, words, word_task):
    with pytest.raises(ValueError, match="needs a tokenizer with a chat template"):
        evaluate_needle(tiny_model, words, SINGLE, word_task, prompt_style="chat", progress=False)
    with pytest.raises(ValueError, match="'auto', 'plain' or 'chat'; got 'chatty'"):
        evaluate_needle(tiny_model, words, SINGLE, word_task, prompt_style="chatty", progress=False)


def test_number_task_runs_out_of_people():
    with pytest.raises(ValueError, match="has only 2304 distinct people"):
        ProseNeedleTask().facts(np.random.default_rng(0), 2305)
    facts = ProseNeedleTask().facts(np.random.default_rng(0), 2304)
    assert len({fact.question for fact in facts}) == 2304


def test_a_killed_evaluation_goes_on(lookup_model, words, word_task, tmp_path, monkeypatch):
    whole = evaluate_needle(lookup_model, words, SHARED, word_task, progress=False)
    monkeypatch.setattr("lsw_hf.evaluation.needle.report._SECONDS_BETWEEN_SAVES", 0.0)
    file, calls = tmp_path / "needle.json", []

    def count(length, depth):
        calls.append(length)
        if len(calls) == 14:
            raise KeyboardInterrupt
        return False

    lookup_model.fails = count
    with pytest.raises(KeyboardInterrupt):
        evaluate_needle(lookup_model, words, SHARED, word_task, progress=False, resume_from=file)
    assert len(NeedleReport.load(file).samples) == 10
    calls[:] = [0] * 20
    report = evaluate_needle(lookup_model, words, SHARED, word_task, progress=False, resume_from=file)
    assert len(calls) == 20 + 10  # ten questions were left
    assert report.samples == whole.samples
    assert NeedleReport.load(file) == report


def test_a_report_of_another_grid_is_not_continued(lookup_model, words, word_task, tmp_path):
    file = tmp_path / "needle.json"
    evaluate_needle(lookup_model, words, SINGLE, word_task, progress=False, resume_from=file)
    other = dataclasses.replace(SINGLE, seed=8)
    with pytest.raises(
        ValueError, match=r"contains a report of another evaluation: seed was 0 and is 8\. Give another"
    ):
        evaluate_needle(lookup_model, words, other, word_task, progress=False, resume_from=file)


def test_answers_of_a_model_that_was_trained_on_are_not_continued(tiny_model, words, word_task, tmp_path):
    file = tmp_path / "needle.json"
    evaluate_needle(tiny_model, words, SINGLE, word_task, progress=False, resume_from=file)
    with torch.no_grad():
        tiny_model.lm_head.weight.mul_(1.001)
    with pytest.raises(ValueError, match=r"another evaluation: weights was '\w{16}' and is '\w{16}'\. Give another"):
        evaluate_needle(tiny_model, words, SINGLE, word_task, progress=False, resume_from=file)


def test_short_haystack_texts_are_said_to_repeat(tiny_model, tokenizers):
    task = ProseNeedleTask(filler=TextFiller(["The sea was calm. " * 30]))
    tokenizer = tokenizers["byte bpe"]
    grid = NeedleGrid((200, 600), depths=(0.5,), num_samples=1, max_new_tokens=1)
    with torch.no_grad():
        tiny_model.resize_token_embeddings(len(tokenizer))
    report = evaluate_needle(tiny_model, tokenizer, grid, task, progress=False)
    assert report.settings["filler_repeats_at"] == [600]
    assert "The haystack texts are shorter than 600 tokens and start over there." in report.to_markdown()


def test_reading_options_are_checked():
    with pytest.raises(ValueError, match="memory_budget_gb must be above 0; got 0"):
        ReadingOptions(memory_budget_gb=0)
    with pytest.raises(ValueError, match="prefill_chunk_length must be at least 1 token; got 0"):
        ReadingOptions(prefill_chunk_length=0)


def test_unknown_words_are_refused(tiny_model, words):
    tokenizer = copy.deepcopy(words)
    tokenizer.unk_token = "<pad>"
    with pytest.raises(ValueError, match="does not know all words of the task 'number-en', as in 'The locker number"):
        evaluate_needle(tiny_model, tokenizer, SINGLE, progress=False)
