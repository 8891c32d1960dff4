"""Extension of configurations and live models, over every architecture and method."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    LlamaConfig,
    MistralConfig,
    Qwen2VLConfig,
)

from benchmarks.context_zoo import ARCHITECTURES, SIZES, rising_factors
from lsw_hf.context.extension import extend_config, extend_context, extend_tokenizer
from lsw_hf.context.verification import verify_context

OLD_NESTED_LONGROPE = tuple(int(part) for part in transformers.__version__.split(".")[:2]) < (5, 21)
TARGET = 448  # seven times the original length
METHODS = ("linear", "ntk", "abf", "yarn", "llama3", "longrope", "none")


def options(config, method):
    if method != "longrope":
        return {}
    if config.model_type == "gemma3_text" and OLD_NESTED_LONGROPE:
        pytest.skip("transformers before 5.21 fails on the second long input; refused, see below")
    return {"rope_factors": rising_factors(config)}


def target_of(name):
    return 2 * TARGET if name == "llama31" else TARGET


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_config_first_in_place_and_reloaded_give_bit_equal_logits(name, method, build, logits_of, tmp_path):
    config = ARCHITECTURES[name]()
    kwargs = {"context_length": target_of(name), "method": method, **options(config, method)}
    before = logits_of(build(name))
    from_config = build(extend_config(config, **kwargs))
    in_place = extend_context(build(name), **kwargs)
    in_place.save_pretrained(tmp_path)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()

    assert torch.equal(logits_of(from_config), logits_of(in_place))
    assert torch.equal(logits_of(reloaded), logits_of(in_place))
    # a window that only got longer computes the same; a changed table does not
    assert torch.equal(logits_of(in_place), before) == (method == "none")
    report = verify_context(tmp_path, in_place)
    assert report.context_length == target_of(name)
    assert report.difference == 0.0
    assert report.ok


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_extension_is_idempotent_and_counts_from_the_original(name, tmp_path, caplog):
    config = ARCHITECTURES[name]()
    length = target_of(name)
    once = extend_config(config, context_length=length)
    twice = extend_config(once, context_length=length)
    assert twice.rope_parameters == once.rope_parameters
    once.save_pretrained(tmp_path)
    caplog.clear()
    loaded = AutoConfig.from_pretrained(tmp_path)
    again = extend_config(loaded, context_length=2 * length)
    direct = extend_config(config, context_length=2 * length)
    assert again.rope_parameters == direct.rope_parameters
    assert f"counts again from the {config.max_position_embeddings} tokens" in caplog.text


def test_the_given_config_is_not_touched():
    config = ARCHITECTURES["gemma3"]()
    before = copy.deepcopy(config)
    extend_config(config, context_length=TARGET)
    assert config == before


def test_yarn_is_written_in_full_in_both_spellings(tmp_path):
    extend_config(LlamaConfig(**SIZES), context_length=TARGET).save_pretrained(tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    scaling = {
        "rope_type": "yarn",
        "factor": 7.0,
        "original_max_position_embeddings": 64,
        "attention_factor": pytest.approx(1.1945910149055313, rel=1e-15),
    }
    assert written["rope_parameters"] == {"rope_theta": 10000.0, **scaling}
    assert written["rope_scaling"] == scaling
    assert written["rope_theta"] == 10000.0
    assert written["max_position_embeddings"] == TARGET
    assert isinstance(written["max_position_embeddings"], int)
    assert written["lsw_context"] == {
        "method": "yarn",
        "max_position_embeddings": TARGET,
        "window": 64,
        "original_max_position_embeddings": 64,
        "original_rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    }


def test_factor_base_and_attention_factor_can_be_overridden():
    extended = extend_config(
        LlamaConfig(**SIZES), context_length=TARGET, factor=14, rope_theta=20_000, attention_factor=1.5
    )
    assert extended.rope_parameters == {
        "rope_type": "yarn",
        "rope_theta": 20_000.0,
        "factor": 14.0,
        "attention_factor": 1.5,
        "original_max_position_embeddings": 64,
    }
    assert extended.max_position_embeddings == TARGET


def test_makers_options_survive_a_further_extension_of_the_same_type():
    config = ARCHITECTURES["llama31"]()
    config.rope_parameters["high_freq_factor"] = 8.0
    assert extend_config(config, context_length=1024, method="llama3").rope_parameters["high_freq_factor"] == 8.0
    assert extend_config(config, context_length=1024).rope_parameters == {**config.rope_parameters, "factor": 16.0}
    yarn = LlamaConfig(**{**SIZES, "max_position_embeddings": 128})
    yarn.rope_parameters = {
        "rope_type": "yarn",
        "rope_theta": 1e4,
        "factor": 2.0,
        "original_max_position_embeddings": 64,
        "truncate": False,
        "beta_fast": 16.0,
    }
    extended = extend_config(yarn, context_length=256).rope_parameters
    assert (extended["truncate"], extended["beta_fast"], extended["factor"]) == (False, 16.0, 4.0)


def test_gemma3_keeps_its_local_layers(build):
    model = build("gemma3")
    local = model.model.rotary_emb.sliding_attention_inv_freq.clone()
    reaching = model.model.rotary_emb.full_attention_inv_freq.clone()
    extend_context(model, context_length=TARGET, method="linear")
    assert torch.equal(model.model.rotary_emb.sliding_attention_inv_freq, local)
    assert torch.equal(model.model.rotary_emb.full_attention_inv_freq, reaching / 7)


def test_an_attention_temperature_keeps_its_length():
    config = ARCHITECTURES["longskywork"]()
    config.attention_temperature_slope = 0.3
    assert config.temperature_length() == 64
    extended = extend_config(config, context_length=TARGET, method="ntk")
    assert extended.temperature_length() == 64


def test_stale_tables_of_phi3_are_forgotten(build, logits_of, input_ids):
    """Its second table is computed on the first long input and kept; an extension must not keep the old one."""
    model = build("phi3")
    logits_of(model)
    logits_of(model, torch.cat([input_ids, input_ids], dim=1))  # beyond the original window
    pairs = [1.0, 2.0, 3.0, 4.0]
    extend_context(model, context_length=TARGET, method="longrope", rope_factors=pairs)
    fresh = build(extend_config(ARCHITECTURES["phi3"](), context_length=TARGET, method="longrope", rope_factors=pairs))
    long_ids = torch.cat([input_ids, input_ids], dim=1)
    assert torch.equal(logits_of(model, long_ids), logits_of(fresh, long_ids))


def test_bfloat16_models_keep_float32_tables_and_cast_models_are_repaired(build):
    model = build("llama").to(torch.bfloat16)
    assert model.model.rotary_emb.inv_freq.dtype == torch.bfloat16  # what a cast does to a stock model
    extend_context(model, context_length=TARGET)
    expected = build(extend_config(LlamaConfig(**SIZES), context_length=TARGET)).model.rotary_emb.inv_freq
    assert torch.equal(model.model.rotary_emb.inv_freq, expected)
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_models_in_other_number_types_come_back_bit_equal(dtype, build, logits_of, tmp_path):
    model = extend_context(build("qwen3").to(dtype), context_length=TARGET)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype).eval()
    assert loaded.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(logits_of(loaded), logits_of(model))
    assert verify_context(tmp_path, model).difference == 0.0


@pytest.mark.parametrize("name", ["llama", "phi3"])
def test_configs_are_extended_inside_a_meta_context(name):
    expected = extend_config(ARCHITECTURES[name](), context_length=TARGET)
    with torch.device("meta"):
        assert extend_config(ARCHITECTURES[name](), context_length=TARGET).rope_parameters == expected.rope_parameters


def test_meta_models_stay_on_meta():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SIZES))
    extend_context(model, context_length=TARGET)
    assert model.model.rotary_emb.inv_freq.device.type == "meta"
    assert model.model.rotary_emb.rope_type == "yarn"


def test_device_maps_keep_their_hooks(build, logits_of, tmp_path):
    build("llama").save_pretrained(tmp_path)
    mapped = AutoModelForCausalLM.from_pretrained(tmp_path, device_map={"": "cpu"}).eval()
    from accelerate.hooks import ModelHook, add_hook_to_module

    rotary = mapped.model.rotary_emb
    add_hook_to_module(rotary, ModelHook())
    extend_context(mapped, context_length=TARGET)
    assert mapped.model.rotary_emb is rotary
    assert isinstance(rotary._hf_hook, ModelHook)
    assert torch.equal(
        logits_of(mapped), logits_of(build(extend_config(build("llama").config, context_length=TARGET)))
    )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT 0.21 asks for it
def test_towers_that_see_keep_their_own_rotation(logits_of):
    seen = {"depth": 1, "embed_dim": 16, "hidden_size": 48, "num_heads": 2}
    sections = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]}
    config = Qwen2VLConfig(
        text_config={**SIZES, "num_key_value_heads": 1, "rope_parameters": sections}, vision_config=seen
    )
    torch.manual_seed(3)
    model = AutoModelForImageTextToText.from_config(config).eval()
    tower = model.model.visual.rotary_pos_emb.inv_freq.clone()
    before = logits_of(model)
    extend_context(model, context_length=TARGET)
    assert torch.equal(model.model.visual.rotary_pos_emb.inv_freq, tower)
    assert not torch.equal(logits_of(model), before)
    assert verify_context(model=model).rope_type == "yarn"


def test_a_base_kept_in_a_field_of_its_own_follows():
    """A few classes of transformers 5 declare `rope_theta` beside `rope_parameters`."""
    config = LlamaConfig(**SIZES)
    config.rope_theta = config.rope_parameters["rope_theta"]
    extended = extend_config(config, context_length=TARGET, method="ntk")
    assert extended.rope_theta == extended.rope_parameters["rope_theta"] > 10_000.0
    assert extend_config(extended, context_length=TARGET, method="ntk").rope_parameters == extended.rope_parameters


def test_peft_models_are_extended_inside(build, logits_of):
    from peft import LoraConfig, get_peft_model

    wrapped = get_peft_model(build("qwen2"), LoraConfig(target_modules=["q_proj"], r=2))
    assert extend_context(wrapped, context_length=TARGET) is wrapped
    # a fresh adapter adds nothing
    assert torch.equal(logits_of(wrapped), logits_of(extend_context(build("qwen2"), context_length=TARGET)))


def test_generation_length_follows_only_where_it_was_the_window(build):
    model = build("llama")
    model.generation_config.max_length = 64
    assert extend_context(model, context_length=TARGET).generation_config.max_length == TARGET
    other = build("llama")
    other.generation_config.max_length = 20
    assert extend_context(other, context_length=TARGET).generation_config.max_length == 20


def test_tokenizer_length_is_saved(tiny_tokenizer, tmp_path):
    tokenizer = extend_tokenizer(copy.deepcopy(tiny_tokenizer), 4096)
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 4096


def test_a_window_of_attention_is_announced(caplog):
    local = MistralConfig(**{**SIZES, "num_key_value_heads": 1}, sliding_window=32)
    assert extend_config(local, context_length=TARGET).lsw_context["method"] == "none"
    assert "method 'none' for this mistral: every layer sees 32 tokens" in caplog.text
    caplog.clear()
    extend_config(ARCHITECTURES["gemma2"](), context_length=TARGET)
    assert caplog.text == ""


def test_the_extended_config_copies_compares_and_pickles(tmp_path):
    extended = extend_config(ARCHITECTURES["qwen3"](), context_length=TARGET)
    for twin in (copy.deepcopy(extended), pickle.loads(pickle.dumps(extended))):
        assert twin == extended
        twin.rope_parameters["rope_theta"] = 77.0
        for config, theta in ((twin, 77.0), (extended, 10_000.0)):
            config.save_pretrained(tmp_path)
            assert json.loads((tmp_path / "config.json").read_text())["rope_theta"] == theta
    fields = set(ARCHITECTURES["qwen3"]().to_dict()) | {"lsw_context"}
    assert set(extended.to_dict()) == set(json.loads(extended.to_json_string(use_diff=False))) == fields
