"""The comparison of methods: its numbers by hand, its table whole."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import LlamaConfig, PhimoeConfig

from benchmarks.context_zoo import ARCHITECTURES
from lsw_hf.context.suggestion import rope_theta_lower_bound, suggest_context


def llama2():
    return LlamaConfig(hidden_size=256, num_attention_heads=2, max_position_embeddings=4096)


def test_numbers_by_hand():
    found = suggest_context(llama2(), 32_768)
    rows = {row.method: row for row in found.candidates}
    assert list(rows) == ["none", "linear", "ntk", "abf", "yarn", "llama3"]  # longrope needs factors
    # a pair turns in 4096 tokens if 4096 * 10000^(-2i/128) >= 2 pi
    turning = sum(4096 * 10_000 ** (-2 * pair / 128) >= 2 * math.pi for pair in range(64))
    assert (found.num_pairs, found.turning_pairs) == (64, turning)
    # extrapolation: every pair that had not turned reaches new angles; none is slowed
    assert (rows["none"].unseen_pairs, rows["none"].blurred_pairs) == (64 - turning, 0)
    # interpolation: no new angle, and all that turned lose resolution
    assert (rows["linear"].unseen_pairs, rows["linear"].blurred_pairs) == (0, turning)
    assert rows["yarn"].unseen_pairs == 0
    assert 0 < rows["yarn"].blurred_pairs < turning
    assert rows["ntk"].unseen_pairs > 0
    assert rows["abf"].rope_theta == pytest.approx(2 * rows["ntk"].rope_theta)
    assert rows["linear"].longest_wavelength == pytest.approx(8 * 2 * math.pi * 10_000 ** (126 / 128), rel=1e-5)


def test_the_lower_bound_separates_bases_that_hold_from_those_that_do_not():
    bound = rope_theta_lower_bound(1500, 32)
    distances = range(1501)

    def lowest(base):
        return min(sum(math.cos(m * base ** (-2 * pair / 32)) for pair in range(16)) for m in distances)

    assert lowest(bound) >= 0
    assert lowest(bound / 1.02) < 0


def test_the_lower_bound_grows_with_the_length_and_may_not_exist():
    assert rope_theta_lower_bound(500, 64) < rope_theta_lower_bound(5000, 64)
    assert rope_theta_lower_bound(10_000, 2) == math.inf


@pytest.mark.parametrize(("training", "method"), [("none", "yarn"), ("short", "yarn"), ("long", "abf")])
def test_the_recommendation_follows_the_training(training, method):
    found = suggest_context(llama2(), 8192, training=training)
    assert found.recommended == method
    assert f"| **{method}** |" in found.to_markdown()
    assert f"Recommended: **{method}**." in found.to_markdown()


def test_a_window_that_is_long_enough_needs_nothing():
    assert suggest_context(llama2(), 4096).recommended == "none"


def test_the_table_is_markdown_and_the_config_stays():
    config = llama2()
    table = suggest_context(config, 8192).to_markdown().splitlines()
    assert table[0].startswith("llama: 4,096 -> 8,192 tokens (2x), ")
    assert table[2].count("|") == 11
    assert all(line.count("|") == 11 for line in table[2:10])
    assert table[0].endswith("In force: plain RoPE, base 10000.")
    assert table[-4:] == [
        "- key-value heads: 2 for 2 query heads",
        "- norms of queries and keys: none that the configuration mentions",
        "- attention layers: 32, 0 local, 0 without positions",
        "- pretraining length: 4,096 tokens, as far as the configuration tells",
    ]
    assert config.max_position_embeddings == 4096


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_has_suggestions(name):
    found = suggest_context(ARCHITECTURES[name](), 1024)
    in_force = ARCHITECTURES[name]().rope_parameters.get("rope_type")
    assert len(found.candidates) == (7 if in_force == "longrope" else 6)
    assert all(math.isfinite(row.longest_wavelength) for row in found.candidates)


@pytest.mark.parametrize(("training", "method"), [("none", "ntk"), ("short", "abf"), ("long", "abf")])
def test_an_architecture_that_holds_a_plain_base_only_gets_one(training, method):
    found = suggest_context(PhimoeConfig(sliding_window=None), 1 << 20, training=training)
    assert [row.method for row in found.candidates] == ["none", "ntk", "abf"]
    assert found.recommended == method
    assert training == "long" or "'yarn' cannot be written" in found.reason


def test_unknown_training_is_refused():
    with pytest.raises(ValueError, match="training must be 'none', 'short' or 'long', got 'much'"):
        suggest_context(llama2(), 8192, training="much")


def test_the_bound_is_a_function_of_its_arguments():
    torch.manual_seed(1)
    first = rope_theta_lower_bound(700, 16)
    torch.manual_seed(2)
    assert rope_theta_lower_bound(700, 16) == first
