"""The RoPE formulas against scalar float64 truths, against transformers bit for bit, and at their limits."""

import math

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from lsw_hf.models.rope_longskywork import (
    attention_temperature,
    default_inv_freq,
    linear_inv_freq,
    llama3_inv_freq,
    longrope_attention_factor,
    longrope_inv_freq,
    rope_frequencies,
    skywork_ntk_rope_theta,
    yarn_attention_factor,
    yarn_inv_freq,
)

BIG = {
    "yarn": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 48.8, "original_max_position_embeddings": 4096},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}


def numbers(rope: dict, head_dim: int) -> tuple[torch.Tensor, float]:
    if rope["rope_type"] == "ntk":
        return default_inv_freq(head_dim, skywork_ntk_rope_theta(rope["rope_theta"], rope["factor"])), 1.0
    return rope_frequencies(rope, head_dim, 96)


def test_every_type_is_what_its_paper_says(rope, turns_oracle):
    inv_freq, scale = numbers(rope, 10)
    turns, expected_scale = turns_oracle(rope, 10)
    assert inv_freq.dtype == torch.float32
    torch.testing.assert_close(inv_freq.double(), torch.tensor(turns, dtype=torch.float64), rtol=1e-6, atol=0)
    assert scale == pytest.approx(expected_scale, rel=1e-12)


@pytest.mark.parametrize("name", BIG)
def test_published_settings_are_what_their_paper_says(name, turns_oracle):
    inv_freq, scale = rope_frequencies(BIG[name], 128, 200_000)
    turns, expected_scale = turns_oracle(BIG[name], 128)
    torch.testing.assert_close(inv_freq.double(), torch.tensor(turns, dtype=torch.float64), rtol=2e-6, atol=0)
    assert scale == pytest.approx(expected_scale, rel=1e-12)


def test_every_type_turns_exactly_like_stock_llama(rope):
    if rope["rope_type"] == "ntk":
        rope = {"rope_type": "default", "rope_theta": rope["rope_theta"] * rope["factor"]}
    config = LlamaConfig(hidden_size=60, num_attention_heads=6, max_position_embeddings=96, rope_parameters=dict(rope))
    make = ROPE_INIT_FUNCTIONS.get(rope["rope_type"], LlamaRotaryEmbedding.compute_default_rope_parameters)
    inv_freq, scale = make(config)
    ours, our_scale = rope_frequencies(rope, 10, 96)
    assert torch.equal(inv_freq, ours)
    assert scale == our_scale


@pytest.mark.parametrize(
    "options",
    [
        {"truncate": False},
        {"attention_factor": 1.25},
        {"mscale": 0.7, "mscale_all_dim": 1.1},
        {"mscale": 0.7},
        {"beta_fast": 8, "beta_slow": 2},
        {"factor": 1.0},
    ],
    ids=str,
)
def test_every_yarn_option_is_transformers_own(options):
    rope = {**BIG["yarn"], **options}
    config = LlamaConfig(hidden_size=4608, num_attention_heads=36, rope_parameters=dict(rope))
    inv_freq, scale = ROPE_INIT_FUNCTIONS["yarn"](config)
    ours, our_scale = rope_frequencies(rope, 128, 200_000)
    assert torch.equal(inv_freq, ours)
    assert our_scale == scale


def test_a_factor_of_one_changes_nothing():
    plain = default_inv_freq(34, 777.0)
    torch.testing.assert_close(linear_inv_freq(34, 777.0, 1.0), plain, rtol=0, atol=0)
    torch.testing.assert_close(yarn_inv_freq(34, 777.0, 1.0, 300), plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(llama3_inv_freq(34, 777.0, 1.0, 300, 1.0, 4.0), plain, rtol=1e-6, atol=0)
    torch.testing.assert_close(longrope_inv_freq(34, 777.0, [1.0] * 17), plain, rtol=1e-7, atol=0)
    assert skywork_ntk_rope_theta(777.0, 1.0) == 777.0
    assert yarn_attention_factor(1.0) == 1.0
    assert longrope_attention_factor(1.0, 300) == 1.0


@pytest.mark.parametrize("method", [yarn_inv_freq, lambda *a: llama3_inv_freq(*a, 1.0, 4.0)], ids=["yarn", "llama3"])
def test_the_fastest_pair_stays_and_the_slowest_is_interpolated(method):
    plain = default_inv_freq(128, 1e4)
    changed = method(128, 1e4, 16.0, 4096)
    assert changed[0] == plain[0]
    assert changed[-1].item() == pytest.approx(plain[-1].item() / 16, rel=1e-6)
    ratio = plain / changed
    assert (ratio.diff() > -1e-4).all(), "slower pairs are slowed down at least as much"
    assert ((ratio > 1.01) & (ratio < 15.9)).sum() > 5, "there is a band between"


def test_a_yarn_band_of_no_width_is_a_step():
    # both bounds land on pair 0 for a context of a few tokens, so everything but pair 0 is interpolated
    inv_freq = yarn_inv_freq(8, 1e4, 4.0, 5, beta_fast=0.79, beta_slow=0.78, truncate=False)
    assert torch.isfinite(inv_freq).all()
    torch.testing.assert_close(inv_freq[1:], default_inv_freq(8, 1e4)[1:] / 4)


def test_skyworks_ntk_is_not_the_ntk_aware_formula():
    assert skywork_ntk_rope_theta(10_000.0, 4.0) == 40_000.0
    others = 10_000.0 * 4.0 ** (128 / 126)
    assert others / skywork_ntk_rope_theta(10_000.0, 4.0) == pytest.approx(1.022, abs=5e-4)


def test_longrope_without_a_factor_derives_it_from_the_two_lengths():
    rope = {
        "rope_type": "longrope",
        "rope_theta": 1e4,
        "short_factor": [2.0] * 5,
        "long_factor": [2.0] * 5,
        "original_max_position_embeddings": 24,
    }
    assert rope_frequencies(rope, 10, 96)[1] == longrope_attention_factor(4.0, 24)
    assert rope_frequencies(rope, 10, 24)[1] == 1.0


def test_an_unknown_type_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown rope type 'spiral': LongSkywork knows default, linear, llama3"):
        rope_frequencies({"rope_type": "spiral", "rope_theta": 1e4}, 10, 96)


def test_the_temperature_grows_with_the_logarithm_of_the_position():
    positions = torch.tensor([[0, 98, 99, 199, 99_999]])
    got = attention_temperature(positions, 100, 0.3)
    expected = [1, 1, 1, 1 + 0.3 * math.log(2), 1 + 0.3 * math.log(1000)]
    torch.testing.assert_close(got, torch.tensor([expected]), rtol=1e-6, atol=0)


def test_a_slope_of_one_over_log_length_is_log_n_scaling():
    got = attention_temperature(torch.tensor([4095, 200_000 - 1]), 4096, 1 / math.log(4096))
    torch.testing.assert_close(got, torch.tensor([1.0, math.log(200_000) / math.log(4096)]), rtol=1e-6, atol=0)


def test_a_slope_of_zero_is_off():
    assert torch.equal(attention_temperature(torch.arange(500), 7, 0.0), torch.ones(500))
