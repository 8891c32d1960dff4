"""Shared prefixes on models whose caches and positions work in other ways: answers must stay those of `generate`."""

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
)

from lsw_hf.evaluation import NeedleGrid, evaluate_needle
from lsw_hf.evaluation.needle.grid import iterate_haystacks
from lsw_hf.evaluation.needle.task import NeedleEncoder
from lsw_hf.evaluation.reading.reader import GreedyReader

GRID = NeedleGrid((120,), depths=(0.3, 0.8), num_samples=2, questions_per_haystack=4, max_new_tokens=4)
SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "initializer_range": 0.4}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2} | SPECIAL


def build(name, vocabulary):
    torch.manual_seed(0)
    if name == "learned positions":
        config = GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=2, n_positions=160, **SPECIAL)
        return GPT2LMHeadModel(config).eval()
    if name == "position biases":
        return BloomForCausalLM(
            BloomConfig(vocab_size=vocabulary, n_layer=2, n_head=2, hidden_size=32, **SPECIAL)
        ).eval()
    if name == "sliding window":
        config = MistralConfig(
            vocab_size=vocabulary, intermediate_size=48, num_key_value_heads=1, sliding_window=33, **SIZES
        )
        return MistralForCausalLM(config).eval()
    config = Gemma2Config(
        vocab_size=vocabulary, intermediate_size=48, num_key_value_heads=1, head_dim=16, sliding_window=33, **SIZES
    )
    return Gemma2ForCausalLM(config).eval()


@pytest.mark.parametrize("name", ["learned positions", "position biases", "sliding window", "mixed layers"])
def test_answers_equal_generate(name, words, word_task):
    model = build(name, len(words))
    report = evaluate_needle(model, words, GRID, word_task, progress=False)
    expected = []
    for questions in iterate_haystacks(NeedleEncoder(words, word_task), GRID, 120):
        for question in questions:
            ids = torch.tensor([question.input_ids])
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=4)
            expected.append(words.decode(out[0, 120:], skip_special_tokens=True))
    assert [sample.answered for sample in report.samples] == expected
    assert len(set(expected)) > 1


def test_only_models_that_were_seen_to_branch_do(words):
    branches = {}
    for name in ("learned positions", "position biases", "sliding window"):
        reader = GreedyReader(build(name, len(words)), max_new_tokens=1)
        branches[name] = reader._branches(reader.prefill([5, 6, 7, 8, 9, 10]))
    assert branches == {"learned positions": True, "position biases": False, "sliding window": False}
