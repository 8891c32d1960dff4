"""The card: whole, as rendered, against a golden file; each fact, each missing fact, each message."""

import math
import os
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from transformers import GPT2Config, LlamaConfig

from lsw_hf.context.extension import extend_config
from lsw_hf.hub.model_card import METADATA_FIELDS, TEMPLATE, build_model_card
from lsw_hf.models import LongSkyworkConfig

CARDS = Path(__file__).parent.parent.parent / "model_cards"


def grid(*cells):
    """A needle report's data from (length, depth, samples, correct)."""
    return {
        "accuracy": sum(correct / samples for _, _, samples, correct in cells) / len(cells),
        "cells": [
            {
                "context_length": length,
                "depth": depth,
                "samples": samples,
                "correct": correct,
                "accuracy": correct / samples,
            }
            for length, depth, samples, correct in cells
        ],
        "settings": {
            "task": "one fact among distractors",
            "chance": 0.015625,
            "questions_per_haystack": {"512": 1, "4096": 8},
        },
    }


BEFORE = grid((512, 0.0, 100, 99), (512, 1.0, 100, 100), (4096, 0.0, 100, 2), (4096, 1.0, 100, 61))
AFTER = grid((512, 0.0, 100, 99), (512, 1.0, 100, 100), (4096, 0.0, 2000, 1999), (4096, 1.0, 2000, 2000))
TRAINING = {
    "stages": [
        {
            "stage": "continual_pretraining",
            "data": "chunk-interleaved documents",
            "max_length": 2048,
            "steps": 150,
            "tokens": 614_400,
            "learning_rate": 1e-3,
            "final_loss": 1.23456,
            "seconds": 41.5,
            "source": "our choice",
        },
        {"stage": "sft", "data": "rows | with a bar", "steps": 60, "tokens": 122_880, "learning_rate": 5e-4},
        {"stage": "long_sft", "steps": 200, "tokens": 819_200, "source": "LongSkywork: 200 iterations"},
    ],
    "seed": 7,
    "versions": {"torch": "2.13.0", "transformers": "5.23.0"},
    "machine": {"system": "Linux", "cores": 2},
    "commit": "0123abc",
    "log": "not a fact of the card",
}


@pytest.fixture
def config():
    """A config of ours, 512 tokens extended to 8,192."""
    small = LongSkyworkConfig(
        vocab_size=64, hidden_size=24, num_attention_heads=3, num_hidden_layers=2, max_position_embeddings=512
    )
    return extend_config(small, context_length=8192, method="yarn", factor=32.0)


@pytest.fixture
def stock():
    """A stock Llama config with the given RoPE."""

    def build(**rope):
        return LlamaConfig(
            hidden_size=24,
            num_attention_heads=3,
            num_hidden_layers=2,
            max_position_embeddings=4096,
            rope_parameters={"rope_theta": 10000.0, **rope},
        )

    return build


def section(card, title):
    """The text between one heading and the next."""
    return card.content.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0].strip()


def example(config):
    return build_model_card(
        config,
        report=AFTER,
        report_before=BEFORE,
        training=TRAINING,
        base_model="someone/base-512",
        repo_id="someone/base-8k",
        language=["en", "zh"],
        license="apache-2.0",
        datasets=["someone/corpus"],
        tags=["demo"],
    )


def test_whole_card_is_the_golden_file(config):
    """After a wanted change: `LSW_HF_WRITE_GOLDEN=1 pytest tests/hub/test_model_card.py`, then read the difference."""
    rendered = str(example(config))
    golden = CARDS / "example.md"
    if os.environ.get("LSW_HF_WRITE_GOLDEN") == "1":
        golden.write_text(rendered, encoding="utf-8")
    assert rendered == golden.read_text(encoding="utf-8")


def test_whole_card_without_facts_is_the_golden_file(config):
    rendered = str(build_model_card(config))
    golden = CARDS / "example_without_facts.md"
    if os.environ.get("LSW_HF_WRITE_GOLDEN") == "1":
        golden.write_text(rendered, encoding="utf-8")
    assert rendered == golden.read_text(encoding="utf-8")


def test_the_template_shown_is_the_template_used():
    assert (CARDS / "template.md").read_text(encoding="utf-8") == TEMPLATE.read_text(encoding="utf-8")


def test_card_saves_and_loads_with_valid_metadata(config, tmp_path):
    example(config).save(tmp_path / "README.md")
    loaded = ModelCard.load(tmp_path / "README.md")
    assert loaded.data.base_model == "someone/base-512"
    assert loaded.data.model_name == "base-8k"
    assert [(result.dataset_config, result.metric_value) for result in loaded.data.eval_results] == [
        ("512", 99.5),
        ("4096", 99.9),
    ]
    metadata = yaml.safe_load((tmp_path / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert metadata["base_model_relation"] == "finetune"
    assert metadata["library_name"] == "transformers"
    assert metadata["pipeline_tag"] == "text-generation"
    assert metadata["tags"] == ["long-context", "rope", "yarn", "trl", "generated_from_trainer", "custom_code", "demo"]


def test_nothing_is_rounded_up(config):
    card = example(config)
    assert "| 4,096 | 31.5 | 99.9 | 99.9 | 4,000 |" in card.content
    almost = build_model_card(config, report=grid((64, 0.5, 3000, 2999)))
    assert "100.0" not in almost.content
    assert "99.9" in almost.content
    assert (
        "| 64 | not reported | 30.0 | 30.0 | 10 |" in build_model_card(config, report=grid((64, 0.5, 10, 3))).content
    )


def test_lengths_beyond_the_window_are_marked(config):
    card = build_model_card(config, report=grid((8192, 0.0, 10, 9), (16384, 0.0, 10, 1)))
    needle = section(card, "What it finds at each length")
    assert "| 16,384* |" in needle
    assert "| 8,192 |" in needle
    assert "`*`: longer than the window of 8,192 tokens." in needle
    assert "`*`" not in section(example(config), "What it finds at each length")


def test_untested_part_of_the_window_is_said(config):
    limits = section(example(config), "Limits")
    assert "Tested up to 4,096 tokens; between there and 8,192 nothing was measured." in limits
    assert "nothing was measured" not in build_model_card(config, report=grid((8192, 0.0, 10, 9))).content


def test_figure_can_be_left_out_or_named(config):
    assert "![" not in build_model_card(config, report=AFTER, figure=None).content
    assert "](grids/after.png)" in build_model_card(config, report=AFTER, figure="grids/after.png").content
    assert "![" not in build_model_card(config).content


def test_grid_with_holes_keeps_its_columns(config):
    needle = section(
        build_model_card(config, report=grid((64, 0.0, 2, 1), (128, 1.0, 2, 2))), "What it finds at each length"
    )
    assert "| 0.00 | 50.0 |  |\n| 1.00 |  | 100.0 |" in needle


def test_rope_numbers_are_the_configs(config):
    rope = section(build_model_card(config), "Context window")
    assert "| RoPE type | yarn |" in rope
    assert "| factor | 32 |" in rope
    assert "| original window (tokens) | 512 |" in rope
    assert "| window now (tokens) | 8,192 |" in rope
    assert f"| attention factor | {0.1 * math.log(32) + 1:.6g} |" in rope


@pytest.mark.parametrize(
    ("rope", "rows"),
    [
        ({"rope_type": "default"}, ["| RoPE type | default |", "| factor | none |", "| attention factor | 1 |"]),
        ({"rope_type": "linear", "factor": 4.0}, ["| factor | 4 |", "| original window (tokens) | not reported |"]),
        (
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024},
            [f"| attention factor | {0.1 * math.log(4) + 1:.6g} |", "| extension method | not reported |"],
        ),
        (
            {"rope_type": "longrope", "original_max_position_embeddings": 1024, "short_factor": [1.0] * 4}
            | {"long_factor": [2.0] * 4, "factor": 4.0},
            [f"| attention factor | {math.sqrt(1 + math.log(4) / math.log(1024)):.6g} |"],
        ),
    ],
)
def test_rope_of_a_stock_model(stock, rope, rows):
    content = section(build_model_card(stock(**rope)), "Context window")
    for row in rows:
        assert row in content


def test_a_new_base_alone_is_an_extension_with_a_name():
    config = LlamaConfig(hidden_size=24, num_attention_heads=3, max_position_embeddings=512)
    card = build_model_card(extend_config(config, context_length=4096, method="ntk"))
    assert "| RoPE type | default |\n| extension method | ntk |" in card.content
    assert "- ntk\n" in card.content


def test_kinds_of_layers_stand_side_by_side(stock):
    config = stock()
    config.rope_parameters = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    rope = section(build_model_card(config), "Context window")
    assert "|  | full_attention | sliding_attention |" in rope
    assert "| base (`rope_theta`) | 1,000,000 | 10,000 |" in rope
    assert "| factor | 8 | none |" in rope


def test_stock_model_loads_without_trust(stock):
    loading = section(build_model_card(stock(rope_type="default"), repo_id="me/m"), "Load it")
    assert 'from_pretrained("me/m", dtype="auto")' in loading
    assert "trust_remote_code" not in loading


def test_own_class_is_loaded_with_a_pinned_revision(config):
    loading = section(build_model_card(config), "Load it")
    assert 'from_pretrained("PATH_OR_ID", dtype="auto", trust_remote_code=True, revision="COMMIT")' in loading
    assert "pin the commit" in loading


def test_markup_in_facts_stays_text(config):
    training = {"stages": [{"stage": "a | b\nc <script>", "steps": 3, "tokens": None}]}
    assert "| a \\| b c &lt;script> | not reported |" in section(
        build_model_card(config, training=training), "How it was trained"
    )


def test_template_marks_in_facts_are_not_evaluated(config):
    card = build_model_card(config, training={"stages": [{"stage": "{{ 6 * 7 }}"}]})
    assert "{{ 6 * 7 }}" in card.content


def test_config_without_rope():
    with pytest.raises(ValueError, match="GPT2Config has no rope_parameters: it has no rotary positions"):
        build_model_card(GPT2Config())


@pytest.mark.parametrize("name", ["/home/someone/model", "./model", "a/b/c", "", "https://host/a"])
def test_local_paths_do_not_reach_readers(config, name):
    with pytest.raises(ValueError, match="base_model must be a Hub id such as 'org/model', got "):
        build_model_card(config, base_model=name)
    with pytest.raises(ValueError, match="repo_id must be a Hub id such as 'org/model', got "):
        build_model_card(config, repo_id=name)


def test_report_without_cells(config):
    with pytest.raises(ValueError, match=r"report has no cells\. Give NeedleReport\.to_dict\(\)"):
        build_model_card(config, report={"accuracy": 1.0})
    with pytest.raises(ValueError, match="report_before has no cells"):
        build_model_card(config, report=AFTER, report_before={"cells": []})


def test_unknown_field_names_the_nearest(config):
    with pytest.raises(
        TypeError, match=r"Unknown card field 'licence'\. Did you mean 'license'\? Fields are base_model_"
    ):
        build_model_card(config, licence="mit")


@pytest.mark.parametrize(
    "facts",
    [
        {"training": {"stages": [{"stage": "sft", "data": "hf_" + "a1" * 17}]}},
        {"training": {"commit": "hf_" + "a1" * 17}},
        {"tags": ["hf_" + "a1" * 17]},
        {"repo_id": "me/hf_" + "a1" * 17},
    ],
)
def test_tokens_never_reach_the_card(config, facts):
    with pytest.raises(ValueError, match=r"would contain an access token \(hf_\.\.\.\)\. Remove it"):
        build_model_card(config, **facts)


@pytest.mark.parametrize("name", METADATA_FIELDS)
def test_every_field_reaches_the_metadata(config, name):
    value = ["x"] if name in ("tags", "datasets", "language") else "finetune" if name == "base_model_relation" else "x"
    card = build_model_card(config, **{name: value})
    assert f"{name}:" in card.content.split("---\n")[1]
