"""Odd numbers in makers' dictionaries: read as transformers reads them, or refused with the field named."""

from __future__ import annotations

import json

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, HunYuanDenseV1Config, LlamaConfig, PhimoeConfig

from benchmarks.context_zoo import SIZES
from lsw_hf.context.checkpoint import extend_checkpoint
from lsw_hf.context.extension import extend_config, extend_context
from lsw_hf.context.suggestion import suggest_context
from lsw_hf.context.transformers4.spelling import legacy_losses
from lsw_hf.context.verification import verify_context
from tests.context.scaled_models import llama, long_table

YARN = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 8192}
HUNYUAN = {"rope_type": "dynamic", "rope_theta": 1e4, "alpha": 1000.0, "factor": 1.0, "beta_fast": 32, "beta_slow": 1,
           "mscale": 1.0, "mscale_all_dim": 1.0}  # fmt: skip


@pytest.mark.parametrize(
    ("rope", "message"),
    [
        ({"rope_type": "linear", "factor": None, "rope_theta": 1e4}, "has factor=None in its rotary parameters"),
        ({"rope_type": "linear", "factor": 2.0, "rope_theta": None}, "has rope_theta=None in its rotary parameters"),
        ({"rope_type": "default", "rope_theta": 1.0}, "has rope_theta=1.0 .* it must be a number above 1"),
        ({"rope_type": "default", "rope_theta": "10000"}, "has rope_theta='10000' in its rotary parameters"),
        ({"rope_type": "llama3", "rope_theta": 1e4, "factor": -8.0}, "has factor=-8.0 .* a number above 0"),
    ],
)
def test_numbers_that_are_none_are_named(rope, message):
    config = LlamaConfig(**SIZES)
    config.rope_parameters = rope
    for work in (lambda: extend_config(config, context_length=448), lambda: suggest_context(config, 448)):
        with pytest.raises(ValueError, match=message):
            work()


def test_a_window_of_nothing_is_named():
    config = LlamaConfig(**SIZES)
    config.max_position_embeddings = 0
    with pytest.raises(ValueError, match="'llama' has a window of 0 tokens; it has at least 2"):
        extend_config(config, context_length=448)


def test_hunyuans_dictionary_as_published_is_no_scaling_of_scores(build):
    config = HunYuanDenseV1Config(**{**SIZES, "max_position_embeddings": 4096}, head_dim=16, rope_parameters=HUNYUAN)
    found = suggest_context(config, 8192)
    assert found.recommended == "ntk"
    assert [row.method for row in found.candidates] == ["none", "linear", "ntk", "abf", "yarn", "llama3"]
    before = build(config).model.rotary_emb.inv_freq
    for method in ("auto", "linear", "abf", "yarn", "llama3", "none"):
        extended = build(extend_config(config, context_length=8192, method=method))
        assert (extended.model.rotary_emb.inv_freq <= before * (1 + 1e-6)).all()


def test_alpha_means_nothing_to_other_classes():
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0, "alpha": 50.0}
    extended = extend_config(llama(4096, rope), context_length=8192)
    assert extended.lsw_context["method"] == "yarn"
    assert (extended.rope_parameters["rope_theta"], extended.rope_parameters["alpha"]) == (1e4, 50.0)


def test_longrope_on_top_of_another_type_needs_factors():
    with pytest.raises(ValueError, match="'longrope' needs rope_factors"):
        extend_config(llama(32_768, dict(YARN)), context_length=131_072, method="longrope")


def test_the_factor_in_force_never_shrinks():
    rope = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    with pytest.raises(ValueError, match=r"factor=1 is below the factor in force, linear, .*which never shrinks"):
        extend_config(
            llama(32_768, rope), context_length=65_536, method="longrope", rope_factors=[9.0] * 64, factor=1.0
        )


def test_a_number_that_replaces_the_attention_factor_is_not_passed_over():
    pairs = 16
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * pairs, "long_factor": [2.0] * pairs,
            "short_mscale": 1.2, "long_mscale": 1.2, "original_max_position_embeddings": 64}  # fmt: skip
    config = PhimoeConfig(
        **{**SIZES, "hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}, num_local_experts=2,
        sliding_window=None, rope_parameters=rope, original_max_position_embeddings=64,
    )  # fmt: skip
    config.max_position_embeddings = 256
    with pytest.raises(ValueError, match="'phimoe' multiplies cosine and sine by its own long_mscale and reads no"):
        extend_config(config, context_length=512, method="longrope", attention_factor=1.6)
    extended = extend_config(config, context_length=512)
    assert extended.rope_parameters["long_mscale"] == 1.2
    assert extended.lsw_context["method"] == "longrope"


def test_a_remedy_is_not_what_was_just_refused():
    plain = {"rope_type": "default", "rope_theta": 1e4}
    once = extend_config(llama(8192, plain), context_length=16_384, method="linear")
    with pytest.raises(ValueError, match=r"faster than in the model .* Use method 'linear' without further numbers"):
        extend_config(once, context_length=32_768, method="yarn")
    assert extend_config(once, context_length=32_768).rope_parameters["factor"] == 4.0


def test_a_pair_of_type_names_ends_as_one():
    rope = {"type": "yarn", "rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    written = extend_config(llama(8192, rope), context_length=16_384).rope_parameters
    assert (written["type"], written["rope_type"], written["factor"]) == ("linear", "linear", 8.0)


def test_one_method_that_is_refused_leaves_the_others_in_the_suggestion():
    """Every pair of these heads turns so often that YaRN and Llama 3's bands would change none."""
    plain = {"rope_type": "default", "rope_theta": 1000.0}
    config = LlamaConfig(**{**SIZES, "max_position_embeddings": 131_072}, head_dim=16, rope_parameters=plain)
    found = suggest_context(config, 262_144)
    assert [row.method for row in found.candidates] == ["none", "linear", "ntk", "abf"]
    assert suggest_context(config, 262_144, training="none").recommended == "ntk"
    assert "often enough" in suggest_context(config, 262_144).reason
    assert extend_config(config, context_length=262_144).lsw_context["method"] == "ntk"


def test_folders_of_models_with_heads_of_two_sizes_are_extended(tmp_path):
    if not hasattr(transformers, "Gemma4TextConfig"):
        pytest.skip("this transformers has no such class")
    config = transformers.Gemma4TextConfig(
        **{**SIZES, "num_hidden_layers": 2, "num_key_value_heads": 1, "max_position_embeddings": 512}, head_dim=16,
        global_head_dim=32, sliding_window=32, layer_types=["sliding_attention", "full_attention"],
        hidden_size_per_layer_input=0, vocab_size_per_layer_input=97,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "base")
    assert extend_checkpoint(tmp_path / "base", tmp_path / "long", context_length=1024).ok
    live = extend_context(model, context_length=1024)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "long")
    ids = torch.tensor([[5, 9, 3, 7]])
    assert torch.equal(live.eval()(ids).logits, saved.eval()(ids).logits)
    assert verify_context(tmp_path / "long", live).ok


def test_what_457_leaves_out_of_deepseek_v2s_scores_is_said():
    raw = {"model_type": "deepseek_v2", "rope_parameters": {**YARN, "mscale": 0.707, "mscale_all_dim": 0.707}}
    assert legacy_losses(raw) == ["'deepseek_v2' of transformers 4.57 does not scale its attention by mscale_all_dim"]
    assert legacy_losses({**raw, "rope_parameters": dict(YARN)}) == []


def test_the_factor_that_transformers_derives_is_reported(tmp_path):
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
            "original_max_position_embeddings": 64}  # fmt: skip
    config = LlamaConfig(**{**SIZES, "max_position_embeddings": 256}, rope_parameters=rope)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())["rope_parameters"]
    assert "factor" not in saved
    assert verify_context(tmp_path).factor == 4.0
    assert long_table(config).shape == (8,)
