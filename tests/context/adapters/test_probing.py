"""The answers that prove a merge and a load: how they are taken, and what counts as the same."""

from __future__ import annotations

import math
from types import MethodType

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lsw_hf.context.adapters.probing import FLOAT32_BOUND, Probe, bound, difference, probe_tokens, unprobeable


@pytest.fixture
def adapted(build):
    """A Llama with a LoRA that does something."""
    model = get_peft_model(build("llama"), LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.5))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1)
    return model


def test_the_difference_is_free_of_scale_and_shift():
    logits = torch.randn(5, 40, generator=torch.Generator().manual_seed(1))
    table = logits.log_softmax(-1)
    assert difference(table, table) == 0
    assert difference((logits + 3).log_softmax(-1), table) < 1e-6
    flat = table.mean(-1, keepdim=True).expand_as(table)
    assert difference(flat, table) == pytest.approx(1)
    off = table.clone()
    off[3] = table[3].mean() + 1.1 * (table[3] - table[3].mean())
    assert difference(off, table) == pytest.approx(0.1, rel=1e-4)  # the worst token counts
    off[3, 3] = math.nan
    assert difference(off, table) == difference(table, off) == difference(table[:, 1:], table) == math.inf


def test_the_bound_follows_the_number_type_and_the_layers():
    assert bound(torch.finfo(torch.float32).eps, 80) == FLOAT32_BOUND
    assert bound(torch.finfo(torch.float16).eps, 7) == pytest.approx(8 * 2**-10)
    assert bound(torch.finfo(torch.bfloat16).eps, 7) == pytest.approx(8 * 2**-7)


def test_the_model_is_left_as_it_was(adapted):
    adapted.train()
    adapted.get_base_model().model.layers[0].eval()  # frozen in the middle of training
    modes = {name: module.training for name, module in adapted.named_modules()}
    state = torch.get_rng_state()
    probe = Probe.take(adapted)
    assert {name: module.training for name, module in adapted.named_modules()} == modes
    assert len(set(modes.values())) == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert not probe.log_probs.requires_grad
    assert probe.problem(adapted) is None  # dropout did not act

    def fails(self, *args, **kwargs):
        raise RuntimeError("no answer")

    adapted.get_base_model().forward = MethodType(fails, adapted)
    with pytest.raises(RuntimeError, match="no answer"):
        Probe.take(adapted)
    assert {name: module.training for name, module in adapted.named_modules()} == modes


def test_a_forward_that_a_trainer_put_in_place_is_passed_by(adapted):
    expected = Probe.take(adapted)
    adapted.forward = torch.autocast("cpu", dtype=torch.bfloat16)(adapted.forward)
    assert expected.difference(adapted) == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert expected.difference(adapted) == 0


def test_answers_survive_a_file(adapted):
    probe = Probe.take(adapted)
    again = Probe.from_dict(probe.to_dict())
    assert again.log_probs.shape == (len(probe.tokens), 64)
    assert again.problem(adapted) is None
    with adapted.disable_adapter():
        assert "fixed tokens are" in again.problem(adapted)
    adapted.get_base_model().resize_token_embeddings(40, mean_resizing=False)
    assert Probe([3, 5], again.log_probs[:2], again.columns, again.eps).difference(adapted) == math.inf


def test_tokens_are_spread_and_hold_those_of_the_adapter(build):
    model = build("llama")
    assert probe_tokens(model) == [6, 12, 19, 25, 32, 38, 44, 51, 57, 64, 70, 76, 83, 89, 96]  # without padding
    wrapped = get_peft_model(model, LoraConfig(target_modules=["q_proj"], trainable_token_indices=[7, 8]))
    assert probe_tokens(wrapped) == [6, 12, 19, 25, 32, 38, 44, 7, 8, 51, 57, 64, 70, 76, 83, 89, 96]
    by_module = LoraConfig(target_modules=["q_proj"], trainable_token_indices={"embed_tokens": list(range(9, 20))})
    assert probe_tokens(get_peft_model(build("llama"), by_module))[7:15] == [9, 10, 11, 12, 13, 14, 15, 16]
    model = build("llama")
    model.config.image_token_id = 96
    assert 96 not in probe_tokens(model)


def test_what_cannot_be_asked_says_why(build):
    model = build("llama")
    assert unprobeable(model) is None
    model.lm_head.weight.ds_id = 0
    assert unprobeable(model) == "its weights are sharded over several processes"
    count = len(list(model.parameters()))
    assert (
        unprobeable(model.to("meta"))
        == f"{count} of its {count} weights are on the meta device (offloaded, or not loaded)"
    )
