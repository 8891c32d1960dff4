"""Extension of configurations and live models, over every architecture and method."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    GPT2Config,
    GPTJConfig,
    LlamaConfig,
    MambaConfig,
    PreTrainedConfig,
)

from benchmarks.context_zoo import ARCHITECTURES, ORIGINAL_LENGTH, SIZES
from lsw_hf.context.architecture import find_layout
from lsw_hf.context.extension import extend_config, extend_context, extend_tokenizer
from lsw_hf.context.verification import verify_context

TARGET = 448  # seven times the original length
METHODS = ("linear", "ntk", "abf", "yarn", "llama3", "longrope", "none")


def options(config, method):
    if method != "longrope":
        return {}
    pairs = find_layout(copy.deepcopy(config)).rotary_dim // 2
    return {"rope_factors": [1.0 + 0.7 * index for index in range(pairs)]}


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
    again = extend_config(loaded, context_length=2 * length, method="ntk")
    direct = extend_config(config, context_length=2 * length, method="ntk")
    assert again.rope_parameters == direct.rope_parameters
    assert f"counts from {ORIGINAL_LENGTH} again" in caplog.text


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
    assert "high_freq_factor" not in extend_config(config, context_length=1024).rope_parameters
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
def test_peft_models_are_extended_inside(build, logits_of):
    from peft import LoraConfig, get_peft_model

    wrapped = get_peft_model(build("qwen2"), LoraConfig(target_modules=["q_proj"], r=2))
    assert extend_context(wrapped, context_length=TARGET) is wrapped
    # a fresh adapter adds nothing
    assert torch.equal(logits_of(wrapped), logits_of(extend_context(build("qwen2"), context_length=TARGET)))


def test_generation_length_follows_only_where_it_was_the_window(build):
    model = build("llama")
    model.generation_config.max_length = ORIGINAL_LENGTH
    assert extend_context(model, context_length=TARGET).generation_config.max_length == TARGET
    other = build("llama")
    other.generation_config.max_length = 20
    assert extend_context(other, context_length=TARGET).generation_config.max_length == 20


def test_tokenizer_length_is_saved(tiny_tokenizer, tmp_path):
    tokenizer = extend_tokenizer(copy.deepcopy(tiny_tokenizer), 4096)
    tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 4096


def test_a_window_of_attention_is_announced(caplog):
    extend_config(ARCHITECTURES["mistral"](), context_length=TARGET)
    assert "every layer of this mistral attends to 32 tokens" in caplog.text
    caplog.clear()
    extend_config(ARCHITECTURES["gemma2"](), context_length=TARGET)
    assert caplog.text == ""


def test_the_extended_config_copies_compares_and_pickles():
    extended = extend_config(ARCHITECTURES["qwen3"](), context_length=TARGET)
    for twin in (copy.deepcopy(extended), pickle.loads(pickle.dumps(extended))):
        assert twin == extended
        twin.rope_parameters["rope_theta"] = 77.0
        assert twin.to_dict()["rope_theta"] == 77.0
        assert extended.to_dict()["rope_theta"] == 10_000.0
    assert "to_dict" not in extended.to_dict()
    assert "to_dict" not in json.loads(extended.to_json_string())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BloomConfig(), "'bloom' cannot be extended: it uses ALiBi"),
        (
            FalconConfig(alibi=True, hidden_size=64, num_attention_heads=4),
            "'falcon' cannot be extended: it uses ALiBi",
        ),
        (MambaConfig(), "'mamba' cannot be extended: it is a state-space model"),
        (GPTJConfig(), "'gptj' cannot be extended: its rotary tables are fixed inside the attention layers"),
        (GPT2Config(), "'gpt2' cannot be extended: its configuration has no `rope_parameters`"),
    ],
    ids=lambda value: value.model_type if isinstance(value, PreTrainedConfig) else "",
)
def test_models_without_rotary_parameters_are_refused_by_name(config, message):
    with pytest.raises(ValueError, match=message):
        extend_config(config, context_length=8192)


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"context_length": 4096.0}, TypeError, "context_length must be an int .tokens., got 4096.0"),
        ({"context_length": True}, TypeError, "context_length must be an int"),
        ({"context_length": 32}, ValueError, "context_length=32 would shrink the window of 64 tokens"),
        ({"method": "dynamic"}, ValueError, "'dynamic' is refused: its frequencies depend on the longest position"),
        ({"method": "proportional"}, ValueError, "'proportional' is refused: it describes an architecture"),
        ({"method": "rope++"}, ValueError, "unknown method 'rope.+'. Use 'linear', 'ntk', 'abf', 'yarn', 'llama3'"),
        ({"method": "abf", "rope_theta": 0.5}, ValueError, "rope_theta must be above 1.0, got 0.5"),
        ({"method": "abf", "rope_theta": "1e6"}, TypeError, "rope_theta must be a finite number, got '1e6'"),
        ({"factor": 0.5}, ValueError, "factor must be at least 1.0, got 0.5"),
        ({"factor": float("inf")}, TypeError, "factor must be a finite number, got inf"),
        ({"attention_factor": 0.0}, ValueError, "attention_factor must be above 0.0, got 0.0"),
        ({"method": "ntk", "rope_theta": 5e5}, ValueError, "method 'ntk' does not take rope_theta.*linear, abf, yarn"),
        ({"method": "none", "factor": 2.0}, ValueError, "method 'none' does not take factor"),
        ({"method": "linear", "attention_factor": 1.1}, ValueError, "'linear' does not take attention_factor"),
        ({"rope_factors": [1.0]}, ValueError, "method 'yarn' does not take rope_factors.*longrope"),
        ({"method": "abf", "rope_theta": 5e5, "factor": 2.0}, ValueError, "takes rope_theta or factor, not both"),
        ({"method": "longrope"}, ValueError, "method 'longrope' needs rope_factors.*search_rope_factors"),
        ({"method": "longrope", "rope_factors": [1.0] * 7}, ValueError, "has 7 numbers; this head rotates 8 pairs"),
        ({"method": "longrope", "rope_factors": [1.0] * 7 + [0.0]}, ValueError, "must all be positive and finite"),
        ({"method": "longrope", "rope_factors": [1.0] * 7 + [float("nan")]}, ValueError, "positive and finite"),
    ],
)
def test_bad_arguments_are_refused_before_anything_changes(kwargs, error, message, build):
    model = build("llama")
    before = copy.deepcopy(model.config)
    for extend, subject in ((extend_config, model.config), (extend_context, model)):
        with pytest.raises(error, match=message):
            extend(subject, **{"context_length": TARGET, **kwargs})
    assert model.config == before


def test_wrong_kinds_of_objects_are_refused():
    with pytest.raises(TypeError, match="config must be a transformers `PreTrainedConfig`, got dict"):
        extend_config({"rope_theta": 1.0}, context_length=8)
    with pytest.raises(TypeError, match="model must be a transformers model with a config, got Linear"):
        extend_context(torch.nn.Linear(1, 1), context_length=8)


def test_a_model_without_a_known_rotary_module_is_refused(build):
    model = build("llama")
    model.model.rotary_emb = torch.nn.Identity()
    with pytest.raises(ValueError, match=r"LlamaForCausalLM \('llama'\) has no module named \*RotaryEmbedding"):
        extend_context(model, context_length=TARGET)


def test_a_stale_rope_theta_attribute_is_refused():
    config = LlamaConfig(**SIZES)
    config.rope_theta = 1e6  # what many scripts do; the model ignores it
    with pytest.raises(ValueError, match=r"contradictory base: config.rope_theta is 1000000.0 but rope_parameters"):
        extend_config(config, context_length=TARGET)


def test_a_missing_original_length_is_asked_for():
    config = LlamaConfig(
        **{**SIZES, "max_position_embeddings": 256},
        rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 10_000.0},
    )
    with pytest.raises(ValueError, match=r"the original length is missing: rope type 'yarn' with factor 4\.0"):
        extend_config(config, context_length=512)
    extended = extend_config(config, context_length=512, original_context_length=64)
    assert extended.rope_parameters["factor"] == 8.0
    linear = LlamaConfig(**SIZES, rope_parameters={"rope_type": "linear", "factor": 4.0, "rope_theta": 10_000.0})
    with pytest.raises(ValueError, match="the original length is missing: rope type 'linear'"):
        extend_config(linear, context_length=512)


def test_an_edited_or_contradicted_record_is_refused():
    extended = extend_config(LlamaConfig(**SIZES), context_length=TARGET)
    with pytest.raises(ValueError, match="original_context_length=128 contradicts the recorded original length 64"):
        extend_config(extended, context_length=TARGET, original_context_length=128)
    extended.max_position_embeddings = 1000
    with pytest.raises(
        ValueError, match="was extended to 448 tokens and edited afterwards to max_position_embeddings=1000"
    ):
        extend_config(extended, context_length=2 * TARGET)


@pytest.mark.parametrize("key", ["mscale_all_dim", "llama_4_scaling_beta"])
def test_scales_inside_attention_layers_are_refused(key):
    config = LlamaConfig(**SIZES)
    config.rope_parameters[key] = 0.7
    with pytest.raises(ValueError, match=f"'llama' applies {key}=0.7 inside its attention layers"):
        extend_config(config, context_length=TARGET)


def test_unknown_rope_types_layer_types_and_odd_heads_are_refused():
    config = LlamaConfig(**SIZES)
    config.rope_parameters["rope_type"] = "axial"
    with pytest.raises(ValueError, match="uses rope type 'axial', which has no extension rule"):
        extend_config(config, context_length=TARGET)
    nested = ARCHITECTURES["gemma3"]()
    nested.rope_parameters["other_attention"] = {"rope_type": "default", "rope_theta": 1e4}
    with pytest.raises(ValueError, match="exactly one that is not local"):
        extend_config(nested, context_length=TARGET)
    odd = ARCHITECTURES["gpt_neox"]()
    odd.rope_parameters["partial_rotary_factor"] = 0.2
    with pytest.raises(ValueError, match="rotates 3 of 16 head dimensions; an even number"):
        extend_config(odd, context_length=TARGET)


def test_models_with_more_than_one_window_or_base_are_refused_by_name():
    from transformers import GraniteSWAConfig, PhimoeConfig, RecurrentGemmaConfig

    with pytest.raises(ValueError, match="'recurrent_gemma' has no max_position_embeddings"):
        extend_config(RecurrentGemmaConfig(), context_length=1 << 20)
    with pytest.raises(ValueError, match="'granite_swa' has a base for each layer"):
        extend_config(GraniteSWAConfig(), context_length=1 << 20)
    with pytest.raises(ValueError, match="'phimoe' configurations hold only the rope types default; method 'yarn'"):
        extend_config(PhimoeConfig(), context_length=1 << 20)
    assert extend_config(PhimoeConfig(), context_length=1 << 20, method="ntk").max_position_embeddings == 1 << 20
