"""Packed and skipped attention against running each dialogue alone, and the probe that finds it broken."""

import copy

import pytest
import torch
from peft import LoraConfig, PrefixTuningConfig, PromptTuningConfig, get_peft_model

from lsw_hf.attention.packed import lsw_sdpa_attention
from lsw_hf.attention.proof import assert_cross_skip_attention, attention_backend, check_attention_backend
from tests.attention.attention_oracle import MODELS, assert_equals_oracle, collate, loss_of, make_model, oracle


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("multiple", [None, 8])
def test_packed_equals_each_dialogue_alone(name, multiple):
    assert_equals_oracle(name, make_model(name, "lsw_sdpa"), collate(packed=True, pad_to_multiple_of=multiple))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("backend", ["eager", "sdpa", "lsw_sdpa"])
def test_rows_equal_each_dialogue_alone(name, backend):
    assert_equals_oracle(name, make_model(name, backend), collate(packed=False, pad_to_multiple_of=8))


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_stock_backends_would_train_packed_dialogues_wrongly(backend):
    model, batch = make_model("llama", backend), collate(packed=True)
    right, _ = oracle("llama")
    assert abs(loss_of(model, batch).item() - right) > 1e-3
    with pytest.raises(ValueError, match=rf"attn_implementation='{backend}' cannot carry packed .*lsw_sdpa"):
        check_attention_backend(model, packed=True)
    check_attention_backend(model, packed=False)


def test_flex_attention_is_refused():
    """It takes documents from positions as the others do, and has no backward pass on a CPU to show the loss with."""
    model = make_model("llama")
    model.config._attn_implementation_internal = "flex_attention"
    with pytest.raises(ValueError, match="attn_implementation='flex_attention' cannot carry packed"):
        check_attention_backend(model, packed=True)


@pytest.mark.parametrize("backend", ["lsw_sdpa", "flash_attention_2", "kernels-community/vllm-flash-attn3"])
def test_backends_that_carry_packed_dialogues(backend):
    model = make_model("llama")
    model.config._attn_implementation_internal = backend
    assert attention_backend(model) == backend
    check_attention_backend(model, packed=True)


def test_several_rows_share_one_set_of_boundaries():
    """Boundaries count tokens of the flattened batch, so a batch may have several rows."""
    torch.manual_seed(0)
    module = torch.nn.Module()
    query, key, value = torch.randn(1, 4, 12, 8), torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    boundaries = torch.tensor([0, 3, 6, 12], dtype=torch.int32)

    def fold(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat(tensor.split(6, dim=2))

    flat, _ = lsw_sdpa_attention(module, query, key, value, None, cu_seq_lens_q=boundaries)
    rows, _ = lsw_sdpa_attention(module, fold(query), fold(key), fold(value), None, cu_seq_lens_q=boundaries)
    assert torch.equal(flat.reshape(2, 6, 4, 8), rows)


@pytest.mark.parametrize("window", [1, 5, 130, 299, 300, None])
@pytest.mark.parametrize("heads", [2, 4])
def test_windows_equal_a_band_mask(window, heads):
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 4, 300, 8), torch.randn(2, heads, 300, 8), torch.randn(2, heads, 300, 8)
    module = torch.nn.Module()
    module.num_key_value_groups = 4 // heads
    output, _ = lsw_sdpa_attention(module, query, key, value, None, sliding_window=window, scaling=0.3)
    distance = torch.arange(300)[:, None] - torch.arange(300)
    seen = (distance >= 0) & (distance < (window or 300))
    scores = query @ key.repeat_interleave(4 // heads, 1).transpose(2, 3) * 0.3
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    expected = (weights @ value.repeat_interleave(4 // heads, 1)).transpose(1, 2)
    torch.testing.assert_close(output, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_unpacked_batches_and_generation_are_those_of_sdpa(name):
    ids = torch.randint(1, 97, (2, 13), generator=torch.Generator().manual_seed(3))
    padded = torch.ones_like(ids)
    padded[0, :4] = 0
    stock, ours = make_model(name, "sdpa").eval(), make_model(name, "lsw_sdpa").eval()
    with torch.no_grad():
        for mask in (None, torch.ones_like(ids), padded):
            for use_cache in (False, True):
                expected = stock(ids, attention_mask=mask, use_cache=use_cache).logits
                torch.testing.assert_close(ours(ids, attention_mask=mask, use_cache=use_cache).logits, expected)
        arguments = {"attention_mask": padded, "max_new_tokens": 5, "do_sample": False}
        assert torch.equal(ours.generate(ids, **arguments), stock.generate(ids, **arguments))


def test_a_skip_without_a_mask_is_not_a_border():
    model, batch = make_model("mistral", "lsw_sdpa"), collate(packed=False)
    expected = loss_of(model, batch)
    del batch["attention_mask"]
    torch.testing.assert_close(loss_of(model, batch), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attention_mask": torch.zeros(1, 1, 4, 4)}, r"cu_seq_lens_q and an attention_mask"),
        ({"softcap": 30.0}, r"does not support softcap"),
        ({"s_aux": torch.zeros(2)}, r"does not support s_aux"),
        ({"is_causal": False}, r"causal: False"),
    ],
)
def test_what_it_cannot_do_is_said(arguments, message):
    tensor = torch.randn(1, 2, 4, 8)
    mask = arguments.pop("attention_mask", None)
    boundaries = torch.tensor([0, 2, 4])
    with pytest.raises(ValueError, match=message):
        lsw_sdpa_attention(torch.nn.Module(), tensor, tensor, tensor, mask, cu_seq_lens_q=boundaries, **arguments)


def test_packed_batches_with_a_cache_are_refused():
    query, keys = torch.randn(1, 2, 1, 8), torch.randn(1, 2, 4, 8)
    with pytest.raises(ValueError, match="1 queries and 4 keys"):
        lsw_sdpa_attention(torch.nn.Module(), query, keys, keys, None, cu_seq_lens_q=torch.tensor([0, 1]))


# Old names that transformers 5.23 itself, or PEFT, still uses.
@pytest.mark.filterwarnings("ignore:.*checkpointing.* is deprecated:FutureWarning")
def test_gradient_checkpointing_gives_the_same_loss_and_gradients():
    model = make_model("llama", "lsw_sdpa").train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert_equals_oracle("llama", model, collate(packed=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_compiled():
    model, batch = make_model("llama", "lsw_sdpa"), collate(packed=True)
    expected, _ = oracle("llama")
    compiled = torch.compile(model, backend="eager", dynamic=False)
    assert abs(loss_of(compiled, batch).item() - expected) <= 1e-6 * expected


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("packed", [False, True])
def test_the_probe_passes_where_attention_is_right(name, packed):
    model = make_model(name, "lsw_sdpa")
    seen = assert_cross_skip_attention(model, collate(packed))
    assert seen.across_skip > 0
    assert seen.across_documents == 0


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_the_probe_finds_attention_cut_at_skips(backend):
    model, batch = make_model("llama", backend), collate(packed=False)
    assert assert_cross_skip_attention(model, batch).across_skip > 0
    del batch["attention_mask"]
    with pytest.raises(ValueError, match=rf"cut at skipped positions \(attn_implementation='{backend}'.*all-ones"):
        assert_cross_skip_attention(model, batch)


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
@pytest.mark.parametrize("first", [0, 1])
def test_the_probe_finds_leaks_between_dialogues(backend, first):
    """An all-ones mask joins packed dialogues. The skip may stand in the first dialogue or in the last."""
    model, batch = make_model("llama", backend), collate(packed=True)
    boundaries = [[0, 13, 35, 48], [0, 9, 22, 35, 48]][first]
    batch["position_ids"] = torch.cat([torch.arange(n) for n in torch.tensor(boundaries).diff()])[None]
    batch["cu_seq_lens_q"] = torch.tensor(boundaries, dtype=torch.int32)
    start, end = [(5, 13), (40, 48)][first]
    batch["position_ids"][0, start:end] += 100
    batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    with pytest.raises(ValueError, match=rf"leaks between packed dialogues \(attn_implementation='{backend}'"):
        assert_cross_skip_attention(model, batch)


def test_the_probe_makes_a_skip_where_a_batch_has_none():
    model, batch = make_model("llama", "sdpa"), collate(packed=False, strategy="none")
    positions = batch["position_ids"].clone()
    assert assert_cross_skip_attention(model, batch).across_skip > 0
    assert torch.equal(batch["position_ids"], positions)
    del batch["attention_mask"]
    with pytest.raises(ValueError, match="cut at skipped positions"):
        assert_cross_skip_attention(model, batch)


def test_the_probe_leaves_no_trace():
    model = make_model("llama", "lsw_sdpa").train()
    model.model.layers[0].eval()
    modes = [module.training for module in model.modules()]
    batch = collate(packed=True)
    before = copy.deepcopy(batch)
    state = torch.random.get_rng_state()
    assert_cross_skip_attention(model, batch)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(torch.as_tensor(batch[key]), torch.as_tensor(before[key])) for key in before)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.filterwarnings("ignore:.*checkpointing.* is deprecated:FutureWarning")
def test_the_probe_in_bfloat16_with_adapters_and_dropout():
    model = get_peft_model(make_model("qwen3", "lsw_sdpa"), LoraConfig(target_modules="all-linear", lora_dropout=0.5))
    model = model.to(torch.bfloat16).train()
    seen = assert_cross_skip_attention(model, collate(packed=True))
    assert seen.across_skip > 0
    assert seen.across_documents == 0


@pytest.mark.parametrize("packed", [False, True])
def test_the_probe_finds_a_model_that_does_not_look_at_positions(packed, monkeypatch):
    model = make_model("llama", "lsw_sdpa")
    rotate = model.model.rotary_emb.forward
    monkeypatch.setattr(
        model.model.rotary_emb, "forward", lambda x, position_ids: rotate(x, torch.arange(x.shape[1])[None])
    )
    with pytest.raises(ValueError, match="LlamaForCausalLM does not look at position_ids"):
        assert_cross_skip_attention(model, collate(packed))


@pytest.mark.parametrize("adapter", [PromptTuningConfig, PrefixTuningConfig])
def test_adapters_of_virtual_tokens_are_refused(adapter):
    """PEFT drops the positions, or moves them; the probe looks behind the adapter and would not see it."""
    model = get_peft_model(make_model("llama"), adapter(task_type="CAUSAL_LM", num_virtual_tokens=3))
    message = rf"{adapter.__name__} puts virtual tokens in front of every row.*LoRA"
    with pytest.raises(ValueError, match=message):
        assert_cross_skip_attention(model, collate(packed=False))
    with pytest.raises(ValueError, match=message):
        check_attention_backend(model, packed=False)


def test_the_probe_fails_on_not_a_number():
    model = make_model("llama", "lsw_sdpa")
    torch.nn.init.constant_(model.model.norm.weight, float("nan"))
    with pytest.raises(ValueError, match="cut at skipped positions"):
        assert_cross_skip_attention(model, collate(packed=True))


def test_the_probe_names_a_batch_it_cannot_use():
    model = make_model("llama")
    with pytest.raises(ValueError, match="no position_ids; it must come from DataCollatorForSkipAlign"):
        assert_cross_skip_attention(model, {"input_ids": torch.ones(1, 4, dtype=torch.long)})
    ones = torch.ones(1, 1, dtype=torch.long)
    with pytest.raises(ValueError, match="no document of at least two tokens"):
        assert_cross_skip_attention(model, {"input_ids": ones, "position_ids": ones - 1})
