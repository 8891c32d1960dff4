"""One needle moving through a text: what the prompts share, and that sharing changes no answer."""

import dataclasses
import functools

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from lsw_hf.evaluation import NeedleGrid, ProseNeedleTask, evaluate_needle
from lsw_hf.evaluation.needle.grid import iterate_haystacks
from lsw_hf.evaluation.needle.task import NeedleEncoder
from lsw_hf.evaluation.reading.caches import cache_argument
from lsw_hf.evaluation.reading.reader import GreedyReader, ReadingOptions

DEPTHS = (0.1, 0.3, 0.5, 0.7, 0.9)
GRID = NeedleGrid((530,), depths=DEPTHS, num_samples=2, max_new_tokens=4)
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.4}
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 48,
} | IDS  # fmt: skip


def build(name, vocabulary):
    torch.manual_seed(0)
    if name == "sliding window":
        return MistralForCausalLM(MistralConfig(vocab_size=vocabulary, sliding_window=33, **SIZES)).eval()
    if name == "mixed layers":
        types = ["sliding_attention", "full_attention"]
        config = Gemma3TextConfig(vocab_size=vocabulary, head_dim=16, sliding_window=33, layer_types=types, **SIZES)
        return Gemma3ForCausalLM(config).eval()
    if name == "linear attention":
        types = ["conv", "full_attention"]
        return Lfm2ForCausalLM(Lfm2Config(vocab_size=vocabulary, layer_types=types, **SIZES)).eval()
    if name in ("dynamic", "longrope"):
        rope = {"rope_type": name, "rope_theta": 10_000.0, "factor": 8.0}
        if name == "longrope":
            rope |= {"short_factor": [1.0] * 8, "long_factor": [8.0] * 8, "original_max_position_embeddings": 256}
        config = LlamaConfig(vocab_size=vocabulary, max_position_embeddings=256, rope_parameters=rope, **SIZES)
        return LlamaForCausalLM(config).eval()
    config = MambaConfig(vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2, state_size=4, eos_token_id=2)
    return MambaForCausalLM(config).eval()


def prompts(encoder, grid):
    """The questions of each text."""
    return [
        list(questions) for length in grid.context_lengths for questions in iterate_haystacks(encoder, grid, length)
    ]


def all_prompts(tokenizer, grid, task):
    return [question for questions in prompts(NeedleEncoder(tokenizer, task), grid) for question in questions]


def generated(model, tokenizer, grid, task):
    """Every prompt on its own through `generate`, from its first token."""
    answers = []
    for question in all_prompts(tokenizer, grid, task):
        ids = torch.tensor([question.input_ids])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=4)
        answers.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return answers


def count_tokens(model):
    """Tokens that went through the model so far, in a list of one number."""
    seen = [0]

    def count(_module, _arguments, inputs):
        seen[0] += inputs["input_ids"].numel()

    model.register_forward_pre_hook(count, with_kwargs=True)
    return seen


@pytest.mark.parametrize("density", [0.0, 2.0])
def test_prompts_of_a_sample_begin_alike_up_to_the_needle(words, word_task, density):
    grid = dataclasses.replace(GRID, depths=(0.9, 0.0, 0.5, 1.0), distractors_per_64_tokens=density)
    samples = prompts(NeedleEncoder(words, word_task), grid)
    assert len(samples) == 2
    for questions in samples:
        texts = [question.prompt.split() for question in questions]
        assert [question.cell_depth for question in questions] == [0.0, 0.5, 0.9, 1.0]
        assert len({question.fact.question for question in questions}) == 4
        places = []
        for question, text in zip(questions, texts, strict=True):
            assert len(text) == 529  # and a BOS
            needle = question.fact.text.split()
            place = next(i for i in range(len(text)) if text[i : i + 4] == needle)
            assert question.depth == pytest.approx(place / (529 - 2 - 4))
            assert abs(question.depth - question.cell_depth) <= 2 / 500
            places.append(place)
        # Without their needles, and but for the words that close a text, all prompts are one.
        wholes = [text[:place] + text[place + 4 :] for place, text in zip(places, texts, strict=True)]
        assert len({" ".join(whole[:500]) for whole in wholes}) == 1
        for (place, text), other in zip(zip(places, texts, strict=True), texts[1:], strict=False):
            assert text[:place] == other[:place]
            assert text[place + 1] != other[place + 1]
    first, second = (questions[0].prompt.split()[10:60] for questions in samples)
    assert first != second


def test_density_counts_the_needle(words, word_task):
    grid = dataclasses.replace(GRID, distractors_per_64_tokens=1.5)
    for question in all_prompts(words, grid, word_task):
        assert question.prompt.split().count("Yesterday") == round(1.5 * (530 - 3) / 64)


@pytest.mark.parametrize("name", ["byte bpe", "sentencepiece-like", "chat"])
def test_prompts_are_exact_for_real_tokenizers_too(tokenizers, name):
    encoder = NeedleEncoder(tokenizers[name], ProseNeedleTask())
    for questions in prompts(encoder, dataclasses.replace(GRID, context_lengths=(777,))):
        rows = [question.input_ids for question in questions]
        for question, row in zip(questions, rows, strict=True):
            assert len(row) == 777
            assert encoder.ids(question.prompt) == row
            assert question.prompt.count(question.fact.text) == 1
            assert abs(question.depth - question.cell_depth) < 0.06
        for question, row, other in zip(questions, rows, rows[1:], strict=False):
            same = next(i for i in range(777) if row[i] != other[i])
            # The needles themselves begin with the same words.
            assert question.depth * 600 < same < question.depth * 777 + 60


@pytest.mark.parametrize("density", [0.0, 2.0])
def test_what_stands_before_the_needle_is_read_once(tiny_model, words, word_task, density):
    grid = dataclasses.replace(GRID, distractors_per_64_tokens=density)
    expected = generated(tiny_model, words, grid, word_task)
    seen = count_tokens(tiny_model)
    report = evaluate_needle(tiny_model, words, grid, word_task, progress=False)
    assert [sample.answered for sample in report.samples] == expected
    assert len(set(expected)) > len(expected) // 3
    read = seen[0] / (2 * len(DEPTHS) * 530)
    # The trunk up to 0.9, and each prompt from its needle on; the first prompt shares too little and is read whole.
    assert read == pytest.approx((0.9 + 1.0 + 0.7 + 0.5 + 0.3 + 0.1) / len(DEPTHS), abs=0.02)


@pytest.mark.parametrize("chunk", [None, 50])
@pytest.mark.parametrize("scoring", ["contains", "likelihood"])
def test_pieces_and_scorings_change_nothing(tiny_model, words, word_task, monkeypatch, chunk, scoring):
    grid = dataclasses.replace(GRID, depths=(0.2, 0.6, 0.9), num_samples=1, scoring=scoring)
    reading = ReadingOptions(prefill_chunk_length=chunk)
    shared = evaluate_needle(tiny_model, words, grid, word_task, progress=False, reading=reading)
    monkeypatch.setattr(GreedyReader, "can_continue", lambda self: False)
    alone = evaluate_needle(tiny_model, words, grid, word_task, progress=False)
    for one, other in zip(shared.samples, alone.samples, strict=True):
        if scoring == "likelihood":
            assert one.margin == pytest.approx(other.margin, rel=1e-3)
        assert dataclasses.replace(one, margin=other.margin) == other


@pytest.mark.parametrize(
    "name", ["sliding window", "mixed layers", "linear attention", "dynamic", "longrope", "no cache"]
)
def test_answers_equal_generate_whatever_the_model_keeps(words, word_task, name):
    model = build(name, len(words))
    grid = dataclasses.replace(GRID, depths=(0.3, 0.6), num_samples=2)
    report = evaluate_needle(model, words, grid, word_task, progress=False)
    # Anew: dynamic angles stay as wide as the longest text so far.
    expected = generated(build(name, len(words)), words, grid, word_task)
    assert [sample.answered for sample in report.samples] == expected
    assert len(set(expected)) > 1


@pytest.mark.parametrize("name", ["linear attention", "no cache"])
def test_several_questions_about_one_text_too(words, word_task, name):
    model = build(name, len(words))
    grid = dataclasses.replace(GRID, context_lengths=(150,), num_samples=1, questions_per_haystack=5)
    report = evaluate_needle(model, words, grid, word_task, progress=False)
    assert [sample.answered for sample in report.samples] == generated(model, words, grid, word_task)
    likelihood = dataclasses.replace(grid, scoring="likelihood")
    assert evaluate_needle(model, words, likelihood, word_task, progress=False).samples[0].margin is not None


def test_a_model_that_does_not_continue_rightly_is_read_whole(tiny_model, words, word_task, monkeypatch):
    """A forward that forgets where it is when it goes on with several tokens, as some caches do."""
    forward = type(tiny_model).forward

    @functools.wraps(forward)
    def forgetful(self, input_ids=None, **rest):
        if rest.get(cache_argument(forward)) is not None and input_ids.shape[1] > 1:
            rest["position_ids"] = torch.arange(input_ids.shape[1])[None]
        return forward(self, input_ids=input_ids, **rest)

    expected = generated(tiny_model, words, GRID, word_task)
    monkeypatch.setattr(type(tiny_model), "forward", forgetful)
    seen = count_tokens(tiny_model)
    report = evaluate_needle(tiny_model, words, GRID, word_task, progress=False)
    assert [sample.answered for sample in report.samples] == expected
    assert seen[0] > 10 * 530


def test_long_endings_are_not_laid_beside_each_other(tiny_model, words, word_task, monkeypatch):
    """Prompts that begin with the question share next to nothing: ten of them in one row would need a huge mask."""
    monkeypatch.setattr(word_task, "prompt", lambda haystack, question: f"{question} {haystack}", raising=False)
    grid = dataclasses.replace(GRID, context_lengths=(300,), questions_per_haystack=5)
    monkeypatch.setattr(GreedyReader, "_forward_branches", lambda *_: pytest.fail("long endings in one row"))
    monkeypatch.setattr(GreedyReader, "_probe", lambda self: True)
    report = evaluate_needle(tiny_model, words, grid, word_task, progress=False)
    assert [sample.answered for sample in report.samples] == generated(tiny_model, words, grid, word_task)


def test_one_text_a_question_is_still_there(words, word_task):
    grid = dataclasses.replace(GRID, shared_haystack=False)
    texts = [question.prompt.split()[100:150] for question in all_prompts(words, grid, word_task)]
    assert len({" ".join(text) for text in texts}) == 10
