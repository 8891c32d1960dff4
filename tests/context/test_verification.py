"""Verification notices every way in which what is saved is not what runs."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, GPT2Config

from benchmarks.context_zoo import ARCHITECTURES
from lsw_hf.context.extension import extend_config, extend_context
from lsw_hf.context.live_rotary import compare_states, rotary_states
from lsw_hf.context.verification import restore_rotary, verify_context

TARGET = 448


@pytest.fixture
def folder(build, tmp_path):
    extend_context(build("llama"), context_length=TARGET).save_pretrained(tmp_path)
    return tmp_path


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_report_says_what_is_in_force(folder):
    report = verify_context(folder)
    assert (report.rope_type, report.rope_theta, report.factor) == ("yarn", 10_000.0, 7.0)
    assert (report.context_length, report.original_length) == (TARGET, 64)
    assert report.attention_factor == pytest.approx(0.1 * math.log(7) + 1)
    slowest = 10_000.0 ** (-14 / 16) / 7
    assert report.longest_wavelength == pytest.approx(2 * math.pi / slowest, rel=1e-6)
    assert (report.problems, report.notes, report.ok) == ((), (), True)
    assert report.to_markdown().splitlines()[0] == "- window: 448 tokens, 64 at pretraining"


def test_an_untouched_model_verifies(build, tmp_path):
    model = build("gemma3")
    model.save_pretrained(tmp_path)
    report = verify_context(tmp_path, model)
    assert report.ok
    assert report.original_length == 0
    assert "lacks" in report.notes[0]  # a plain save of transformers 5 has no older spelling


def test_a_config_edited_after_loading_is_noticed_and_can_be_made_true(folder, logits_of):
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    before = logits_of(model)
    model.config.rope_parameters = {**model.config.rope_parameters, "rope_theta": 1e6}
    assert torch.equal(logits_of(model), before)  # the edit would be saved, and does not run
    with pytest.raises(ValueError, match=r"model\.rotary_emb\.inv_freq differs from its configuration by up to \d"):
        verify_context(model=model)
    restore_rotary(model)
    assert verify_context(model=model).rope_theta == 1e6
    assert not torch.equal(logits_of(model), before)


def test_a_cast_of_the_whole_model_is_noticed_and_repaired(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.to(torch.bfloat16)
    report = verify_context(folder, model, raise_on_mismatch=False)
    assert "inv_freq is torch.bfloat16" in report.problems[0]
    restore_rotary(model)
    assert verify_context(folder, model).difference == 0.0


def test_another_attention_factor_and_another_length_are_noticed(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.model.rotary_emb.attention_scaling = 1.0
    model.config.max_position_embeddings = 500
    problems = verify_context(folder, model, raise_on_mismatch=False).problems
    assert any("attention_scaling is 1.0 live and 1.19" in problem for problem in problems)
    assert "max_position_embeddings is 500 live and 448 saved" in problems


def test_a_live_model_that_is_not_the_saved_one_is_noticed(folder, build):
    other = extend_context(build("llama"), context_length=TARGET, method="linear")
    with pytest.raises(ValueError, match="what is saved is not what runs"):
        verify_context(folder, other)


def test_files_that_contradict_themselves_are_refused(folder):
    edit(folder, rope_theta=5e5)
    with pytest.raises(
        ValueError, match=r"contradicts itself: rope_theta=500000\.0 but rope_parameters means 10000\.0"
    ):
        verify_context(folder)
    edit(folder, rope_theta=10_000.0, rope_scaling={"rope_type": "linear", "factor": 7.0})
    with pytest.raises(ValueError, match="contradicts itself: rope_scaling="):
        verify_context(folder)


def test_missing_older_spelling_and_unread_types_are_noted(folder):
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    del raw["rope_scaling"], raw["rope_theta"]
    path.write_text(json.dumps(raw))
    report = verify_context(folder)
    assert report.ok
    assert "lacks rope_theta, rope_scaling: transformers 4 will read it as another model" in report.notes[0]
    pairs = [7.0] * 8
    config = extend_config(ARCHITECTURES["llama"](), context_length=TARGET, method="longrope", rope_factors=pairs)
    config.save_pretrained(folder)
    assert verify_context(folder).notes == ("rope type 'longrope': llama.cpp answers nonsense with it",)


def test_a_model_on_meta_has_nothing_to_compare(folder):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(extend_config(ARCHITECTURES["llama"](), context_length=TARGET))
    with pytest.raises(ValueError, match="is on the meta device"):
        verify_context(folder, model)


def test_a_window_edited_in_the_file_is_noticed(folder):
    edit(folder, max_position_embeddings=1000)
    with pytest.raises(
        ValueError, match="extended to 448 tokens and edited afterwards to max_position_embeddings=1000"
    ):
        verify_context(folder)


def test_folders_that_hold_no_model_are_refused_by_name(build, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere has no readable configuration.*is not a folder here"):
        verify_context("some/nowhere")
    with pytest.raises(ValueError, match=r"has no config\.json\. Give the folder of a saved model"):
        verify_context(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"contains an adapter without lsw_context\.json: nothing says which"):
        verify_context(tmp_path, build("llama"))


def test_different_architectures_are_noticed(folder, build):
    with pytest.raises(ValueError, match=r"has tables that .* does not describe"):
        verify_context(folder, extend_context(build("qwen3"), context_length=TARGET))


def test_nothing_to_verify_is_refused(tmp_path):
    with pytest.raises(ValueError, match="needs a path_or_id, a model, or both"):
        verify_context()
    GPT2Config(n_layer=1, n_embd=8, n_head=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'gpt2' cannot be extended"):
        verify_context(tmp_path)


def test_a_model_of_one_kind_of_layer_is_described_by_it(build, tmp_path):
    for kind, base in (("sliding_attention", 10_000.0), ("full_attention", 1_000_000.0)):
        config = ARCHITECTURES["gemma3"]()
        config.layer_types = [kind] * 2
        model = build(config)
        model.save_pretrained(tmp_path)
        assert verify_context(tmp_path, model).rope_theta == base
        assert extend_config(config, context_length=1024, method="none").max_position_embeddings == 1024


def test_pairs_that_do_not_turn_are_no_division(build):
    """Gemma 4's proportional type leaves most pairs of its full layers still."""
    model = build(ARCHITECTURES["llama"]())
    table = model.model.rotary_emb.inv_freq
    state = rotary_states(model.model.rotary_emb)[0]
    still = replace(state, inv_freq=torch.cat([table, torch.zeros(3)]))
    assert still.longest_wavelength == state.longest_wavelength
    assert replace(state, inv_freq=torch.zeros(3)).longest_wavelength == math.inf
    assert compare_states(still, still, "x") == (0.0, [])
    moved = replace(still, inv_freq=still.inv_freq + torch.tensor([0.0] * 10 + [1e-9]))
    for one, other in ((still, moved), (moved, still)):
        difference, problems = compare_states(one, other, "x")
        assert difference == 1.0
        assert "pair 10" in problems[0]


def test_a_gemma_4_verifies(tmp_path):
    config = CONFIG_MAPPING["gemma4_text"](
        vocab_size=97,
        hidden_size=48,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        layer_types=["sliding_attention", "full_attention"],
        vocab_size_per_layer_input=97,
        hidden_size_per_layer_input=0,
    )
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    report = verify_context(tmp_path, model)
    assert report.ok
    assert (report.rope_type, report.difference) == ("proportional", 0.0)
    assert math.isfinite(report.longest_wavelength)


def test_a_dynamic_model_that_has_read_a_long_text_still_verifies(build, input_ids):
    config = ARCHITECTURES["llama"]()
    config.rope_parameters = {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 2.0}
    model = build(config)
    model(input_ids)
    assert verify_context(model=model).ok
    model = build(config)
    model.model.rotary_emb.inv_freq.mul_(2)
    assert not verify_context(model=model, raise_on_mismatch=False).ok
