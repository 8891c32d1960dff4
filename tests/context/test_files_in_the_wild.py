"""Spellings of a `config.json` that people have on their disks: read as transformers reads them, or refused truly."""

from __future__ import annotations

import json

import pytest
from transformers import AutoConfig, GPTNeoXConfig
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from lsw_hf.cli import main
from lsw_hf.context.architecture.text_part import set_field
from lsw_hf.context.checkpoint import extend_checkpoint
from lsw_hf.context.verification import verify_context

SIZES = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 8192,
}
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SIZES}
YARN = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 4096}
GEMMA3 = {
    **SIZES,
    "model_type": "gemma3_text",
    "architectures": ["Gemma3ForCausalLM"],
    "head_dim": 16,
    "sliding_window": 64,
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
}
QWEN2_VL = {
    **SIZES,
    "model_type": "qwen2_vl",
    "architectures": ["Qwen2VLForConditionalGeneration"],
    "rope_theta": 1e6,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "vision_config": {"depth": 1, "embed_dim": 32, "hidden_size": 64, "num_heads": 2},
}
OLMO3 = {
    **SIZES,
    "model_type": "olmo3",
    "architectures": ["Olmo3ForCausalLM"],
    "rope_theta": 500_000,
    "layer_types": ["sliding_attention", "full_attention"],
    "rope_scaling": {"attention_factor": 1.0693147180559945, **YARN},
}
TARGET = 16_384


@pytest.fixture
def written(tmp_path):
    def write(fields):
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(fields))
        return folder

    return write


READ = {
    "a base beside rope_parameters": ({**LLAMA, "rope_theta": 5e5, "rope_parameters": YARN}, 5e5, "yarn"),
    "a base alone": ({**LLAMA, "rope_theta": 5e5}, 5e5, "default"),
    "no base": ({**LLAMA, "rope_parameters": YARN}, 1e4, "yarn"),
    "type": ({**LLAMA, "rope_parameters": {**YARN, "type": "yarn", "rope_type": "yarn"}}, 1e4, "yarn"),
    "type alone": ({**LLAMA, "rope_scaling": {"type": "linear", "factor": 2.0}}, 1e4, "linear"),
    "null scaling": ({**LLAMA, "rope_scaling": None, "rope_parameters": {**YARN, "rope_theta": 5e5}}, 5e5, "yarn"),
    "null base": ({**LLAMA, "rope_theta": None, "rope_parameters": {**YARN, "rope_theta": 5e5}}, 5e5, "yarn"),
    "dynamic": ({**LLAMA, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, 1e4, "dynamic"),
    "defaults left out": (
        {
            **LLAMA,
            "rope_theta": 1e4,
            "rope_scaling": {"beta_fast": 32, "attention_factor": 1.0693147180559945, **YARN},
            "rope_parameters": {"rope_theta": 1e4, **YARN},
        },
        1e4,
        "yarn",
    ),
    "sections": (QWEN2_VL, 1e6, "default"),
    "two bases": (GEMMA3, 1e6, "default"),
    "one kind of layer": ({**GEMMA3, "layer_types": ["sliding_attention"] * 2}, 1e4, "default"),
    "layers of two kinds": (OLMO3, 5e5, "yarn"),
    "nothing": (LLAMA, 1e4, "default"),
}


@pytest.mark.parametrize("name", READ)
def test_a_file_is_verified_as_transformers_reads_it(name, written):
    fields, base, rope_type = READ[name]
    report = verify_context(written(fields))
    assert (report.rope_theta, report.rope_type, report.problems) == (base, rope_type, ())


@pytest.mark.parametrize("name", [name for name in READ if name not in ("one kind of layer", "type alone")])
def test_a_file_is_extended_and_both_spellings_are_written(name, written, tmp_path):
    fields, base, _ = READ[name]
    report = extend_checkpoint(written(fields), tmp_path / "long", context_length=TARGET)
    assert (report.rope_theta, report.context_length, report.notes) == (base, TARGET, ())
    raw = json.loads((tmp_path / "long" / "config.json").read_text())
    assert raw["rope_theta"] == base
    assert raw["rope_scaling"]["rope_type"] == "yarn"
    assert raw["rope_scaling"].get("mrope_section") == (fields.get("rope_scaling") or {}).get("mrope_section")
    again = extend_checkpoint(tmp_path / "long", tmp_path / "longer", context_length=2 * TARGET)
    assert again.original_length == report.original_length  # the record is found again


REFUSED = {
    "another base": (
        {**LLAMA, "rope_theta": 77.0, "rope_parameters": {**YARN, "rope_theta": 5e5}},
        r"rope_theta=77\.0 but rope_parameters means 500000\.0\n.*(delete one of)",
    ),
    "another scaling": (
        {**LLAMA, "rope_scaling": {**YARN, "factor": 4.0}, "rope_parameters": YARN},
        "contradicts itself: rope_scaling=.*",
    ),
    "more in one of them": (
        {**LLAMA, "rope_scaling": {**YARN, "beta_fast": 16.0}, "rope_parameters": YARN},
        "contradicts itself: rope_scaling=.*",
    ),
    "a text for a base": ({**LLAMA, "rope_theta": "5e5"}, "rope_theta is '5e5'. Write numbers, without quotes"),
    "a text for a factor": ({**LLAMA, "rope_scaling": {**YARN, "factor": "2"}}, "factor is '2'"),
    "a text for a window": ({**LLAMA, "max_position_embeddings": "8192"}, "expected int, got str"),
    "no base at all": ({**LLAMA, "rope_theta": None}, "rope_theta is None"),
    "no original length": (
        {**LLAMA, "rope_scaling": {**YARN, "original_max_position_embeddings": None}},
        "Look at this first: rope_scaling.original_max_position_embeddings is None",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_transformers_does_not_read_is_refused_by_field(name, written, tmp_path):
    fields, message = REFUSED[name]
    folder = written(fields)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        verify_context(folder)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        extend_checkpoint(folder, tmp_path / "long", context_length=TARGET)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_4_57_reads_otherwise_is_a_note(written, tmp_path):
    fields = {**LLAMA, "model_type": "nemotron", "architectures": ["NemotronForCausalLM"], "num_key_value_heads": 4}
    report = extend_checkpoint(written(fields), tmp_path / "long", context_length=TARGET)
    assert report.ok
    assert report.notes == (
        "'nemotron' of transformers 4.57 does not read rope_scaling: it computes plain RoPE with base 10000",
    )


def test_a_window_stays_under_the_name_that_the_file_uses():
    config = GPTNeoXConfig()
    config.attribute_map = {"max_position_embeddings": "seq_length"}
    for before, after in (
        ({"seq_length": 64}, {"seq_length": 128}),
        ({"max_position_embeddings": 64}, {"max_position_embeddings": 128}),
        ({}, {"seq_length": 128}),
        ({"seq_length": 64, "max_position_embeddings": 32}, {"seq_length": 128}),
    ):
        set_field(before, config, "max_position_embeddings", 128)
        assert before == after


def test_a_mapped_window_is_extended(written, tmp_path):
    fields = {
        "model_type": "dbrx",
        "architectures": ["DbrxForCausalLM"],
        "vocab_size": 97,
        "d_model": 64,
        "n_heads": 4,
        "n_layers": 1,
        "max_seq_len": 4096,
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
        "ffn_config": {"ffn_hidden_size": 32, "moe_num_experts": 2, "moe_top_k": 1},
    }
    extend_checkpoint(written(fields), tmp_path / "long", context_length=TARGET)
    raw = json.loads((tmp_path / "long" / "config.json").read_text())
    assert (raw["max_seq_len"], "max_position_embeddings" in raw) == (TARGET, False)


def test_the_command_extends_a_model_with_parts_and_what_surrounds_its_text(written, tmp_path, capsys):
    text = {key: value for key, value in GEMMA3.items() if key != "architectures"}
    fields = {
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "max_position_embeddings": 8192,
        "rope_theta": 77.0,
        "text_config": text,
    }
    words = ["--context-length", str(TARGET), "--output-dir", str(tmp_path / "long")]
    assert main(["extend", "--model", str(written(fields)), *words]) == 0
    assert "window: 16,384 tokens, 8,192 at pretraining" in capsys.readouterr().out
    raw = json.loads((tmp_path / "long" / "config.json").read_text())
    assert raw["text_config"]["max_position_embeddings"] == raw["max_position_embeddings"] == TARGET
    assert raw["rope_theta"] == 77.0  # it was never the text part's
    assert AutoConfig.from_pretrained(tmp_path / "long").text_config.max_position_embeddings == TARGET


@pytest.mark.skipif(
    "qwen2_5_omni_thinker" not in MODEL_MAPPING_NAMES, reason="this transformers has no class for the part alone"
)
def test_a_text_part_two_levels_deep_is_found(written, tmp_path):
    text = {
        "model_type": "qwen2_5_omni_text",
        **SIZES,
        "rope_theta": 1e6,
        "rope_scaling": {"mrope_section": [2, 3, 3]},
    }
    text["rope_scaling"]["rope_type"] = "default"
    thinker = {"model_type": "qwen2_5_omni_thinker", "text_config": text}
    fields = {"model_type": "qwen2_5_omni", "thinker_config": thinker}
    report = extend_checkpoint(written(fields), tmp_path / "long", context_length=TARGET)
    assert (report.ok, report.notes, report.context_length) == (True, (), TARGET)
    raw = json.loads((tmp_path / "long" / "config.json").read_text())
    assert raw["thinker_config"]["text_config"]["rope_scaling"]["mrope_section"] == [2, 3, 3]
    assert "rope_scaling" not in raw
