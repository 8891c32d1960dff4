"""Branches in one row against the plain truth: every row computed alone from its first token."""

import copy
import weakref

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from lsw_hf.evaluation.reading.caches import can_branch
from lsw_hf.evaluation.reading.reader import GreedyReader


def small(config_class=LlamaConfig, model_class=LlamaForCausalLM, **options):
    torch.manual_seed(1)
    config = config_class(
        vocab_size=53, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.3, eos_token_id=None, **options,
    )  # fmt: skip
    return model_class(config).eval()


def alone(model, prompt, steps):
    """One prompt, no cache, one token at a time."""
    ids = list(prompt)
    for _ in range(steps):
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        ids.append(int(logits.argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_branches_answer_as_each_prompt_alone(implementation):
    model = small()
    model.set_attn_implementation(implementation)
    generator = torch.Generator().manual_seed(2)
    prefix = torch.randint(0, 53, (37,), generator=generator).tolist()
    rows = torch.randint(0, 53, (5, 3), generator=generator).tolist()
    reader = GreedyReader(model, max_new_tokens=4)
    cache = reader.prefill(prefix)
    stored = copy.deepcopy(cache)
    assert can_branch(model, cache)
    expected = [alone(model, prefix + row, 4) for row in rows]
    assert len({tuple(answer) for answer in expected}) > 1
    assert reader.answer(rows, cache, len(prefix)) == expected
    for before, after in zip(stored.layers, cache.layers, strict=True):
        assert torch.equal(before.keys, after.keys)


def test_a_consumed_prefix_is_not_kept_twice():
    model = small()
    generator = torch.Generator().manual_seed(2)
    prefix = torch.randint(0, 53, (37,), generator=generator).tolist()
    rows = torch.randint(0, 53, (5, 3), generator=generator).tolist()
    reader = GreedyReader(model, max_new_tokens=4)
    cache = reader.prefill(prefix)
    kept = [weakref.ref(layer.keys) for layer in cache.layers]
    assert reader.answer(rows, cache, len(prefix), consume_prefix=True) == [
        alone(model, prefix + row, 4) for row in rows
    ]
    assert all(reference() is None for reference in kept)


def test_branch_logits_equal_those_of_a_whole_prompt(monkeypatch):
    model = small()
    generator = torch.Generator().manual_seed(3)
    prefix = torch.randint(0, 53, (29,), generator=generator).tolist()
    rows = torch.randint(0, 53, (4, 2), generator=generator).tolist()
    reader = GreedyReader(model, max_new_tokens=1)
    seen = []
    forward = GreedyReader._forward_branches
    monkeypatch.setattr(
        GreedyReader, "_forward_branches", lambda self, *args: seen.append(forward(self, *args)) or seen[-1]
    )
    reader.answer(rows, reader.prefill(prefix), len(prefix))
    with torch.no_grad():
        expected = torch.cat([model(torch.tensor([prefix + row])).logits[:, -1:] for row in rows])
    torch.testing.assert_close(seen[-1], expected, rtol=1e-4, atol=1e-5)


def test_sliding_windows_do_not_branch():
    model = small(MistralConfig, MistralForCausalLM, sliding_window=8)
    reader = GreedyReader(model, max_new_tokens=3)
    generator = torch.Generator().manual_seed(4)
    prefix = torch.randint(0, 53, (21,), generator=generator).tolist()
    rows = torch.randint(0, 53, (3, 2), generator=generator).tolist()
    cache = reader.prefill(prefix)
    assert not can_branch(model, cache)
    assert reader.answer(rows, cache, len(prefix)) == [alone(model, prefix + row, 3) for row in rows]
