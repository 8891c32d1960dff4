"""What a merge and a load are proved by, and what becomes of model and disk when they are refused."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from lsw_hf.context.adapters.saving import load_adapter, merge_adapter, save_adapter
from lsw_hf.context.record import ANSWERS, RECORD_FILE
from tests.context.adapters import adapter_forms as forms
from tests.processes import dead_process

# what PEFT says when an adapter is made, saved or loaded
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")


@pytest.fixture
def live(tmp_path):
    """A trained adapter on an extended base, which lies in `tmp_path / "base"`."""

    def make(base="llama", config=None, **options):
        folder = forms.base_folder(base, tmp_path / "base")
        return forms.trained(forms.extended(folder, **options), config or LoraConfig(**forms.RANK))

    return make


def weights_of(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def assert_as_it_was(model, before):
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_an_adapter_on_one_tied_embedding_unties_the_merged_model(live, tmp_path, caplog):
    config = LoraConfig(r=4, target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM")
    model = live("tied", config)
    expected = forms.logits_of(model)
    merged = merge_adapter(model, tmp_path / "merged")
    written = json.loads((tmp_path / "merged" / "config.json").read_text())
    assert written["tie_word_embeddings"] is False
    assert written["rope_scaling"]["rope_type"] == "yarn"
    assert "The adapter changes one of two tied embeddings" in caplog.text
    assert "4,656 more weights" in caplog.text  # 97 * 48
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    for found in (merged, again):
        assert not torch.equal(found.lm_head.weight, found.model.embed_tokens.weight)
        torch.testing.assert_close(forms.logits_of(found), expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    again.tie_weights()
    assert again.lm_head.weight is not again.model.embed_tokens.weight


def test_a_refused_merge_puts_back_every_weight(live, monkeypatch, tmp_path):
    model = live("tied", LoraConfig(r=4, target_modules=["q_proj", "v_proj", "embed_tokens"]))
    before = weights_of(model)
    last = model.get_base_model().model.layers[1].self_attn.v_proj

    def stop(*args, **kwargs):
        raise NotImplementedError("no merge here")

    with monkeypatch.context() as patch:
        patch.setattr(last, "merge", stop)
        with pytest.raises(ValueError, match=r"LORA adapter cannot be merged: no merge here\. .* is as it was\.$"):
            merge_adapter(model, tmp_path / "merged")
    assert_as_it_was(model, before)
    assert model.config.tie_word_embeddings is True
    base = model.get_base_model()
    assert base.lm_head.weight is base.model.embed_tokens.base_layer.weight
    assert not any(layer.merged for layer in model.modules() if hasattr(layer, "merged_adapters"))

    double = last.get_delta_weight
    monkeypatch.setattr(last, "get_delta_weight", lambda name: 2 * double(name))
    with pytest.raises(ValueError, match=r"merged by PEFT, its answers to \d+ fixed tokens are .*% off; rounding"):
        merge_adapter(model, tmp_path / "merged")
    assert_as_it_was(model, before)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["base"]
    merge_adapter(model)  # and it still can be


def test_what_is_read_back_is_proved_and_nothing_is_left_of_a_wrong_one(live, monkeypatch, tmp_path):
    model = live()
    save = LlamaForCausalLM.save_pretrained

    def save_another(self, folder, **options):
        weights = self.state_dict()
        save(self, folder, state_dict={**weights, "lm_head.weight": weights["lm_head.weight"] * 1.01}, **options)

    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", save_another)
    with pytest.raises(ValueError, match=r"right in memory, but read back from its files its answers to"):
        merge_adapter(model, tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


def test_a_folder_that_is_in_use_is_refused_before_any_work(live, monkeypatch, tmp_path):
    model = live()
    before = weights_of(model)
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path / "base")
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "base", tmp_path / "file"):
        with pytest.raises(ValueError, match=r"exists and is not an empty folder. Choose another one, or remove it"):
            merge_adapter(model, target)
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"is the working folder, which cannot be replaced. Name a new one"):
        merge_adapter(model, tmp_path / "empty")
    assert_as_it_was(model, before)
    monkeypatch.chdir(tmp_path)
    leftover = tmp_path / f".empty.{dead_process()}.partial"
    leftover.mkdir()
    merge_adapter(model, tmp_path / "empty")
    assert (tmp_path / "empty" / "model.safetensors").is_file()
    assert not leftover.exists()


def test_several_processes_do_not_write_one_folder(live, monkeypatch, tmp_path):
    model = live()
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(ValueError, match=r"2 processes would all write .* merge it in one process after the run"):
        merge_adapter(model, tmp_path / "merged")


def test_a_second_merge_says_so(live):
    model = live()
    merge_adapter(model)
    with pytest.raises(ValueError, match="no adapter left: it was merged or unloaded before"):
        merge_adapter(model)


def test_what_cannot_be_proved_is_refused(live, caplog, tmp_path):
    model = live()
    base = model.get_base_model()
    base.is_quantized = True
    with pytest.raises(ValueError, match=r"base under this LORA adapter is quantized, .* without quantization_config"):
        merge_adapter(model)
    save_adapter(model, tmp_path / "quantized")
    assert (
        "answers of adapter 'default' are not saved, so no load can be held against them: its base is quantized"
        in caplog.text
    )
    base.is_quantized = False
    model.base_model.disable_adapter_layers()
    with pytest.raises(ValueError, match="LORA adapter is switched off, so merging would change"):
        merge_adapter(model)
    save_adapter(model, tmp_path / "off")
    assert "the adapter is switched off" in caplog.text
    for folder in ("quantized", "off"):
        assert ANSWERS not in json.loads((tmp_path / folder / RECORD_FILE).read_text())
    model.base_model.enable_adapter_layers()
    base.lm_head.weight = torch.nn.Parameter(base.lm_head.weight.to("meta"))
    with pytest.raises(ValueError, match=r"1 of its \d+ weights are on the meta device .* without a device_map"):
        merge_adapter(model)


def test_a_base_that_carries_an_adapter_is_refused(live, tmp_path):
    model = live()
    save_adapter(model, tmp_path / "adapter")
    for base in (model, model.get_base_model()):
        with pytest.raises(ValueError, match=r"base_model carries an adapter already.* `base = model.unload\(\)`"):
            load_adapter(tmp_path / "adapter", base)
    expected = forms.logits_of(model)
    assert torch.equal(forms.logits_of(load_adapter(tmp_path / "adapter", model.unload()).eval()), expected)


def test_another_base_of_the_same_shape_is_refused(live, tmp_path):
    save_adapter(live(), tmp_path / "adapter")
    other = forms.extended(tmp_path / "base")
    with torch.no_grad():
        other.model.layers[0].mlp.down_proj.weight.mul_(1.05)
    with pytest.raises(
        ValueError,
        match=r"LORA adapter in .* is not the model that was saved: its answers .*% off.* load the base anew",
    ):
        load_adapter(tmp_path / "adapter", other)


def test_a_record_without_answers_is_still_read(live, tmp_path):
    model = live()
    save_adapter(model, tmp_path / "adapter")
    path = tmp_path / "adapter" / RECORD_FILE
    record = json.loads(path.read_text())
    path.write_text(json.dumps({key: record[key] for key in record.keys() - {ANSWERS, "vocab_size"}}))
    assert torch.equal(forms.logits_of(load_adapter(tmp_path / "adapter").eval()), forms.logits_of(model))


def test_a_resized_vocabulary_is_named(tmp_path):
    folder = forms.base_folder("llama", tmp_path / "base")
    base = forms.extended(folder)
    base.resize_token_embeddings(101)
    model = forms.trained(base, LoraConfig(**forms.RANK))
    expected = forms.logits_of(model)
    save_adapter(model, tmp_path / "adapter")
    with pytest.raises(
        ValueError, match=r"vocabulary of 97 tokens and .* with 101\. .*resize_token_embeddings\(101\)"
    ):
        load_adapter(tmp_path / "adapter")
    again = forms.extended(folder)
    again.resize_token_embeddings(101)  # new rows are drawn; PEFT keeps those of the live model
    loaded = load_adapter(tmp_path / "adapter", again).eval()
    assert torch.equal(forms.logits_of(loaded), expected)
    merged = merge_adapter(loaded, tmp_path / "merged")
    assert merged.config.vocab_size == 101
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["vocab_size"] == 101
    save_adapter(model, tmp_path / "bare", save_embedding_layers=False)
    again = forms.extended(folder)
    again.resize_token_embeddings(101, mean_resizing=False)
    with pytest.raises(ValueError, match=r"is not the model that was saved: .* rows added to the embedding"):
        load_adapter(tmp_path / "bare", again)
    save_adapter(forms.trained(forms.extended(folder), LoraConfig(**forms.RANK)), tmp_path / "small")
    again = forms.extended(folder)
    again.resize_token_embeddings(101)
    with pytest.raises(ValueError, match=r"vocabulary of 101 tokens and the adapter was trained with 97"):
        load_adapter(tmp_path / "small", again)


def test_a_start_that_nobody_can_repeat_is_refused_and_merges(live, tmp_path):
    config = LoraConfig(**forms.RANK, init_lora_weights="pissa_niter_4")
    folder = forms.base_folder("llama", tmp_path / "base")
    model = get_peft_model(forms.extended(folder), copy.deepcopy(config))
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(tmp_path / "start")
    model.peft_config["default"].init_lora_weights = "pissa_niter_4"
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn_like(weight) if weight.requires_grad else 0)
    model.eval()
    expected = forms.logits_of(model)
    with pytest.raises(
        ValueError, match=r"init_lora_weights='pissa_niter_4' changed the base model .* `merge_adapter"
    ):
        save_adapter(model, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    save_adapter(
        copy.deepcopy(model), tmp_path / "converted", path_initial_model_for_weight_conversion=str(tmp_path / "start")
    )
    close = {"rtol": 0, "atol": 1e-5 * expected.abs().max().item()}
    torch.testing.assert_close(forms.logits_of(load_adapter(tmp_path / "converted").eval()), expected, **close)
    torch.testing.assert_close(forms.logits_of(merge_adapter(model, tmp_path / "merged")), expected, **close)


def test_adapters_together_and_apart(tmp_path, caplog):
    folder = forms.base_folder("llama", tmp_path / "base")
    model = get_peft_model(forms.extended(folder), LoraConfig(**forms.RANK), adapter_name="first")
    model.add_adapter("second", LoraConfig(r=2, target_modules=["k_proj", "q_proj"]))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.add_(torch.randn(weight.shape, generator=generator) * 0.05)
    model.base_model.set_adapter(["first", "second"])
    model.eval()
    trainable = [weight.requires_grad for weight in model.parameters()]
    both = forms.logits_of(model)
    save_adapter(model, tmp_path / "two")
    # asked one by one, and left as they were
    assert torch.equal(forms.logits_of(model), both)
    assert model.active_adapters == ["first", "second"]
    assert [weight.requires_grad for weight in model.parameters()] == trainable
    alone = {}
    for name in ("first", "second"):
        alone[name] = forms.logits_of(load_adapter(tmp_path / "two" / name).eval())
    assert not torch.allclose(alone["first"], alone["second"], atol=1e-3)
    one = copy.deepcopy(model)
    one.set_adapter("second")
    close = {"rtol": 0, "atol": 1e-5 * both.abs().max().item()}
    torch.testing.assert_close(forms.logits_of(merge_adapter(one)), alone["second"], **close)
    assert "the inactive adapters are dropped: ['first']" in caplog.text
    torch.testing.assert_close(forms.logits_of(merge_adapter(model, tmp_path / "merged")), both, **close)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_short_number_types_are_held_to_their_own_bound(dtype, live, tmp_path, caplog):
    model = live(dtype=dtype)
    expected = forms.logits_of(model).float().log_softmax(-1)
    save_adapter(model, tmp_path / "adapter")
    merged = merge_adapter(load_adapter(tmp_path / "adapter", dtype=dtype), tmp_path / "merged").eval()
    assert merged.dtype == dtype
    found = forms.logits_of(merged).float().log_softmax(-1)
    # the distributions differ by what two rounded layers add, and by nothing else
    assert (found.exp() * (found - expected)).sum(-1).max() < torch.finfo(dtype).eps ** 2 * 4
    assert "rounds away" not in caplog.text
    # trained in one number type, loaded in another
    assert load_adapter(tmp_path / "adapter").dtype == torch.float32


def test_an_adapter_that_the_number_type_swallows_is_named(tmp_path, caplog):
    folder = forms.base_folder("llama", tmp_path / "base")
    model = get_peft_model(forms.extended(folder, dtype=torch.bfloat16), LoraConfig(**forms.RANK))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.add_(2e-4)
    merge_adapter(model.eval())
    assert "The merge rounds away much of what the adapter adds" in caplog.text


def test_a_prompt_is_no_weight_and_the_model_stays(live, tmp_path):
    model = live(config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    expected = forms.logits_of(model)
    with pytest.raises(ValueError, match="a PROMPT_TUNING adapter cannot be merged: it adds virtual tokens"):
        merge_adapter(model, tmp_path / "merged")
    assert torch.equal(forms.logits_of(model), expected)
    assert isinstance(model, PeftModel)
