"""Extensions of models whose makers already scaled them: the rules one by one, against formulas written here."""

from __future__ import annotations

import math

import pytest
import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Cohere2Config,
    DeepseekV3Config,
    HunYuanDenseV1Config,
    Olmo3Config,
)
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from benchmarks.context_zoo import ARCHITECTURES, SIZES
from lsw_hf.context.adapters.saving import load_adapter, save_adapter
from lsw_hf.context.checkpoint import extend_checkpoint
from lsw_hf.context.extension import extend_config, extend_context
from lsw_hf.context.search import search_rope_factors
from lsw_hf.context.suggestion import suggest_context
from lsw_hf.context.verification import verify_context
from lsw_hf.hub.rope_facts import reader_notes
from tests.context.scaled_models import llama, long_table

LLAMA31 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def attention(config):
    return LlamaRotaryEmbedding(config).attention_scaling


def stretched_by_hand(table, method, ratio, window):
    """Each pair by itself, after the formulas of `composition.py`."""
    pairs, found = len(table), []
    for index, value in enumerate(table.tolist()):
        turns = window * value / (2 * math.pi)
        if method == "linear":
            kept = 0.0
        elif method in ("ntk", "abf"):
            base = ratio ** (2 * pairs / (2 * pairs - 2)) * (2.0 if method == "abf" else 1.0)
            found.append(value * base ** (-2 * index / (2 * pairs)))
            continue
        elif method == "yarn":
            kept = min(1.0, max(0.0, math.log(turns) / math.log(32)))
        else:
            kept = min(1.0, max(0.0, (turns - 1) / 3))
        found.append(value * kept + value / ratio * (1 - kept))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("method", ["linear", "ntk", "abf", "yarn"])
def test_another_type_goes_on_from_the_table_in_force(method):
    config = llama(131_072, dict(LLAMA31))
    extended = extend_config(config, context_length=3 * 131_072, method=method)
    expected = stretched_by_hand(long_table(config), method, 3.0, 131_072)
    torch.testing.assert_close(long_table(extended), expected, rtol=1e-6, atol=0)
    rope = extended.rope_parameters
    assert (rope["rope_type"], rope["factor"]) == ("longrope", 24.0)
    assert rope["short_factor"] == rope["long_factor"]
    assert attention(extended) == pytest.approx(0.1 * math.log(3) + 1 if method == "yarn" else 1.0)


@pytest.mark.parametrize("method", ["linear", "ntk", "abf", "yarn", "llama3", "longrope"])
def test_phi3_goes_on_from_its_long_factors(method):
    factors = [1.0 + 0.35 * pair for pair in range(24)]
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 24, "long_factor": factors,
            "original_max_position_embeddings": 4096}  # fmt: skip
    config = llama(131_072, rope, head_dim=48)
    extended = extend_config(config, context_length=262_144, method=method)
    expected = stretched_by_hand(long_table(config), "yarn" if method == "longrope" else method, 2.0, 131_072)
    torch.testing.assert_close(long_table(extended), expected, rtol=1e-6, atol=0)
    before, after = attention(config), attention(extended)
    warmer = {"yarn": before * (0.1 * math.log(2) + 1), "longrope": math.sqrt(1 + math.log(64) / math.log(4096))}
    assert after == pytest.approx(warmer.get(method, before))


@pytest.mark.parametrize("method", ["auto", "linear"])
def test_the_same_linear_scales_its_factor(method):
    config = llama(131_072, {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0})
    extended = extend_config(config, context_length=262_144, method=method)
    assert extended.rope_parameters == {"rope_type": "linear", "rope_theta": 1e6, "factor": 16.0}


def test_a_larger_base_keeps_linear_in_force():
    config = llama(131_072, {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0})
    extended = extend_config(config, context_length=262_144, method="ntk")
    assert (extended.rope_parameters["rope_type"], extended.rope_parameters["factor"]) == ("linear", 8.0)
    torch.testing.assert_close(
        long_table(extended), stretched_by_hand(long_table(config), "ntk", 2.0, 0), rtol=1e-6, atol=0
    )


def test_llama_32_keeps_a_factor_larger_than_its_ratio():
    """The factor was 32 for a ratio of 16: an extension by half again multiplies what is there."""
    config = llama(131_072, {**LLAMA31, "factor": 32.0})
    for target, factor in ((131_072, 32.0), (196_608, 48.0), (262_144, 64.0)):
        assert extend_config(config, context_length=target).rope_parameters == {**LLAMA31, "factor": factor}
    with pytest.raises(ValueError, match=r"'llama3' would turn \d+ of 64 pairs up to 1.33 times faster than in the"):
        extend_config(config, context_length=196_608, method="llama3", factor=24.0)
    with pytest.raises(ValueError, match="would leave the slowest pair as it is"):
        extend_config(config, context_length=262_144, method="llama3", factor=32.0)


def test_an_explicit_attention_factor_stays_at_every_length():
    rope = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 8192,
            "attention_factor": 1.5, "beta_fast": 24.0, "truncate": False, "finetuned": True}  # fmt: skip
    for target in (65_536, 131_072):
        extended = extend_config(llama(65_536, dict(rope)), context_length=target)
        assert extended.rope_parameters == {**rope, "factor": 8.0 * target / 65_536}
    chosen = extend_config(llama(65_536, dict(rope)), context_length=131_072, attention_factor=1.25)
    assert chosen.rope_parameters["attention_factor"] == 1.25


def test_a_derived_attention_factor_follows_the_factor():
    rope = {"rope_type": "yarn", "rope_theta": 5e5, "factor": 8.0, "original_max_position_embeddings": 8192}
    extended = extend_config(llama(65_536, dict(rope)), context_length=131_072)
    assert extended.rope_parameters["attention_factor"] == pytest.approx(0.1 * math.log(16) + 1)
    quotient = extend_config(llama(65_536, {**rope, "mscale": 1.0, "mscale_all_dim": 1.0}), context_length=131_072)
    assert quotient.rope_parameters["attention_factor"] == 1.0


def test_a_window_left_at_the_original_length_is_read_as_the_cards_mean_it(caplog):
    """Qwen's cards: factor 4, original 32,768, and a window that nobody changed."""
    rope = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 32_768}
    for window in (32_768, 40_960):  # Qwen2.5's and Qwen3's
        for target, factor in ((65_536, 4.0), (131_072, 4.0), (262_144, 8.0)):
            extended = extend_config(llama(window, dict(rope)), context_length=target)
            assert (extended.rope_parameters["factor"], extended.max_position_embeddings) == (factor, target)
            again = extend_config(extended, context_length=262_144)
            assert again.rope_parameters["factor"] == 8.0
    assert "the yarn scaling of this llama was made for 131072 tokens already" in caplog.text
    within = extend_config(llama(32_768, dict(rope)), context_length=65_536, method="abf")
    assert within.lsw_context["method"] == "none"


def test_vicunas_window_after_scaling_is_read_where_its_files_keep_it():
    config = llama(4096, {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0})
    config.max_sequence_length = 16_384
    for target, factor in ((16_384, 4.0), (32_768, 8.0)):
        assert extend_config(config, context_length=target).rope_parameters["factor"] == factor


def test_a_given_original_length_may_not_contradict_the_configuration():
    with pytest.raises(ValueError, match=r"contradicts this configuration, which says original_max_.*=8192"):
        extend_config(llama(131_072, dict(LLAMA31)), context_length=262_144, original_context_length=131_072)
    extend_config(llama(131_072, dict(LLAMA31)), context_length=262_144, original_context_length=8192)


def test_dynamic_is_plain_within_its_window_and_none_is_refused():
    config = llama(4096, {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0})
    plain = llama(4096, {"rope_type": "default", "rope_theta": 1e4})
    for method in ("auto", "linear", "ntk", "yarn"):
        extended = extend_config(config, context_length=16_384, method=method)
        assert extended.rope_parameters == extend_config(plain, context_length=16_384, method=method).rope_parameters
    with pytest.raises(ValueError, match="'none' is refused for 'llama': its 'dynamic' frequencies begin to change"):
        extend_config(config, context_length=16_384, method="none")
    found = suggest_context(config, 16_384)
    assert found.recommended == "yarn"
    assert [row.method for row in found.candidates] == ["linear", "ntk", "abf", "yarn", "llama3"]


@pytest.mark.parametrize("method", ["auto", "linear", "abf", "yarn", "llama3"])
def test_hunyuans_alpha_is_a_base(method):
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "alpha": 50.0, "factor": 1.0}
    config = HunYuanDenseV1Config(**{**SIZES, "max_position_embeddings": 4096}, head_dim=16, rope_parameters=rope)
    before, after = (
        AutoModelForCausalLM.from_config(each).model.rotary_emb.inv_freq
        for each in (config, extend_config(config, context_length=16_384, method=method))
    )
    assert (after <= before * (1 + 1e-6)).all()
    torch.testing.assert_close(
        after[-1] * (8 if method == "abf" else 4), before[-1], rtol=0.2 if method == "abf" else 1e-5, atol=0
    )


def test_a_number_inside_the_scores_follows_the_saved_files_only(build):
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64,
            "mscale": 1.0, "mscale_all_dim": 1.0}  # fmt: skip
    config = DeepseekV3Config(
        vocab_size=97, hidden_size=48, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, n_routed_experts=4, n_group=1, topk_group=1,
        num_experts_per_tok=2,
        q_lora_rank=8, kv_lora_rank=8, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8, first_k_dense_replace=1,
        max_position_embeddings=256, rope_parameters=rope, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"took its scale from mscale_all_dim when it was built.*`lsw-hf extend`"):
        extend_context(build(config), context_length=512)
    extended = extend_config(config, context_length=512)
    assert extended.rope_parameters["factor"] == 8.0
    scale = build(extended).model.layers[0].self_attn.scaling
    assert scale == pytest.approx(16**-0.5 * (0.1 * math.log(8) + 1) ** 2)


def test_only_the_global_layers_change_and_the_reason_is_recorded_where_none_does(build):
    olmo = Olmo3Config(
        **{**SIZES, "max_position_embeddings": 512, "num_key_value_heads": 1}, sliding_window=32,
        layer_types=["sliding_attention", "full_attention"],
        rope_scaling={"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 64},
    )  # fmt: skip
    extended = extend_config(olmo, context_length=1024)
    assert extended.rope_parameters["full_attention"]["factor"] == 16.0
    assert extended.rope_parameters["sliding_attention"] == olmo.rope_parameters["sliding_attention"]
    assert "reason" not in extended.lsw_context


def test_the_reason_for_none_is_said_in_the_report_and_the_card(build, tmp_path):
    config = Cohere2Config(
        **{**SIZES, "num_hidden_layers": 4, "num_key_value_heads": 1}, sliding_window=16, layer_types=None
    )
    build(config).save_pretrained(tmp_path / "base")
    assert suggest_context(config, 448).recommended == "none"
    report = extend_checkpoint(tmp_path / "base", tmp_path / "long", context_length=448)
    reason = "only 3 of the 4 attention layers rotate, and these see 16 tokens however long the text is"
    assert report.context_length == 448
    assert any(reason in note for note in report.notes)
    extended = AutoConfig.from_pretrained(tmp_path / "long")
    assert extended.rope_parameters == config.rope_parameters
    assert any(reason in note for note in reader_notes(extended))
    with pytest.raises(
        ValueError, match="'yarn' would only slow down local layers of this 'cohere2': only 3 of the 4"
    ):
        extend_config(config, context_length=448, method="yarn")


def test_the_search_stays_below_what_is_in_force(build, tmp_path):
    model = build("llama31")
    before = model.model.rotary_emb.inv_freq.clone()
    batch = {"input_ids": torch.randint(3, 97, (1, 1024), generator=torch.Generator().manual_seed(3))}
    found = search_rope_factors(model, [batch], context_length=1024, budget=6, progress=False)
    extend_context(model, context_length=1024, method="longrope", rope_factors=found.rope_factors)
    assert (model.model.rotary_emb.inv_freq <= before * (1 + 1e-6)).all()


def test_adapters_of_a_composed_extension_come_back(build, tmp_path):
    from peft import LoraConfig, get_peft_model

    model = extend_context(build("llama31"), context_length=1024, method="yarn")
    save_adapter(get_peft_model(model, LoraConfig(target_modules=["q_proj"])), tmp_path)
    loaded = load_adapter(tmp_path, build("llama31"))
    assert torch.equal(loaded.base_model.model.model.rotary_emb.inv_freq, model.model.rotary_emb.inv_freq)
    assert verify_context(tmp_path, loaded).ok


def test_a_record_without_a_window_goes_on_from_what_is_in_force():
    """As extensions of scaled models were recorded before the window was."""
    config = extend_config(llama(131_072, dict(LLAMA31)), context_length=262_144, method="llama3")
    del config.lsw_context["window"]
    assert extend_config(config, context_length=524_288).rope_parameters["factor"] == 32.0
    plain = extend_config(ARCHITECTURES["llama"](), context_length=448)
    del plain.lsw_context["window"]
    assert extend_config(plain, context_length=896).rope_parameters["factor"] == 14.0


def test_another_method_than_the_first_may_not_undo_it():
    first = extend_config(ARCHITECTURES["llama"](), context_length=448, method="linear")
    with pytest.raises(ValueError, match=r"'yarn' would turn .* faster than in the model being extended, whose"):
        extend_config(first, context_length=512, method="yarn")
    assert extend_config(first, context_length=512, method="linear").rope_parameters["factor"] == 8.0


def test_a_field_left_over_from_another_program_switches_nothing_off():
    """The published files of Cohere 2 say `position_embedding_type: rope_gptj`, which their class does not read."""
    config = Cohere2Config(
        **{**SIZES, "num_key_value_heads": 1}, position_embedding_type="rope_gptj", sliding_window=16
    )
    assert config.position_embedding_type == "rope_gptj"
    assert extend_config(config, context_length=448).lsw_context["method"] == "none"


def test_layers_without_an_entry_have_no_positions():
    if not hasattr(transformers, "BeamConfig"):
        pytest.skip("no class of this transformers gives one kind of layer no entry at all")
    config = transformers.BeamConfig()
    assert [key for key, entry in config.rope_parameters.items() if entry] == ["sliding_attention"]
    extended = extend_config(config, context_length=2 * config.max_position_embeddings)
    assert extended.lsw_context["method"] == "none"
    assert "attention layers rotate, and these see" in extended.lsw_context["reason"]
    assert extended.rope_parameters == config.rope_parameters


def test_of_two_factors_the_slower_one_counts():
    """Phi-3-mini's short factors are larger than the long ones for the first pairs: neither input may turn faster."""
    short, long = [1.05, 1.1, 1.25, 1.4] * 6, [1.03, 1.2, 2.0, 4.0] * 6
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": short, "long_factor": long,
            "original_max_position_embeddings": 4096}  # fmt: skip
    model = AutoModelForCausalLM.from_config(llama(131_072, rope, head_dim=48))
    before = model.model.rotary_emb.original_inv_freq.clone(), long_table(model.config)
    extend_context(model, context_length=262_144)
    after = model.model.rotary_emb.inv_freq
    assert all((after <= table * (1 + 1e-6)).all() for table in before)
    assert verify_context(model=model).ok
