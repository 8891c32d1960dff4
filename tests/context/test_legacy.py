"""The older spelling: derived from the newer one, never in contradiction with it."""

from __future__ import annotations

import json

import pytest
from transformers import AutoConfig, LlamaConfig

from benchmarks.context_zoo import ARCHITECTURES, SIZES
from lsw_hf.context.extension import extend_config
from lsw_hf.context.legacy import keep_legacy_rope, legacy_rope_fields, write_legacy_rope


def test_an_unscaled_type_has_a_base_and_no_scaling():
    parameters = {"rope_type": "default", "rope_theta": 5e5}
    fields = legacy_rope_fields({"model_type": "llama", "rope_parameters": parameters})
    assert fields == {"rope_theta": 5e5, "rope_scaling": None}


def test_partial_rotation_and_neox_names_are_kept():
    config = extend_config(ARCHITECTURES["gpt_neox"](), context_length=448, method="ntk").to_dict()
    base = config["rope_parameters"]["rope_theta"]
    assert (config["rope_theta"], config["rotary_emb_base"]) == (base, base)
    assert (config["partial_rotary_factor"], config["rotary_pct"]) == (0.25, 0.25)


def test_gemma3_has_a_global_and_a_local_base():
    config = extend_config(ARCHITECTURES["gemma3"](), context_length=448, method="linear").to_dict()
    assert config["rope_theta"] == 1_000_000.0
    assert config["rope_local_base_freq"] == 10_000.0
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 7.0}


def test_phi3_has_its_three_keys_where_they_say_everything():
    factors = [1.0, 2.0, 3.0, 4.0]
    plain = extend_config(ARCHITECTURES["phi3"](), context_length=448, method="longrope", rope_factors=factors)
    assert plain.to_dict()["rope_scaling"] == {"type": "longrope", "short_factor": factors, "long_factor": factors}
    warm = extend_config(
        ARCHITECTURES["phi3"](), context_length=448, method="longrope", rope_factors=factors, attention_factor=2.0
    )
    # more than three keys: transformers 4 stops with an error instead of deriving another attention factor
    assert warm.to_dict()["rope_scaling"]["attention_factor"] == 2.0


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gpt2"},
        {"model_type": "qwen2_vl", "rope_parameters": {"rope_theta": 1e6, "mrope_section": [1, 2, 3]}},
        {"model_type": "other", "rope_parameters": {"full_attention": {"rope_theta": 1e6}}},
    ],
    ids=lambda config: config["model_type"],
)
def test_nothing_is_written_where_there_is_no_older_spelling(config):
    assert legacy_rope_fields(config) == {}


def test_a_plain_save_after_a_reload_can_be_completed(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    extend_config(LlamaConfig(**SIZES), context_length=448).save_pretrained(first)
    written = json.loads((first / "config.json").read_text())
    AutoConfig.from_pretrained(first).save_pretrained(second)
    assert "rope_scaling" not in json.loads((second / "config.json").read_text())  # what transformers 5 does
    assert write_legacy_rope(second)
    completed = json.loads((second / "config.json").read_text())
    assert {key: completed[key] for key in ("rope_theta", "rope_scaling")} == {
        key: written[key] for key in ("rope_theta", "rope_scaling")
    }
    assert not write_legacy_rope(second)
    assert sorted(path.name for path in second.iterdir()) == ["config.json"]


def test_a_loaded_config_can_keep_the_fields_itself(tmp_path):
    extend_config(LlamaConfig(**SIZES), context_length=448).save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    keep_legacy_rope(loaded)
    assert loaded.to_dict()["rope_scaling"]["factor"] == 7.0


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no config\.json\. Give the folder of a saved model"):
        write_legacy_rope(tmp_path)
