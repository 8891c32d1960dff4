"""Adapters that remember: live == reloaded == merged, in this process and in a fresh one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, Trainer, TrainingArguments

from benchmarks.context_zoo import ARCHITECTURES, SIZES
from lsw_hf.context.adapters.saving import RopeAdapterCallback, load_adapter, merge_adapter, save_adapter
from lsw_hf.context.extension import extend_context
from lsw_hf.context.record import RECORD_FILE, apply_record, context_record, read_record, write_record
from lsw_hf.context.verification import verify_context
from lsw_hf.models import LongSkyworkConfig

# PEFT 0.21 asks for the old name of an attribute
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
TARGET = 448


def lora(*, tied=False, whole_embeddings=False):
    extra = {"modules_to_save": ["embed_tokens", "norm"], "ensure_weight_tying": tied} if whole_embeddings else {}
    return LoraConfig(target_modules=["q_proj", "v_proj"], r=3, lora_alpha=7, **extra)


def trained(model, config):
    """An adapter whose every trainable weight has moved."""
    wrapped = get_peft_model(model, config)
    torch.manual_seed(13)
    with torch.no_grad():
        for weight in wrapped.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * 0.05)
    return wrapped.eval()


@pytest.fixture
def base_folder(build, tmp_path):
    """An unextended base model on disk, as a user would have it."""

    def make(name="llama", **changes):
        config = LlamaConfig(**{**SIZES, **changes}) if name == "llama" else ARCHITECTURES[name]()
        build(config).save_pretrained(tmp_path / "base")
        return tmp_path / "base"

    return make


@pytest.fixture
def extended_adapter(base_folder):
    """Trained on the extended base: the live model."""

    def make(name="llama", tied=False, whole_embeddings=False):
        folder = base_folder(name, tie_word_embeddings=tied) if name == "llama" else base_folder(name)
        model = extend_context(AutoModelForCausalLM.from_pretrained(folder), context_length=TARGET, factor=14.0)
        return trained(model, lora(tied=tied, whole_embeddings=whole_embeddings))

    return make


@pytest.mark.parametrize("whole_embeddings", [False, True], ids=["lora", "long-lora"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_live_reloaded_and_merged_agree(tied, whole_embeddings, extended_adapter, logits_of, tmp_path):
    live = extended_adapter(tied=tied, whole_embeddings=whole_embeddings)
    expected = logits_of(live)
    save_adapter(live, tmp_path / "adapter")
    reloaded = load_adapter(tmp_path / "adapter").eval()
    assert torch.equal(logits_of(reloaded), expected)
    merged = merge_adapter(reloaded, tmp_path / "merged").eval()
    torch.testing.assert_close(logits_of(merged), expected, rtol=0, atol=2e-6)
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(logits_of(again), logits_of(merged))
    assert json.loads((tmp_path / "merged" / "config.json").read_text())["rope_scaling"]["factor"] == 14.0
    if tied:
        assert again.lm_head.weight is again.model.embed_tokens.weight


@pytest.mark.parametrize("name", ["gemma3", "phi3", "qwen3_moe", "longskywork"])
def test_other_architectures_remember_too(name, base_folder, logits_of, tmp_path):
    model = extend_context(
        AutoModelForCausalLM.from_pretrained(base_folder(name)), context_length=TARGET, method="ntk"
    )
    modules = ["qkv_proj"] if name == "phi3" else ["q_proj"]
    live = trained(model, LoraConfig(target_modules=modules, r=2))
    save_adapter(live, tmp_path / "adapter")
    assert torch.equal(logits_of(load_adapter(tmp_path / "adapter").eval()), logits_of(live))


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
def test_a_fresh_process_agrees(tied, extended_adapter, logits_of, input_ids, tmp_path):
    live = extended_adapter(tied=tied, whole_embeddings=True)
    save_adapter(live, tmp_path / "adapter")
    merged = merge_adapter(load_adapter(tmp_path / "adapter"), tmp_path / "merged").eval()
    torch.save({"ids": input_ids, "live": logits_of(live), "merged": logits_of(merged)}, tmp_path / "expected.pt")
    code = """
import sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM
from lsw_hf.context.adapters.saving import load_adapter
root = Path(sys.argv[1])
expected = torch.load(root / "expected.pt")
with torch.no_grad():
    live = load_adapter(root / "adapter").eval()(expected["ids"], use_cache=False).logits
    merged = AutoModelForCausalLM.from_pretrained(root / "merged").eval()(expected["ids"], use_cache=False).logits
print(torch.equal(live, expected["live"]), torch.equal(merged, expected["merged"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.stdout.split()[-2:] == ["True", "True"]


def test_an_adapter_attached_by_peft_alone_is_detected(extended_adapter, base_folder, logits_of, tmp_path):
    live = extended_adapter()
    save_adapter(live, tmp_path / "adapter")
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    # no error and no warning from PEFT, and another model
    assert not torch.allclose(logits_of(plain.eval()), logits_of(live), atol=1e-3)
    with pytest.raises(ValueError, match="max_position_embeddings is 64 live and 448 in the record"):
        verify_context(tmp_path / "adapter", plain)
    with pytest.raises(ValueError, match="inv_freq differs from the record"):
        verify_context(tmp_path / "adapter", plain)
    assert verify_context(tmp_path / "adapter", live).ok
    with pytest.raises(ValueError, match="contains an adapter: pass the model it is attached to"):
        verify_context(tmp_path / "adapter")


@pytest.mark.parametrize("method", ["yarn", "ntk"])
def test_an_attention_temperature_is_remembered(method, build, logits_of, tmp_path):
    ids = torch.randint(3, 97, (1, 200), generator=torch.Generator().manual_seed(5))
    build(LongSkyworkConfig(**SIZES, attention_temperature_slope=0.3)).save_pretrained(tmp_path / "base")
    base = extend_context(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), context_length=TARGET, method=method
    )
    live = trained(base, lora())
    save_adapter(live, tmp_path / "adapter")
    assert torch.equal(logits_of(load_adapter(tmp_path / "adapter").eval(), ids), logits_of(live, ids))


def test_adapters_with_names_remember_in_their_own_folders(base_folder, logits_of, tmp_path):
    base = extend_context(AutoModelForCausalLM.from_pretrained(base_folder()), context_length=TARGET)
    live = get_peft_model(base, lora(), adapter_name="first")
    live.add_adapter("second", lora())
    save_adapter(live, tmp_path / "both")
    for name in ("first", "second"):
        assert load_adapter(tmp_path / "both" / name).config.max_position_embeddings == TARGET
    save_adapter(live, tmp_path / "one", selected_adapters=["second"])
    assert sorted(path.name for path in (tmp_path / "one").iterdir() if path.is_dir()) == ["second"]


def test_an_adapter_on_the_hub_is_downloaded_whole(extended_adapter, logits_of, monkeypatch, tmp_path):
    live = extended_adapter()
    save_adapter(live, tmp_path / "snapshot")
    monkeypatch.setattr("lsw_hf.context.checkpoint.snapshot_download", lambda name: str(tmp_path / "snapshot"))
    assert torch.equal(logits_of(load_adapter("me/it").eval()), logits_of(live))
    monkeypatch.undo()
    with pytest.raises(ValueError, match="me/it is not a folder here, and the Hub did not give a model of that name"):
        load_adapter("me/it")


def test_a_cut_record_is_refused(extended_adapter, tmp_path):
    save_adapter(extended_adapter(), tmp_path / "adapter")
    path = tmp_path / "adapter" / RECORD_FILE
    record = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in record.items() if key != "tables"}))
    with pytest.raises(ValueError, match=r"lsw_context\.json was edited or cut off: it lacks tables"):
        load_adapter(tmp_path / "adapter")


def test_a_callback_makes_a_plain_training_run_remember(base_folder, logits_of, tmp_path):
    base = extend_context(AutoModelForCausalLM.from_pretrained(base_folder()), context_length=TARGET)
    wrapped = get_peft_model(base, lora())
    rows = [{"input_ids": list(range(3, 30)), "labels": list(range(3, 30))}] * 4
    trainer = Trainer(
        wrapped,
        TrainingArguments(
            output_dir=str(tmp_path / "run"), max_steps=2, save_steps=1, report_to=[], use_cpu=True, disable_tqdm=True
        ),
        train_dataset=rows,
        callbacks=[RopeAdapterCallback()],
    )
    trainer.train()
    trainer.save_model()
    for folder in ("checkpoint-1", "checkpoint-2", "."):
        assert (tmp_path / "run" / folder / RECORD_FILE).is_file()
    reloaded = load_adapter(tmp_path / "run").eval()
    assert torch.equal(logits_of(reloaded), logits_of(wrapped.eval()))


def test_the_callback_refuses_to_train_what_will_not_be_saved(build, tmp_path):
    model = get_peft_model(build("llama"), lora())
    model.config.rope_parameters["rope_theta"] = 1e6
    args = TrainingArguments(output_dir=str(tmp_path), max_steps=1, report_to=[], use_cpu=True, disable_tqdm=True)
    trainer = Trainer(model, args, train_dataset=[{"input_ids": [3, 4], "labels": [3, 4]}])
    trainer.add_callback(RopeAdapterCallback())
    with pytest.raises(ValueError, match="what is saved is not what runs"):
        trainer.train()
    with pytest.raises(ValueError, match="what is saved is not what runs"):
        save_adapter(model, tmp_path / "adapter")


def test_a_given_base_is_used_and_a_trainable_one_trains(extended_adapter, logits_of, tmp_path):
    live = extended_adapter()
    save_adapter(live, tmp_path / "adapter")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    model = load_adapter(tmp_path / "adapter", base, is_trainable=True)
    assert model.get_base_model() is base
    assert any(weight.requires_grad for weight in model.parameters())
    assert torch.equal(logits_of(model.eval()), logits_of(live))
    # a base that is extended already is fine too
    extended = extend_context(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"), context_length=TARGET, factor=14
    )
    assert torch.equal(logits_of(load_adapter(tmp_path / "adapter", extended).eval()), logits_of(live))


def test_missing_foreign_and_misplaced_arguments_are_refused(extended_adapter, build, tmp_path):
    live = extended_adapter()
    live.save_pretrained(tmp_path / "plain")
    with pytest.raises(ValueError, match=r"has no lsw_context\.json: nothing says which context window"):
        load_adapter(tmp_path / "plain")
    with pytest.raises(TypeError, match="model must be a PeftModel, got LlamaForCausalLM"):
        save_adapter(build("llama"), tmp_path / "adapter")
    save_adapter(live, tmp_path / "adapter")
    with pytest.raises(ValueError, match="dtype only apply to a base loaded here"):
        load_adapter(tmp_path / "adapter", build("llama"), dtype=torch.float32)
    with pytest.raises(ValueError, match="the record is of a 'llama' and the model is a 'qwen2'"):
        load_adapter(tmp_path / "adapter", build("qwen2"))
    other = build(LlamaConfig(**SIZES, rope_parameters={"rope_type": "default", "rope_theta": 5e5}))
    with pytest.raises(ValueError, match=r"starts from rope_parameters=.*500000.0.*it is another base"):
        load_adapter(tmp_path / "adapter", other)
    wider = build(LlamaConfig(**{**SIZES, "hidden_size": 72}))
    with pytest.raises(ValueError, match="has tables that the record does not describe"):
        load_adapter(tmp_path / "adapter", wider)
    path = tmp_path / "adapter" / RECORD_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(ValueError, match="has format 99; this version reads 1"):
        load_adapter(tmp_path / "adapter")


def test_a_record_of_an_unextended_model_is_a_record(build, tmp_path):
    model = build("mistral")
    write_record(model, tmp_path)
    record = read_record(tmp_path)
    assert record == context_record(model)
    apply_record(record, build("mistral"))
    assert [path.name for path in tmp_path.iterdir()] == [RECORD_FILE]
