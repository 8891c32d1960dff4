"""What cannot be extended is refused by name, before anything changes."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BloomConfig,
    BltConfig,
    FalconConfig,
    GPT2Config,
    GPTJConfig,
    GraniteMoeHybridConfig,
    LlamaConfig,
    MambaConfig,
    PreTrainedConfig,
    Zamba2Config,
)

from benchmarks.context_zoo import ARCHITECTURES, SIZES
from lsw_hf.context.adapters.saving import merge_adapter
from lsw_hf.context.extension import extend_config, extend_context, extend_tokenizer
from lsw_hf.context.verification import restore_rotary, verify_context

TARGET = 448


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
        (
            GraniteMoeHybridConfig(),
            "'granitemoehybrid' .*switches the rotary embedding off .position_embedding_type=None",
        ),
        (Zamba2Config(), "'zamba2' cannot be extended: its configuration switches .* off .use_mem_rope=False"),
        (BltConfig(), "'blt' does not say the size of a head: its configuration has neither head_dim nor"),
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
        ({"context_length": np.int64(448)}, TypeError, r"must be an int .tokens., got np.int64.448.. Pass int"),
        ({"context_length": 10**30}, ValueError, "is beyond 16,777,216 tokens: positions are multiplied in float32"),
        ({"original_context_length": 65}, ValueError, "must lie between 2 and the model's window of 64 tokens"),
        ({"original_context_length": 0}, ValueError, "original_context_length=0 must lie between 2 and"),
        ({"original_context_length": 32.0}, TypeError, "original_context_length must be an int .tokens., got 32.0"),
        ({"method": ["yarn"]}, TypeError, r"method must be a name, got ..yarn... Use 'auto', 'linear'"),
        ({"method": "longrope", "rope_factors": "12345678"}, TypeError, "rope_factors must be a list of 8 numbers"),
        ({"method": "longrope", "rope_factors": {"a": 1}}, TypeError, "rope_factors must be a list of 8 numbers"),
        ({"context_length": 32}, ValueError, "context_length=32 would shrink the window of 64 tokens"),
        ({"method": "dynamic"}, ValueError, "'dynamic' is refused: its frequencies depend on the longest position"),
        ({"method": "proportional"}, ValueError, "'proportional' is refused: it describes an architecture"),
        (
            {"method": "rope++"},
            ValueError,
            "unknown method 'rope.+'. Use 'auto', 'linear', 'ntk', 'abf', 'yarn'",
        ),
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


def test_factors_may_come_as_a_tensor(build):
    model = extend_context(
        build("llama"), context_length=TARGET, method="longrope", rope_factors=torch.linspace(1, 8, 8)
    )
    assert model.config.rope_parameters["long_factor"] == [float(number) for number in range(1, 9)]


@pytest.mark.parametrize(
    "function", [restore_rotary, lambda model: verify_context(model=model)], ids=["restore", "verify"]
)
def test_what_is_no_model_is_refused_everywhere(function):
    for given, name in ((torch.nn.Linear(1, 1), "Linear"), ("path", "str"), (LlamaConfig(**SIZES), "LlamaConfig")):
        with pytest.raises(TypeError, match=f"model must be a transformers model with a config, got {name}. Load one"):
            function(given)


def test_wrong_kinds_of_objects_are_refused():
    with pytest.raises(TypeError, match="tokenizer must be a transformers tokenizer, got NoneType"):
        extend_tokenizer(None, 448)
    with pytest.raises(TypeError, match="there is no adapter to merge"):
        merge_adapter(torch.nn.Linear(1, 1))
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


def test_a_missing_original_length_is_asked_for(caplog):
    config = LlamaConfig(
        **{**SIZES, "max_position_embeddings": 256},
        rope_parameters={"rope_type": "yarn", "factor": 4.0, "rope_theta": 10_000.0},
    )
    # transformers takes the window for the original length, so what runs was made for four windows
    assert extend_config(config, context_length=512).rope_parameters["factor"] == 4.0
    assert "was made for 1024 tokens already" in caplog.text
    assert "than 256 tokens, pass it as original_context_length" in caplog.text
    extended = extend_config(config, context_length=512, original_context_length=64)
    assert extended.rope_parameters["factor"] == 8.0
    assert extended.rope_parameters["original_max_position_embeddings"] == 64


def test_an_edited_or_contradicted_record_is_refused():
    extended = extend_config(LlamaConfig(**SIZES), context_length=TARGET)
    with pytest.raises(ValueError, match="original_context_length=128 contradicts the recorded original length 64"):
        extend_config(extended, context_length=TARGET, original_context_length=128)
    extended.max_position_embeddings = 1000
    with pytest.raises(
        ValueError, match="was extended to 448 tokens and edited afterwards to max_position_embeddings=1000"
    ):
        extend_config(extended, context_length=2 * TARGET)


@pytest.mark.parametrize(
    "record", ["yarn", {"method": "yarn", "max_position_embeddings": TARGET}], ids=["text", "cut"]
)
def test_a_record_edited_by_hand_is_refused(record, build):
    extended = extend_config(LlamaConfig(**SIZES), context_length=TARGET)
    extended.lsw_context = record
    with pytest.raises(
        ValueError, match=r"the record `lsw_context` of this configuration (is 'yarn'|lacks original_max)"
    ):
        extend_config(extended, context_length=2 * TARGET)
    with pytest.raises(ValueError, match="so nothing says where its extension started"):
        verify_context(model=build(extended))


def test_a_model_whose_config_was_edited_is_not_extended_from_the_edit(build):
    """The edit has no effect on what runs; an extension of it would count from a base the weights never saw."""
    model = build("gemma3")
    model.config.rope_parameters["full_attention"]["rope_theta"] = 3e5
    with pytest.raises(
        ValueError, match=r"edited after .* built.*\n- model\.rotary_emb\[full_attention\]\.inv_freq differs"
    ):
        extend_context(model, context_length=TARGET)
    assert model.config.max_position_embeddings == 64
    extend_context(restore_rotary(model), context_length=TARGET)
    assert model.config.rope_parameters["full_attention"]["rope_theta"] == 3e5


@pytest.mark.parametrize("dtypes", [(torch.float16,), (torch.bfloat16,), (torch.bfloat16, torch.float32)])
def test_a_cast_is_no_edit(dtypes, build):
    model = build("llama")
    for dtype in dtypes:
        model.to(dtype)
    assert verify_context(model=extend_context(model, context_length=TARGET)).ok


@pytest.mark.parametrize(
    "options",
    [
        {"method": "abf", "rope_theta": 1e300},
        {"method": "yarn", "rope_theta": 1e60},
        {"method": "longrope", "rope_factors": [1e-320] * 8},
        {"method": "longrope", "rope_factors": [1e300] * 8},
    ],
)
def test_numbers_beyond_float32_are_refused(options, build):
    model = build("llama")
    with pytest.raises(ValueError, match="leaves the range of float32: some pairs would not rotate"):
        extend_context(model, context_length=TARGET, **options)
    assert verify_context(model=model).context_length == 64


@pytest.mark.parametrize("method", ["ntk", "linear", "yarn"])
def test_a_factor_beyond_every_window_is_refused(method):
    with pytest.raises(ValueError, match=r"factor must be at most 16,777,216, as the window it is for, got 1e\+300"):
        extend_config(LlamaConfig(**SIZES), context_length=TARGET, method=method, factor=1e300)


def test_a_class_that_cannot_hold_the_change_keeps_its_config(build, monkeypatch):
    model = build("llama")
    before = copy.deepcopy(model.config)

    def fails(self, config, device=None):
        raise KeyError("of a class unknown here")

    monkeypatch.setattr(type(model.model.rotary_emb), "__init__", fails)
    with pytest.raises(KeyError, match="of a class unknown here"):
        extend_context(model, context_length=TARGET)
    assert model.config.to_dict() == before.to_dict()


@pytest.mark.parametrize("key", ["mscale_all_dim", "llama_4_scaling_beta"])
def test_scales_inside_attention_layers_are_refused(key):
    """They are read from the yarn dictionary: yarn keeps them, another type would lose them."""
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 32}
    config = LlamaConfig(**SIZES)
    config.rope_parameters = {**yarn, key: 0.7}
    with pytest.raises(ValueError, match=f"'llama' scales its attention by {key}=0.7, which belongs to its 'yarn'"):
        extend_config(config, context_length=TARGET, method="linear")
    assert extend_config(config, context_length=TARGET).rope_parameters[key] == 0.7


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
    phimoe = PhimoeConfig(sliding_window=None)
    with pytest.raises(ValueError, match="'phimoe' configurations accept only the rope types default; method 'yarn'"):
        extend_config(phimoe, context_length=1 << 20, method="yarn")
    assert extend_config(phimoe, context_length=1 << 20).lsw_context["method"] == "ntk"
    assert extend_config(phimoe, context_length=1 << 20, method="ntk").max_position_embeddings == 1 << 20


def test_a_bug_of_older_transformers_is_not_walked_into(monkeypatch):
    monkeypatch.setattr("lsw_hf.context.guarantees.transformers.__version__", "5.20.3")
    with pytest.raises(ValueError, match=r"transformers 5\.20\.3 fails on the second long input .* at least 5\.21"):
        extend_config(ARCHITECTURES["gemma3"](), context_length=TARGET, method="longrope", rope_factors=[7.0] * 12)


def test_a_config_loaded_from_a_file_that_says_two_things_is_refused(build, tmp_path):
    """Transformers takes the older spelling, silently; the object in memory shows no trace of the other."""
    extend_config(LlamaConfig(**SIZES), context_length=TARGET).save_pretrained(tmp_path)
    build(LlamaConfig(**SIZES)).save_pretrained(tmp_path / "model")
    for folder, changes in (
        (tmp_path, {"rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
        (tmp_path / "model", {"rope_theta": 77.0}),
    ):
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        loaded = AutoConfig.from_pretrained(folder)
        with pytest.raises(ValueError, match=r"config\.json was loaded, and is ambiguous:\n- config"):
            extend_config(loaded, context_length=2 * TARGET)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="delete one of the two spellings, and load it again"):
        extend_context(model, context_length=TARGET)
