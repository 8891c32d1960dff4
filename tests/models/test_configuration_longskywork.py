"""What a LongSkywork config accepts, refuses, writes, and promises to other programs."""

import json
import sys

import pytest
from transformers import AutoConfig

from lsw_hf.models import LongSkyworkConfig
from lsw_hf.models.configuration_longskywork import AUTO_MAP, ORIGINAL_LENGTH, standard_rope_parameters

YARN = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 4.0, "original_max_position_embeddings": 24}


def test_no_rope_parameters_mean_plain_rope():
    assert LongSkyworkConfig().rope_parameters == {"rope_type": "default", "rope_theta": 10_000.0}


@pytest.mark.parametrize(
    "spelling",
    [
        {"rope_parameters": YARN},
        {"rope_theta": 5e5, "rope_scaling": {key: value for key, value in YARN.items() if key != "rope_theta"}},
        {"rope_theta": 5e5, "rope_scaling": {"type": "yarn", **{k: YARN[k] for k in YARN if k != "rope_type"}}},
        {"rope_parameters": YARN, "rope_theta": 5e5, "rope_scaling": {"type": "yarn", **YARN}},
        {"rope_parameters": YARN, "rope_scaling": None, "rope_theta": None},
    ],
    ids=["new", "old", "old type", "all three", "new and nulls"],
)
def test_every_spelling_means_the_same(spelling, shape):
    assert LongSkyworkConfig(**shape, **spelling).rope_parameters == YARN


def test_legacy_ntk_is_plain_rope_with_a_larger_base():
    config = LongSkyworkConfig(rope_theta=10_000.0, rope_scaling={"type": "ntk", "factor": 4.0})
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": 40_000.0}


def test_the_config_file_says_the_numbers_in_both_spellings(tmp_path, rope, shape):
    config = LongSkyworkConfig(**shape, rope_parameters=rope)
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["rope_parameters"] == config.rope_parameters
    assert saved["rope_theta"] == config.rope_parameters["rope_theta"]
    if config.rope_parameters["rope_type"] == "default":
        assert saved["rope_scaling"] is None
    else:
        assert saved["rope_scaling"] | {"rope_theta": saved["rope_theta"]} == config.rope_parameters
    assert LongSkyworkConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


def test_an_edited_config_is_written_as_edited_in_both_spellings():
    config = LongSkyworkConfig(rope_theta=10_000.0)
    config.rope_parameters = {"rope_type": "default", "rope_theta": 7e6}
    assert config.to_dict()["rope_theta"] == 7e6
    config.rope_parameters = dict(YARN)
    assert config.to_dict()["rope_scaling"]["factor"] == 4.0


def test_an_edited_config_is_checked_again_before_it_is_saved(tmp_path):
    config = LongSkyworkConfig()
    config.rope_parameters = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}
    with pytest.raises(ValueError, match="needs original_max_position_embeddings"):
        config.save_pretrained(tmp_path)


def test_auto_map_is_complete_from_the_start():
    assert LongSkyworkConfig().auto_map == AUTO_MAP
    assert LongSkyworkConfig(auto_map={}).auto_map == AUTO_MAP


def test_auto_map_of_a_hub_model_keeps_its_repository_and_is_saved_without():
    config = LongSkyworkConfig(auto_map={"AutoConfig": "me/model--configuration_longskywork.LongSkyworkConfig"})
    assert config.auto_map["AutoModel"] == "me/model--modeling_longskywork.LongSkyworkModel"
    assert config.to_dict()["auto_map"] == AUTO_MAP


def test_auto_map_keeps_entries_of_others():
    tokenizer = [None, "me/model--tokenization.MyTokenizer"]
    assert LongSkyworkConfig(auto_map={"AutoTokenizer": tokenizer}).to_dict()["auto_map"]["AutoTokenizer"] == tokenizer


def test_the_package_registers_the_model_type():
    assert type(AutoConfig.for_model("longskywork")) is LongSkyworkConfig


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # PEFT 0.21 asks transformers 5.23 so
def test_peft_finds_the_default_targets_of_llama(make_model):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(make_model(), peft.LoraConfig(task_type="CAUSAL_LM"))
    assert sorted(model.base_model.targeted_module_names)[:2] == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.self_attn.v_proj",
    ]


def test_without_peft_nothing_is_imported_for_it(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "peft"]:
        monkeypatch.delitem(sys.modules, name)
    LongSkyworkConfig().to_dict()
    assert "peft" not in sys.modules


def test_the_temperature_starts_at_the_original_length_if_there_is_one(shape):
    assert LongSkyworkConfig(**shape).temperature_length() == 96
    assert LongSkyworkConfig(**shape, rope_parameters=YARN).temperature_length() == 24
    assert LongSkyworkConfig(**shape, rope_parameters=YARN, attention_temperature_length=7).temperature_length() == 7


LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 1e4,
    "original_max_position_embeddings": 24,
    "short_factor": [1.0] * 5,
    "long_factor": [1.0] * 5,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_attention_heads": 7}, r"hidden_size=60 is not a multiple of num_attention_heads=7"),
        ({"num_key_value_heads": 4}, r"num_attention_heads=6 is not a multiple of num_key_value_heads=4"),
        ({"num_attention_heads": 4, "num_key_value_heads": 4}, r"head_dim=15 is odd; RoPE turns pairs"),
        ({"head_dim": 9}, r"head_dim=9 is odd"),
        ({"vocab_size": 0}, r"vocab_size is 0; it must be at least 1"),
        ({"num_hidden_layers": -1}, r"num_hidden_layers is -1"),
        ({"max_position_embeddings": 0}, r"max_position_embeddings is 0"),
        ({"attention_temperature_slope": -0.1}, r"attention_temperature_slope=-0.1 would flatten attention"),
        ({"attention_temperature_length": 0}, r"attention_temperature_length=0; it must be at least 1 token"),
        ({"rope_parameters": {"rope_type": "spiral"}}, r"Unknown rope type 'spiral': LongSkywork knows default, lin"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, r"'dynamic' changes its frequencies with"),
        ({"rope_parameters": {"rope_type": "linear"}}, r"rope type 'linear' needs factor; got"),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}, r"'yarn' needs original_max_position_embeddings"),
        ({"rope_parameters": {**YARN, "gamma": 1}}, r"rope type 'yarn' does not know gamma; it takes attention_fac"),
        ({"rope_parameters": {**YARN, "factor": 0.5}}, r"factor=0.5 in rope type 'yarn'; it must be a number of at l"),
        ({"rope_parameters": {**YARN, "factor": "4"}}, r"factor='4' in rope type 'yarn'"),
        ({"rope_parameters": {**YARN, "factor": float("nan")}}, r"factor=nan in rope type 'yarn'"),
        ({"rope_parameters": {**YARN, "beta_slow": 40}}, r"beta_slow=40 must be below beta_fast=32"),
        ({"rope_theta": 1.0}, r"rope_theta=1.0; it is the base of the frequencies, a number above 1"),
        ({"rope_theta": "10000"}, r"rope_theta='10000'; it is the base"),
        ({"rope_parameters": YARN, "rope_theta": 1e4}, r"disagree about rope_theta: .* Give rope_parameters alone"),
        ({"rope_parameters": YARN, "rope_scaling": {"type": "linear", "factor": 4.0}}, r"disagree about rope_type"),
        ({"rope_scaling": {"type": "ntk", "rope_type": "yarn"}}, r"say two types: .* Keep rope_type, drop type"),
        ({"rope_scaling": {"type": "ntk", "factor": 2.0, "beta_fast": 3}}, r"'ntk' is a factor and nothing else"),
        ({"rope_scaling": {"type": "ntk"}}, r"'ntk' is a factor and nothing else"),
        ({"num_attention_heads": 0}, r"num_attention_heads is 0; it must be at least 1"),
        ({"intermediate_size": 0}, r"intermediate_size is 0"),
        ({"head_dim": -2}, r"head_dim is -2"),
        ({"hidden_act": "swoosh"}, r"hidden_act='swoosh' is no activation"),
        ({"rms_norm_eps": float("nan")}, r"rms_norm_eps=nan; it must be a number of at least 0"),
        ({"pad_token_id": 99}, r"pad_token_id=99 is not among the vocab_size=53 tokens"),
        ({"attention_temperature_slope": "0.1"}, r"attention_temperature_slope='0.1'; it must be a number"),
        ({"attention_temperature_slope": float("nan")}, r"attention_temperature_slope=nan; it must be a number"),
        ({"attention_temperature_slope": 10**400}, r"attention_temperature_slope=1000.*; it must be a number"),
        ({"attention_temperature_length": 1.5}, r"attention_temperature_length=1.5; it must be at least 1 token"),
        ({"auto_map": {"AutoConfig": 3}}, r"auto_map={'AutoConfig': 3}; it maps Auto classes to 'file.Class'"),
        ({"auto_map": ["x"]}, r"auto_map=\['x'\]; it maps Auto classes"),
        ({"rope_scaling": "ntk"}, r"rope_scaling='ntk'; it is a dictionary"),
        ({"rope_parameters": {"rope_type": ["yarn"]}}, r"Unknown rope type \['yarn'\]"),
        ({"rope_theta": float("inf")}, r"rope_theta=inf; it is the base"),
        (
            {"rope_scaling": {"type": "ntk", "factor": 0.5}},
            r"'ntk' multiplies rope_theta, above 1, by a factor of at l",
        ),
        ({"rope_scaling": {"type": "ntk", "factor": "4"}}, r"'ntk' multiplies rope_theta"),
        ({"rope_parameters": {**YARN, "factor": True}}, r"factor=True in rope type 'yarn'"),
        ({"rope_parameters": {**YARN, "factor": 10**400}}, r"factor=1000.* in rope type 'yarn'"),
        ({"rope_parameters": {**YARN, "attention_factor": 0}}, r"attention_factor=0 .* must be a number above 0"),
        ({"rope_parameters": {**YARN, "beta_fast": "a"}}, r"beta_fast='a' in rope type 'yarn'"),
        ({"rope_parameters": {**YARN, "mscale": "x"}}, r"mscale='x' in rope type 'yarn'"),
        ({"rope_parameters": {**YARN, "truncate": "no"}}, r"truncate='no' in rope type 'yarn'; it is true or false"),
        ({"rope_parameters": {**YARN, ORIGINAL_LENGTH: 1}}, r"original_max_position_embeddings=1 in .* at least 2"),
        ({"rope_parameters": {**LONGROPE, "short_factor": "abcde"}}, r"short_factor='abcde'; it is a list of numbers"),
        (
            {"rope_parameters": {**LONGROPE, "long_factor": [0.0] * 5}},
            r"long_factor=\[0.0, .*; it is a list of numbers",
        ),
        ({"rope_parameters": {**LONGROPE, "long_factor": [2.0] * 5}}, r"short_factor differs from long_factor"),
        (
            {"rope_parameters": {**LONGROPE, "short_factor": [1.0] * 4, "long_factor": [1.0] * 4}},
            r"long_factor has 4 numbers; head_dim=10 has 5 pairs",
        ),
        (
            {"rope_parameters": {**YARN, "rope_type": "llama3", "low_freq_factor": 4.0, "high_freq_factor": 1.0}},
            r"low_freq_factor=4.0 must be below high_freq_factor=1.0",
        ),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_what_cannot_be_built_is_refused_with_a_reason(changes, message, shape):
    with pytest.raises(ValueError, match=message):
        LongSkyworkConfig(**shape | changes)


def test_merging_spellings_leaves_its_arguments_alone():
    given = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 24}
    before = dict(given)
    standard_rope_parameters(None, given, 5e5)
    assert given == before
