"""Every method against formulas written here in plain Python, and against limits that hold by theory."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from transformers import GPTNeoXConfig, LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from lsw_hf.context.composition import abf_rope_theta, ntk_rope_theta
from lsw_hf.context.extension import extend_config
from lsw_hf.context.live_rotary import rebuild
from lsw_hf.models.rope_longskywork import yarn_attention_factor

SCALED = ("linear", "ntk", "abf", "yarn", "llama3")


def llama(head_dim=64, length=2048, theta=10_000.0):
    return LlamaConfig(
        hidden_size=2 * head_dim,
        num_attention_heads=2,
        head_dim=head_dim,
        max_position_embeddings=length,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
    )


def live_table(config):
    rotary = LlamaRotaryEmbedding(config)
    return rotary.inv_freq, rotary.attention_scaling


def turns_at(pair, dim, theta, length):
    """How often a pair turns within the original window."""
    return length * theta ** (-2 * pair / dim) / (2 * math.pi)


def pair_that_turns(times, dim, theta, length):
    """The real-valued pair index that turns `times` times, by bisection; turning falls with the index."""
    low, high = -4.0 * dim, 4.0 * dim
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if turns_at(middle, dim, theta, length) > times else (low, middle)
    return low


def oracle(method, dim, theta, length, factor):
    """Inverse frequency of each pair, one number at a time."""
    plain = [theta ** (-2 * pair / dim) for pair in range(dim // 2)]
    if method == "linear":
        return [value / factor for value in plain]
    if method in ("ntk", "abf"):
        base = theta * factor ** (dim / (dim - 2)) * (2 if method == "abf" else 1)
        return [base ** (-2 * pair / dim) for pair in range(dim // 2)]
    found = []
    first = max(math.floor(pair_that_turns(32, dim, theta, length)), 0)
    last = min(math.ceil(pair_that_turns(1, dim, theta, length)), dim - 1)
    for pair, value in enumerate(plain):
        turns = turns_at(pair, dim, theta, length)
        if method == "yarn":
            kept = 1.0 - min(max((pair - first) / (last - first), 0.0), 1.0)
        else:  # llama3: by turns, between one and four in the original window
            kept = min(max((turns - 1.0) / 3.0, 0.0), 1.0)
        found.append(value * kept + value / factor * (1 - kept))
    return found


@pytest.mark.parametrize("method", SCALED)
@pytest.mark.parametrize(
    ("dim", "length", "theta", "factor"), [(64, 2048, 10_000.0, 7), (128, 8192, 500_000.0, 16), (48, 300, 999.0, 3)]
)
def test_the_live_table_equals_the_oracle(method, dim, length, theta, factor):
    extended = extend_config(llama(dim, length, theta), context_length=factor * length, method=method)
    table, _ = live_table(extended)
    expected = torch.tensor(oracle(method, dim, theta, length, factor), dtype=torch.float64)
    torch.testing.assert_close(table.double(), expected, rtol=1e-6, atol=0)


def test_longrope_divides_each_pair_and_warms_attention():
    factors = [1.0 + pair / 10 for pair in range(32)]
    extended = extend_config(llama(), context_length=16 * 2048, method="longrope", rope_factors=factors)
    table, attention = live_table(extended)
    expected = torch.tensor([10_000.0 ** (-2 * pair / 64) / factors[pair] for pair in range(32)], dtype=torch.float64)
    torch.testing.assert_close(table.double(), expected, rtol=1e-6, atol=0)
    assert attention == pytest.approx(math.sqrt(1 + math.log(16) / math.log(2048)), rel=1e-12)


def test_yarn_warms_attention_by_the_papers_formula():
    _, attention = live_table(extend_config(llama(), context_length=16 * 2048))
    assert attention == pytest.approx(0.1 * math.log(16) + 1, rel=1e-12)
    assert yarn_attention_factor(1.0) == 1.0


@pytest.mark.parametrize("method", ["linear", "yarn", "llama3"])
def test_transformers_own_functions_agree(method):
    extended = extend_config(llama(), context_length=5 * 2048, method=method)
    theirs, attention = ROPE_INIT_FUNCTIONS[method](extended)
    mine, _ = live_table(extended)
    assert torch.equal(mine, theirs)
    assert attention == extended.rope_parameters.get("attention_factor", 1.0)


def test_phi3_gets_the_same_frequencies_in_its_own_type():
    from benchmarks.context_zoo import ARCHITECTURES

    for method in ("linear", "yarn", "llama3"):
        plain = ARCHITECTURES["phi3"]()
        plain.rope_parameters = {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}
        plain.max_position_embeddings = 64
        extended = extend_config(plain, context_length=448, method=method)
        assert extended.rope_parameters["rope_type"] == "longrope"
        theirs, _ = ROPE_INIT_FUNCTIONS["longrope"](extended)
        expected = torch.tensor(oracle(method, 8, 10_000.0, 64, 7), dtype=torch.float64)
        torch.testing.assert_close(theirs.double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("method", SCALED)
def test_a_factor_of_one_is_plain_rope_bit_for_bit(method):
    plain, _ = live_table(llama())
    table, attention = live_table(extend_config(llama(), context_length=2048, method=method))
    assert torch.equal(table, plain)
    assert attention == 1.0


def test_the_same_base_is_bit_equal():
    plain, _ = live_table(llama())
    table, _ = live_table(extend_config(llama(), context_length=2048, method="abf", rope_theta=10_000.0))
    assert torch.equal(table, plain)
    with pytest.raises(ValueError, match="would leave the slowest pair as it is"):
        extend_config(llama(), context_length=9999, method="abf", rope_theta=10_000.0)


@pytest.mark.parametrize("method", ["yarn", "llama3", "ntk"])
def test_the_fastest_pair_stays_and_the_slowest_is_divided_by_the_factor(method):
    plain, _ = live_table(llama(theta=500_000.0))
    table, _ = live_table(extend_config(llama(theta=500_000.0), context_length=16 * 2048, method=method))
    assert table[0] == plain[0]
    torch.testing.assert_close(table[-1], plain[-1] / 16, rtol=1e-6, atol=0)


def test_abf_lies_above_ntk_and_meets_it_nowhere_but_at_one():
    assert abf_rope_theta(1e4, 8.0, 128) == 2 * ntk_rope_theta(1e4, 8.0, 128)
    assert abf_rope_theta(1e4, 1.0, 128) == ntk_rope_theta(1e4, 1.0, 128) == 1e4
    # ProLong's choice for 5e5 and 8x is 8e6
    assert abf_rope_theta(5e5, 8.0, 128) == pytest.approx(8e6, rel=0.04)


def test_linear_and_longrope_with_equal_factors_agree():
    linear, _ = live_table(extend_config(llama(), context_length=4 * 2048, method="linear"))
    equal = [4.0] * 32
    static, _ = live_table(
        extend_config(llama(), context_length=4 * 2048, method="longrope", rope_factors=equal, attention_factor=1.0)
    )
    torch.testing.assert_close(static, linear, rtol=1e-6, atol=0)


def test_a_head_with_one_rotated_pair_has_no_base_to_change():
    assert ntk_rope_theta(10_000.0, 8.0, 2) == 10_000.0


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.integers(2, 64),
    theta=st.floats(50.0, 1e8),
    length=st.integers(8, 8192),
    ratio=st.floats(1.0, 128.0),
    method=st.sampled_from(SCALED),
)
def test_tables_are_finite_falling_and_within_the_factor(pairs, theta, length, ratio, method):
    config = llama(2 * pairs, length, theta)
    target = max(length, int(length * ratio))
    # llama3 and yarn leave pairs alone that turn 4 and 32 times within the window: with a tiny base even the slowest.
    turns = length / (2 * math.pi * theta ** ((pairs - 1) / pairs))
    if target > length and turns >= {"llama3": 4.0, "yarn": 32.0}.get(method, math.inf):
        with pytest.raises(ValueError, match="leave the slowest pair as it is"):
            extend_config(config, context_length=target, method=method)
        return
    extended = extend_config(config, context_length=target, method=method)
    table, attention = live_table(extended)
    plain, _ = live_table(config)
    factor = target / length
    slack = 1 + 1e-5
    assert table.isfinite().all()
    assert (table > 0).all()
    assert (table[1:] <= table[:-1] * slack).all()
    assert (table <= plain * slack).all()
    limit = plain / factor / (2.0 if method == "abf" and factor > 1 else 1.0)
    assert (table * slack >= limit).all()
    assert attention >= 1.0
    assert table.dtype == torch.float32
    again = LlamaConfig.from_dict(extended.to_dict())
    assert again.rope_parameters == extended.rope_parameters
    assert torch.equal(live_table(again)[0], table)


@settings(max_examples=30, deadline=None)
@given(
    pairs=st.integers(2, 40),
    ratio=st.integers(1, 64),
    method=st.sampled_from(SCALED),
    dtype=st.sampled_from([torch.bfloat16, torch.float16, torch.float32, torch.float64]),
)
def test_tables_of_models_in_any_number_type_are_rebuilt_exactly(pairs, ratio, method, dtype):
    config = llama(2 * pairs, 128)
    extended = extend_config(config, context_length=128 * ratio, method=method)
    module = LlamaRotaryEmbedding(config).to(dtype)
    rebuild(module, extended)
    expected = LlamaRotaryEmbedding(extended)
    assert module.inv_freq.dtype == torch.float32
    assert torch.equal(module.inv_freq, expected.inv_freq)
    assert module.attention_scaling == expected.attention_scaling


@settings(max_examples=40, deadline=None)
@given(
    head_dim=st.integers(2, 20).map(lambda n: 8 * n),
    partial=st.sampled_from([0.25, 0.5, 0.75, 1.0]),
    method=st.sampled_from(SCALED),
    ratio=st.integers(1, 50),
)
def test_partial_rotation_rotates_its_part_only(head_dim, partial, method, ratio):
    config = GPTNeoXConfig(
        hidden_size=2 * head_dim, num_attention_heads=2, max_position_embeddings=128, rotary_pct=partial
    )
    extended = extend_config(config, context_length=128 * ratio, method=method)
    table = GPTNeoXRotaryEmbedding(extended).inv_freq
    assert table.shape == (int(head_dim * partial) // 2,)
    assert table.isfinite().all()
    assert extended.rope_parameters["partial_rotary_factor"] == partial
    again = GPTNeoXConfig.from_dict(extended.to_dict())
    assert torch.equal(GPTNeoXRotaryEmbedding(again).inv_freq, table)
