"""The models against stock Llama, against a float64 oracle, and on the properties of every causal LM."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache, LlamaConfig, LlamaForCausalLM

from lsw_hf.models import (
    LongSkyworkConfig,
    LongSkyworkForCausalLM,
    LongSkyworkForSequenceClassification,
    LongSkyworkModel,
    modeling_longskywork,
)

TEMPERATURE = {"attention_temperature_slope": 0.7, "attention_temperature_length": 9}


@pytest.fixture(params=[{}, TEMPERATURE], ids=["plain", "temperature"])
def model(request, make_model, ropes) -> LongSkyworkForCausalLM:
    return make_model(rope_parameters=ropes["yarn"], **request.param)


def stock_twin(model: LongSkyworkForCausalLM, shape: dict) -> LlamaForCausalLM:
    config = LlamaConfig(**shape, rope_parameters=dict(model.config.rope_parameters))
    twin = LlamaForCausalLM(config).eval()
    twin.load_state_dict(model.state_dict(), strict=True)
    return twin


def relative(got: torch.Tensor, truth: torch.Tensor) -> float:
    return ((got.double() - truth).abs().max() / truth.abs().max()).item()


def test_plain_forward_loss_and_gradients_are_stock_llamas_bit_for_bit(make_model, rope, shape, ids):
    model = make_model(rope_parameters=rope)
    twin = stock_twin(model, shape)
    for each in (model, twin):
        each.train()
        each(ids, labels=ids).loss.backward()
    ours, theirs = model(ids, labels=ids), twin(ids, labels=ids)
    assert torch.equal(ours.logits, theirs.logits)
    assert torch.equal(ours.loss, theirs.loss)
    gradients = dict(twin.named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, gradients[name].grad), name


@pytest.mark.parametrize("slope", [0.0, 0.7])
def test_logits_are_the_oracles(make_model, forward_oracle, rope, ids, slope):
    model = make_model(rope_parameters=rope, attention_temperature_slope=slope, attention_temperature_length=9)
    positions = [3 * p for p in range(ids.shape[1])]  # gaps: what is read are positions, not indices
    truth = forward_oracle(
        model.state_dict(), rope, ids[0].tolist(), positions,
        lambda p: 1 + slope * max(0.0, torch.tensor((p + 1) / 9, dtype=torch.float64).log().item()),
    )  # fmt: skip
    got = model(ids, position_ids=torch.tensor([positions]), attention_mask=torch.ones_like(ids)).logits[0]
    assert relative(got, truth) < 1e-5

    # the same with a cache, one token at a time after a prefill of 20
    cache = DynamicCache()
    steps = [model(ids[:, :20], position_ids=torch.tensor([positions[:20]]), past_key_values=cache).logits]
    for t in range(20, ids.shape[1]):
        at = torch.tensor([[positions[t]]])
        steps.append(model(ids[:, t : t + 1], position_ids=at, past_key_values=cache).logits)
    assert relative(torch.cat(steps, dim=1)[0], truth) < 1e-5


def test_a_temperature_changes_what_lies_beyond_its_length_and_nothing_before(make_model, ids):
    plain, warm = make_model(), make_model(**TEMPERATURE)
    before, after = plain(ids).logits, warm(ids).logits
    assert torch.equal(before[:, :9], after[:, :9])
    assert (before[:, 9:] - after[:, 9:]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("backend", ["sdpa", pytest.param("flex_attention", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch\\..*")  # of torch's own code, when it compiles flex
@pytest.mark.filterwarnings("ignore:_compile flag on create_block_mask")  # transformers 5.23 passes it to torch 2.13
def test_every_attention_backend_gives_the_same_logits(model, ids, backend):
    logits = {}
    for implementation in ("eager", backend):
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            logits[implementation] = model(ids).logits
    assert relative(logits[backend], logits["eager"]) < 1e-5


@pytest.mark.parametrize("chunk", [1, 8, 36])
def test_a_chunked_prefill_is_one_prefill(model, ids, chunk):
    cache = DynamicCache()
    with torch.no_grad():
        whole = model(ids).logits
        parts = [model(part, past_key_values=cache).logits for part in ids.split(chunk, dim=1)]
    assert relative(torch.cat(parts, dim=1), whole) < 1e-5


def test_logits_to_keep_keeps_the_last(model, ids):
    torch.testing.assert_close(model(ids, logits_to_keep=3).logits, model(ids).logits[:, -3:])


def test_a_left_padded_batch_generates_what_each_row_does_alone(model, ids):
    rows = [ids[0], ids[0, :11], ids[0, 5:29]]
    padded = torch.zeros(3, ids.shape[1], dtype=torch.long)
    for target, row in zip(padded, rows, strict=True):
        target[-len(row) :] = row
    batch = model.generate(padded, attention_mask=(padded > 0).long(), max_new_tokens=9, do_sample=False)
    for index, row in enumerate(rows):
        alone = model.generate(row[None], max_new_tokens=9, do_sample=False)
        assert batch[index, -9:].tolist() == alone[0, -9:].tolist()


def test_assisted_decoding_is_greedy_decoding(model, make_model, ids):
    mask = torch.ones_like(ids)
    greedy = model.generate(ids, attention_mask=mask, max_new_tokens=10, do_sample=False)
    helped = model.generate(
        ids, attention_mask=mask, max_new_tokens=10, do_sample=False, assistant_model=make_model(num_hidden_layers=1)
    )
    assert helped.tolist() == greedy.tolist()


def test_casting_keeps_the_inverse_frequencies_exact(model):
    exact = model.model.rotary_emb.inv_freq.clone()
    for cast in (lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.double(), lambda m: m.bfloat16()):
        rotary = cast(copy.deepcopy(model)).model.rotary_emb
        assert rotary.inv_freq.dtype == rotary.original_inv_freq.dtype == torch.float32
        assert torch.equal(rotary.inv_freq, exact)
        assert torch.equal(rotary.original_inv_freq, exact)


def test_bfloat16_angles_are_right_far_out(make_model):
    rotary = make_model(max_position_embeddings=200_000).to(torch.bfloat16).model.rotary_emb
    position = torch.tensor([[199_999]])
    cos, sin = rotary(torch.zeros(1, dtype=torch.float32), position)
    angle = 199_999 * rotary.inv_freq.double()
    torch.testing.assert_close(cos[0, 0, :5].double(), angle.cos(), atol=2e-2, rtol=0)
    torch.testing.assert_close(sin[0, 0, :5].double(), angle.sin(), atol=2e-2, rtol=0)


def test_the_model_is_built_once(monkeypatch, shape):
    built = []
    stock = modeling_longskywork.LlamaMLP.__init__
    monkeypatch.setattr(
        modeling_longskywork.LlamaMLP, "__init__", lambda self, config: (built.append(1), stock(self, config))[1]
    )
    LongSkyworkForCausalLM(LongSkyworkConfig(**shape))
    assert len(built) == shape["num_hidden_layers"]


def test_a_model_made_without_memory_gets_its_frequencies(make_model, shape, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)  # built on the meta device
    assert type(loaded) is LongSkyworkForCausalLM
    assert torch.equal(loaded.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)
    assert torch.equal(loaded.model.rotary_emb.original_inv_freq, model.model.rotary_emb.inv_freq)


@pytest.mark.parametrize("tied", [True, False])
def test_saving_keeps_tied_and_untied_heads(make_model, tmp_path, ids, tied):
    model = make_model(tie_word_embeddings=tied)
    model.save_pretrained(tmp_path)
    loaded, report = LongSkyworkForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert torch.equal(loaded(ids).logits, model(ids).logits)
    same = loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()
    assert same == tied


@pytest.mark.parametrize("tied", [True, False])
def test_resizing_embeddings_keeps_old_logits_and_the_head(make_model, ids, tied):
    model = make_model(tie_word_embeddings=tied)
    before = model(ids).logits
    model.resize_token_embeddings(61, mean_resizing=False)
    after = model(ids).logits
    assert after.shape[-1] == model.config.vocab_size == 61
    torch.testing.assert_close(after[..., :53], before)


def test_gradient_checkpointing_gives_the_same_gradients(model, ids, checkpoint_layers):
    twin = copy.deepcopy(model)
    checkpoint_layers(twin)
    for each in (model, twin):
        each.train()
        each(ids, labels=ids, use_cache=False).loss.backward()
    gradients = dict(twin.named_parameters())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, gradients[name].grad), name


def test_gradient_checkpointing_recomputes_each_layer(model, ids, checkpoint_layers):
    calls = []
    for layer in model.model.layers:
        layer.self_attn.q_proj.register_forward_hook(lambda *_: calls.append(1))
    checkpoint_layers(model)
    model.train()
    model(ids, labels=ids, use_cache=False).loss.backward()
    assert len(calls) == 2 * len(model.model.layers)


def test_attentions_and_hidden_states_are_reported(model, ids):
    model.set_attn_implementation("eager")
    output = model(ids, output_attentions=True, output_hidden_states=True)
    assert len(output.hidden_states) == 4
    assert [weights.shape for weights in output.attentions] == [(1, 6, 37, 37)] * 3
    torch.testing.assert_close(output.attentions[0].sum(-1), torch.ones(1, 6, 37))


def test_the_temperature_sharpens_the_weights_of_late_queries(make_model, ids):
    weights = []
    for changes in ({}, TEMPERATURE):
        model = make_model(**changes)
        model.set_attn_implementation("eager")
        weights.append(model(ids, output_attentions=True).attentions[0])
    plain, warm = weights
    entropy = [-(w * w.clamp_min(1e-12).log()).sum(-1)[0, :, -1].mean().item() for w in (plain, warm)]
    assert entropy[1] < entropy[0] - 0.01
    assert torch.equal(plain[:, :, 8], warm[:, :, 8])


def test_the_base_model_alone_carries_everything_a_trainer_with_its_own_head_needs(model, ids):
    hidden = model.base_model(ids).last_hidden_state
    assert torch.equal(model.get_output_embeddings()(hidden), model(ids).logits)
    assert type(model.base_model) is LongSkyworkModel


def test_a_classifier_reads_the_last_token_of_each_row(shape, ids):
    torch.manual_seed(0)
    classifier = LongSkyworkForSequenceClassification(LongSkyworkConfig(**shape, num_labels=3)).eval()
    padded = torch.cat([ids, torch.zeros(1, 6, dtype=torch.long)], dim=1)
    scores = classifier(padded, attention_mask=(padded > 0).long()).logits
    torch.testing.assert_close(scores, classifier(ids).logits)
    assert scores.shape == (1, 3)


@pytest.mark.parametrize("changes", [pytest.param({}, marks=pytest.mark.slow), TEMPERATURE], ids=["plain", "warm"])
def test_a_compiled_model_has_one_graph_and_the_same_logits(make_model, ids, changes):
    model = make_model(**changes)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(ids, use_cache=False).logits, model(ids).logits, rtol=1e-5, atol=1e-5)
    torch.compiler.reset()


def test_a_mistake_in_an_edited_config_stops_the_build(shape):
    config = LongSkyworkConfig(**shape)
    config.rope_parameters = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}
    with pytest.raises(ValueError, match="needs original_max_position_embeddings"):
        LongSkyworkModel(config)


def test_features_of_the_torchscript_era_are_not_taken_over(make_model):
    model = make_model()
    assert not hasattr(model.config, "torchscript")
    assert not hasattr(model, "prune_heads")


def test_parallel_plans_are_llamas(make_model, shape):
    model, stock = make_model(), LlamaForCausalLM(LlamaConfig(**shape))
    assert model.tp_plan == stock.tp_plan
    assert model.tp_plan
    assert model._no_split_modules == {type(model.model.layers[0]).__name__} or model._no_split_modules == [
        type(model.model.layers[0]).__name__
    ]


def test_loading_in_bfloat16_on_a_device_map_keeps_the_frequencies_exact(make_model, tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16, device_map={"": "cpu"})
    assert loaded.lm_head.weight.dtype == torch.bfloat16
    assert torch.equal(loaded.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)


def test_trl_trains_on_the_same_loss_with_a_temperature(make_model, tmp_path):
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    from transformers import PreTrainedTokenizerFast

    tokenizers = pytest.importorskip("tokenizers")
    words = {f"w{number}": number for number in range(53)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="w1"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="w0", eos_token="w2", unk_token="w1")
    model = make_model(**TEMPERATURE)
    rows = [[3 + (7 * i + 5 * j) % 50 for j in range(31)] for i in range(4)]
    ids = torch.tensor(rows)
    expected = model(ids, labels=ids).loss.item()
    without = make_model()(ids, labels=ids).loss.item()
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path), per_device_eval_batch_size=4, bf16=False, use_cpu=True, report_to=[], max_length=64
    )
    data = datasets.Dataset.from_dict({"input_ids": rows, "labels": rows})
    trainer = trl.SFTTrainer(model, args=arguments, train_dataset=data, eval_dataset=data, processing_class=tokenizer)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, abs=2e-5)
    assert abs(expected - without) > 1e-3


@pytest.mark.slow
def test_a_chunked_prefill_is_one_prefill_at_32768_tokens(make_model):
    model = make_model(num_hidden_layers=2, max_position_embeddings=32_768, **TEMPERATURE)
    ids = torch.randint(1, 53, (1, 32_768), generator=torch.Generator().manual_seed(2))
    cache = DynamicCache()
    with torch.no_grad():
        whole = model(ids, logits_to_keep=1).logits
        for part in ids.split(5_000, dim=1):
            last = model(part, past_key_values=cache, logits_to_keep=1).logits
    assert cache.get_seq_length() == 32_768
    assert relative(last, whole) < 1e-4
