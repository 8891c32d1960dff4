"""Files that can be read in two ways, and changes that would not arrive: named before anything is written."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    DbrxConfig,
    FuyuConfig,
    LlamaConfig,
    LlavaConfig,
    Zamba2Config,
)

from benchmarks.context_zoo import SIZES
from lsw_hf.context.adapters.saving import save_adapter
from lsw_hf.context.checkpoint import extend_checkpoint
from lsw_hf.context.extension import extend_config, extend_context
from lsw_hf.context.suggestion import suggest_context
from tests.context.scaled_models import llama

LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 8.0}


def linear(window: int, **changes) -> LlamaConfig:
    return LlamaConfig(**{**SIZES, "max_position_embeddings": window}, rope_parameters=dict(LINEAR), **changes)


def test_a_window_from_before_linear_scaling_is_doubted_and_can_be_told(caplog):
    """Files that left the window as it was, as older documentation asked: a factor would be counted twice."""
    caplog.set_level(logging.WARNING)
    doubted = extend_config(linear(4096), context_length=32_768)
    assert doubted.rope_parameters["factor"] == 64.0
    assert "been 512 at pretraining" in caplog.text
    assert "--original-context-length 4096" in caplog.text
    assert "in doubt: its linear factor 8" in suggest_context(linear(4096), 32_768).facts[0]
    caplog.clear()
    told = extend_config(linear(4096), context_length=65_536, original_context_length=4096)
    assert (told.rope_parameters["factor"], told.lsw_context["window"]) == (16.0, 32_768)
    within = extend_config(linear(4096), context_length=32_768, original_context_length=4096)
    assert (within.rope_parameters["factor"], within.max_position_embeddings) == (8.0, 32_768)
    assert "in doubt" not in caplog.text
    extend_config(linear(32_768), context_length=65_536)  # 4,096 at pretraining, as many models
    # Gemma 3: pretrained at 32,768, scaled by 8, trained for 131,072
    known = extend_config(linear(131_072), context_length=262_144, original_context_length=32_768)
    assert known.rope_parameters["factor"] == 16.0
    assert "in doubt" not in caplog.text


def test_the_length_that_vicunas_files_say_follows():
    extended = extend_config(linear(4096, max_sequence_length=32_768), context_length=65_536)
    assert (extended.max_sequence_length, extended.rope_parameters["factor"]) == (65_536, 16.0)
    within = extend_config(linear(4096, max_sequence_length=32_768), context_length=8192)
    assert (within.max_sequence_length, within.rope_parameters["factor"]) == (32_768, 8.0)


@pytest.mark.parametrize(("original", "advised"), [(4096, True), (1024, False)])
def test_advice_on_the_original_length_is_given_where_it_is_taken(original, advised, caplog):
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": original}
    caplog.set_level(logging.WARNING)
    extend_config(llama(4096, rope), context_length=65_536)
    assert "was made for" in caplog.text
    assert ("pass it as original_context_length" in caplog.text) is advised
    if advised:
        extend_config(llama(4096, rope), context_length=65_536, original_context_length=2048)
    else:
        with pytest.raises(ValueError, match="which was made for 8192 tokens"):
            extend_config(llama(4096, rope), context_length=65_536, original_context_length=2048)


def test_a_base_that_this_transformers_does_not_read_is_refused_and_then_kept_equal():
    with pytest.raises(ValueError, match=r"attn_config\.rope_theta is 500000\.0 .* Write rope_theta=500000\.0"):
        extend_config(DbrxConfig(attn_config={"rope_theta": 500_000}), context_length=4096)
    followed = DbrxConfig(attn_config={"rope_theta": 500_000}, rope_theta=500_000)
    extended = extend_config(followed, context_length=4 * followed.max_position_embeddings, method="ntk")
    assert extended.attn_config.rope_theta == extended.rope_parameters["rope_theta"] > 500_000
    extend_config(extended, context_length=8 * followed.max_position_embeddings)


def test_a_folder_keeps_both_places_of_a_base_equal(tmp_path):
    sizes = {"d_model": 64, "n_heads": 4, "n_layers": 1, "vocab_size": 97}
    config = DbrxConfig(**sizes, attn_config={"rope_theta": 500_000, "kv_n_heads": 2}, rope_theta=500_000)
    config.save_pretrained(tmp_path / "0")
    window = config.max_position_embeddings
    for step in (1, 2):
        place = tmp_path / str(step)
        extend_checkpoint(tmp_path / str(step - 1), place, context_length=window * 2**step, method="ntk")
        raw = json.loads((place / "config.json").read_text())
        assert raw["attn_config"]["rope_theta"] == raw["rope_parameters"]["rope_theta"] > 500_000


def test_a_class_that_sets_its_own_window_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match="sets the window to 16384 tokens whenever it is read"):
        extend_config(Zamba2Config(use_mem_rope=True, use_long_context=True), context_length=32_768)
    followed = Zamba2Config(use_mem_rope=True, use_long_context=False, max_position_embeddings=16_384)
    assert extend_config(followed, context_length=32_768).max_position_embeddings == 32_768


def test_entries_by_layer_type_in_a_class_that_reads_none_are_refused():
    config = LlamaConfig(**SIZES, rope_parameters={"full_attention": {"rope_type": "default", "rope_theta": 1e4}})
    with pytest.raises(ValueError, match="reads one flat dictionary"):
        extend_config(config, context_length=8192)


def test_a_live_table_that_would_not_follow_is_refused(monkeypatch):
    from lsw_hf.context import extension

    model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES))
    before = dict(model.config.rope_parameters)
    monkeypatch.setattr(extension, "rebuilt", lambda module, config: module)  # a class that looks elsewhere
    with pytest.raises(ValueError, match="no rotary module of this 'llama' would follow"):
        extend_context(model, context_length=8192)
    assert model.config.rope_parameters == before


@pytest.mark.parametrize("method", ["auto", "yarn", "linear"])
def test_a_factor_of_the_plain_type_is_none(method):
    rope = {"rope_type": "default", "rope_theta": 1e4, "factor": 4.0}
    extended = extend_config(llama(4096, rope), context_length=8192, method=method)
    assert extended.rope_parameters["factor"] == 2.0
    suggestion = suggest_context(llama(4096, rope), 8192)
    assert suggestion.recommended in [row.method for row in suggestion.candidates]
    assert "factor" not in suggestion.in_force


def test_only_what_can_be_written_is_recommended():
    swapped = {"beta_fast": 1.0, "beta_slow": 4.0, "factor": 128.0, "original_max_position_embeddings": 8192}
    config = llama(1_048_576, {"rope_type": "yarn", "rope_theta": 5e5, **swapped}, head_dim=128)
    suggestion = suggest_context(config, 2_097_152)
    assert suggestion.recommended in [row.method for row in suggestion.candidates]


@pytest.mark.parametrize(("kind", "text"), [(FuyuConfig, "persimmon"), (LlavaConfig, "llama")])
def test_a_wrapper_that_repeats_the_window_follows(kind, text):
    window = {"max_position_embeddings": 16_384}
    config = kind.from_dict({"text_config": {"model_type": text, **window}, **window})
    extended = extend_config(config, context_length=32_768)
    assert extended.max_position_embeddings == extended.text_config.max_position_embeddings == 32_768
    assert kind.from_dict(extended.to_dict()).max_position_embeddings == 32_768


def test_a_wrapper_whose_text_part_is_silent_follows_in_the_file(tmp_path):
    raw = {"model_type": "llava", "max_position_embeddings": 2048, "text_config": {"model_type": "llama"}}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(raw))
    extend_checkpoint(tmp_path / "model", tmp_path / "long", context_length=8192)
    written = json.loads((tmp_path / "long" / "config.json").read_text())
    assert written["max_position_embeddings"] == written["text_config"]["max_position_embeddings"] == 8192


@pytest.fixture
def folder(tmp_path):
    AutoModelForCausalLM.from_config(LlamaConfig(**SIZES)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_an_adapter_is_no_model(folder, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = extend_context(AutoModelForCausalLM.from_pretrained(folder), context_length=8192)
    save_adapter(get_peft_model(model, LoraConfig(target_modules=["q_proj"])), tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"contains an adapter, .*`load_adapter`"):
        extend_checkpoint(tmp_path / "adapter", tmp_path / "long", context_length=16_384)
    AutoConfig.from_pretrained(folder).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ValueError, match="contains an adapter, whose window is its base model's"):
        extend_checkpoint(tmp_path / "adapter", tmp_path / "long", context_length=16_384)


def test_a_missing_shard_is_named_and_missing_weights_are_said(folder, tmp_path, caplog):
    (folder / "model.safetensors").unlink()
    save_file({"a": torch.zeros(1)}, folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(ValueError, match=r"lacks 1 of 2 weight files .*: model-00002-of-00002\.safetensors"):
        extend_checkpoint(folder, tmp_path / "long", context_length=8192)
    # not read where the whole file is there, nor an index of a format that was left out
    (folder / "model.safetensors").write_bytes((folder / "model-00001-of-00002.safetensors").read_bytes())
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}))
    extend_checkpoint(folder, tmp_path / "whole", context_length=8192)
    for path in [*folder.glob("model*"), *folder.glob("pytorch*")]:
        path.unlink()
    extend_checkpoint(folder, tmp_path / "long", context_length=8192)
    assert "contains no weights: only its configuration is extended" in caplog.text


def test_a_place_that_cannot_be_written_is_refused_first(folder, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place, words in (("file/below", "not a folder that can be written"), ("link", "is a link"), ("", "is empty")):
        with pytest.raises(ValueError, match=words):
            extend_checkpoint(folder, tmp_path / place if place else "", context_length=8192)


LISTS = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
BROKEN = {
    "no head": ({"head_dim": 0}, None, "head_dim=0; it must be at least 1"),
    "no heads": ({"num_attention_heads": 0}, None, "num_attention_heads|modulo by zero"),
    "too much of a head": ({}, {"partial_rotary_factor": 2.0}, "rotates .* of .* head dimensions"),
    "no length": ({}, {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 0}, "division|above 0"),
    "a short list": ({}, {"rope_type": "longrope", **LISTS, "short_factor": [1.0] * 3}, "not as many as|short_factor"),
    "words": ({}, {"rope_type": "longrope", **LISTS, "long_factor": ["2"] * 8}, "no list of numbers|long_factor"),
    "zeros": ({}, {"rope_type": "longrope", **LISTS, "short_factor": [0.0] * 8}, "no list of numbers"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_numbers_that_cannot_be_are_one_message(name, folder, tmp_path):
    fields, rope, words = BROKEN[name]
    raw = json.loads((folder / "config.json").read_text()) | fields
    if rope is not None:
        raw["rope_parameters"] = {
            "rope_theta": 1e4,
            "rope_type": "default",
            "original_max_position_embeddings": 64,
        } | rope
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=words):
        extend_checkpoint(folder, tmp_path / "long", context_length=8192)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": 0}, "has window=0"),
        ({"method": None}, "lacks method"),
        ({"original_rope_parameters": {"rope_type": "default"}}, "has original_rope_parameters="),
    ],
)
def test_a_record_that_says_nothing_is_refused(changes, words):
    extended = extend_config(LlamaConfig(**SIZES), context_length=8192)
    extended.lsw_context |= changes
    for change in (extend_config, suggest_context):
        with pytest.raises(ValueError, match=words):
            change(extended, context_length=16_384)


@pytest.mark.parametrize("model_type", ["llama", "phi3"])
def test_the_older_name_of_longrope_is_explained(model_type, folder, tmp_path):
    raw = json.loads((folder / "config.json").read_text())
    raw |= {"model_type": model_type, "rope_scaling": {"type": "su", **LISTS}, "original_max_position_embeddings": 64}
    raw.pop("rope_parameters")
    (folder / "config.json").write_text(json.dumps(raw))
    with pytest.raises(ValueError, match="is called 'longrope' today"):
        extend_checkpoint(folder, tmp_path / "long", context_length=8192)


def test_a_method_with_nothing_to_do_is_said_to_do_nothing(caplog):
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 4096}
    extended = extend_config(llama(4096, rope), context_length=16_384, method="ntk")
    assert extended.rope_parameters == llama(4096, rope).rope_parameters
    assert "method 'ntk' has nothing to do: the scaling in force was made for 32768 tokens" in caplog.text


@pytest.mark.parametrize("method", ["auto", "ntk", "yarn", "linear"])
@pytest.mark.parametrize("model_type", ["llama", "hunyuan_v1_dense"])
def test_live_models_whose_makers_wrote_dynamic_are_extended(model_type, method):
    number = {"alpha": 1000.0, "factor": 1.0} if model_type.startswith("hunyuan") else {"factor": 4.0}
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, **number}
    config = AutoConfig.for_model(model_type, **SIZES, head_dim=16, rope_parameters=rope)
    model = AutoModelForCausalLM.from_config(config)
    before = model.model.rotary_emb.inv_freq.clone()
    window = config.max_position_embeddings
    if number.get("alpha"):  # a longer window alone, and then more
        extend_context(model, context_length=2 * window, method="none")
        assert torch.equal(model.model.rotary_emb.inv_freq, before)
    extend_context(model, context_length=4 * window, method=method)
    assert (model.model.rotary_emb.inv_freq <= before * (1 + 1e-6)).all()
    assert model.model.rotary_emb.inv_freq[-1] < before[-1]


@pytest.mark.parametrize("family", ["hunyuan", "internlm", "minicpm", "gemma3", "olmo", "phi"])
def test_live_models_of_published_configurations_are_extended(family, tmp_path):
    """The configuration alone says nothing of what stops on the way to a live model."""
    from benchmarks.context_cells import Row, live_cell
    from benchmarks.context_subjects import published_subjects

    for subject in list(published_subjects([family]))[:2]:
        row = Row(subject, tmp_path / subject.name.replace("/", "."))
        row.build()
        cell = live_cell(row, "default", 2, row.save_source())
        assert cell.outcome == "extended", (subject.name, cell.reason)
