"""The older spelling: derived from the newer one, never in contradiction with it."""

from __future__ import annotations

import json

import pytest
from transformers import AutoConfig, Gemma3Config, LlamaConfig, Trainer, TrainingArguments

from benchmarks.context_zoo import ARCHITECTURES, SIZES
from lsw_hf.context.extension import extend_config, extend_context
from lsw_hf.context.transformers4.config_files import keep_legacy_rope, legacy_rope_fields, write_legacy_rope
from lsw_hf.context.transformers4.spelling import legacy_losses


def test_an_unscaled_type_has_a_base_and_no_scaling():
    parameters = {"rope_type": "default", "rope_theta": 5e5}
    fields = legacy_rope_fields({"model_type": "llama", "rope_parameters": parameters})
    assert fields == {"rope_theta": 5e5, "rope_scaling": None}


def saved(name, folder, **kwargs):
    extend_config(ARCHITECTURES[name](), context_length=448, **kwargs).save_pretrained(folder)
    return json.loads((folder / "config.json").read_text())


def test_partial_rotation_and_neox_names_are_kept(tmp_path):
    config = saved("gpt_neox", tmp_path, method="ntk")
    base = config["rope_parameters"]["rope_theta"]
    assert (config["rope_theta"], config["rotary_emb_base"]) == (base, base)
    assert (config["partial_rotary_factor"], config["rotary_pct"]) == (0.25, 0.25)


def test_gemma3_has_a_global_and_a_local_base(tmp_path):
    config = saved("gemma3", tmp_path, method="linear")
    assert config["rope_theta"] == 1_000_000.0
    assert config["rope_local_base_freq"] == 10_000.0
    assert config["rope_scaling"] == {"rope_type": "linear", "factor": 7.0}


def test_phi3_has_its_three_keys_where_they_say_everything(tmp_path):
    factors = [1.0, 2.0, 3.0, 4.0]
    plain = saved("phi3", tmp_path, method="longrope", rope_factors=factors)
    assert plain["rope_scaling"] == {"type": "longrope", "short_factor": factors, "long_factor": factors}
    warm = saved("phi3", tmp_path, method="longrope", rope_factors=factors, attention_factor=2.0)
    # more than three keys: transformers 4 stops with an error instead of deriving another attention factor
    assert warm["rope_scaling"]["attention_factor"] == 2.0


def test_a_multimodal_config_has_them_in_its_text_part(tmp_path):
    config = Gemma3Config(text_config=ARCHITECTURES["gemma3"]().to_dict())
    extend_config(config, context_length=448).save_pretrained(tmp_path)
    text = json.loads((tmp_path / "config.json").read_text())["text_config"]
    assert text["rope_scaling"]["factor"] == 7.0
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert loaded.text_config.max_position_embeddings == 448
    assert loaded.text_config.rope_parameters["full_attention"]["factor"] == 7.0


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "gpt2"},
        {"model_type": "llama", "rope_parameters": {"rope_type": "yarn", "factor": 2.0}},
        {"model_type": "other", "rope_parameters": {"full_attention": {"rope_theta": 1e6}}},
    ],
    ids=lambda config: config["model_type"],
)
def test_nothing_is_written_where_there_is_no_older_spelling(config):
    assert legacy_rope_fields(config) == {}


def test_sections_of_a_model_that_sees_are_kept():
    sections = {"rope_type": "default", "mrope_section": [1, 2, 3]}
    parameters = {"rope_theta": 1e6, "type": "mrope", **sections}
    fields = legacy_rope_fields({"model_type": "qwen2_vl_text", "rope_parameters": parameters})
    assert fields == {"rope_theta": 1e6, "rope_scaling": sections}


NESTED = {"full_attention": {"rope_type": "default", "rope_theta": 5e5}}
SCALED = {"rope_type": "linear", "rope_theta": 5e5, "factor": 4.0}


@pytest.mark.parametrize(
    ("model_type", "parameters", "fields", "loss"),
    [
        ("olmo3", {**NESTED, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}, {}, "has one base"),
        ("gemma3_text", {**NESTED, "sliding_attention": SCALED}, {}, "computes unscaled tables for sliding layers"),
        (
            "modernbert-decoder",
            {"full_attention": SCALED, "sliding_attention": NESTED["full_attention"]},
            {"global_rope_theta": 5e5, "local_rope_theta": 5e5},
            "scales all layers or none, so no scaling is written",
        ),
        (
            "modernbert",
            {"full_attention": SCALED, "sliding_attention": {**SCALED, "rope_theta": 1e4}},
            {"rope_scaling": {"rope_type": "linear", "factor": 4.0}, "local_rope_theta": 1e4},
            None,
        ),
        ("nemotron", SCALED, {"rope_theta": 5e5}, "does not read rope_scaling: it computes plain RoPE"),
        ("olmo2", SCALED, {"rope_scaling": {"type": "linear", "factor": 4.0}}, None),
        ("olmo2", {**SCALED, "rope_type": "llama3"}, {}, "of the scalings it knows linear, dynamic, not llama3"),
        ("llama4_text", SCALED, {}, "of the scalings it knows llama3, not linear"),
        ("hunyuan_v1_dense", {**SCALED, "rope_type": "dynamic"}, {}, "needs alpha"),
        ("gemma4_text", {**NESTED, "sliding_attention": SCALED}, {}, "does not know 'gemma4_text'"),
        ("a_class_of_its_own", SCALED, {"rope_theta": 5e5}, None),
    ],
)
def test_what_transformers_4_cannot_say_is_said(model_type, parameters, fields, loss):
    config = {"model_type": model_type, "rope_parameters": parameters}
    assert fields.items() <= legacy_rope_fields(config).items()
    losses = legacy_losses(config)
    assert [loss in found for found in losses] == ([True] if loss else [])


def test_words_for_layers_that_transformers_4_does_not_know_are_said():
    config = {"model_type": "granitemoehybrid", "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    assert legacy_losses({**config, "layer_types": ["attention", "mamba"]}) == []
    assert "stops with an error" in legacy_losses({**config, "layer_types": ["full_attention"]})[0]


def test_longrope_changes_its_factors_at_one_length_for_all_readers():
    """Transformers 4 looks for that length beside the dictionary, and takes the window where it finds none."""
    parameters = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "factor": 4.0,
        "attention_factor": 1.2,
        "original_max_position_embeddings": 16,
        "short_factor": [1.0],
        "long_factor": [2.0],
    }
    config = {"model_type": "llama", "max_position_embeddings": 64, "rope_parameters": parameters}
    assert legacy_rope_fields(config)["original_max_position_embeddings"] == 16
    static = {**parameters, "short_factor": [2.0]}
    assert "original_max_position_embeddings" not in legacy_rope_fields({**config, "rope_parameters": static})
    derived = {key: value for key, value in parameters.items() if key != "attention_factor"}
    assert legacy_losses({**config, "rope_parameters": derived}) == []
    other = legacy_losses({**config, "rope_parameters": {**derived, "factor": 2.0}})
    assert "derives the attention factor" in other[0]


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
    loaded.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["rope_scaling"]["factor"] == 7.0


def test_a_plain_trainer_resumes_an_extended_model_and_its_result_has_both_spellings(build, tmp_path):
    """A checkpoint with the older spelling stops the resume; the final model has it."""
    rows = [{"input_ids": list(range(3, 30)), "labels": list(range(3, 30))}] * 4

    def trainer(steps):
        args = TrainingArguments(
            output_dir=str(tmp_path), max_steps=steps, save_steps=1, report_to=[], use_cpu=True, disable_tqdm=True
        )
        return Trainer(extend_context(build("llama"), context_length=448), args, train_dataset=rows)

    trainer(1).train()
    assert "rope_scaling" not in json.loads((tmp_path / "checkpoint-1" / "config.json").read_text())
    resumed = trainer(2)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    assert resumed.state.global_step == 2
    resumed.save_model()
    assert json.loads((tmp_path / "config.json").read_text())["rope_scaling"]["factor"] == 7.0
    write_legacy_rope(tmp_path / "checkpoint-1")
    with pytest.raises(AttributeError, match="max_position_embeddings"):
        trainer(2).train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))


def test_a_folder_without_config_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no config\.json\. Give the folder of a saved model"):
        write_legacy_rope(tmp_path)
