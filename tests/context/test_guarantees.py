"""Over random scalings, methods, targets and layouts: no pair turns faster, and what should reach, reaches further."""

from __future__ import annotations

import re

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from transformers import AutoConfig, Gemma3TextConfig
from transformers.models.gemma3.modeling_gemma3 import Gemma3RotaryEmbedding

from benchmarks.context_zoo import SIZES
from lsw_hf.context.extension import extend_config
from tests.context.scaled_models import llama, long_table

METHODS = ("auto", "linear", "ntk", "abf", "yarn", "llama3", "longrope", "none")


def random_rope(draw, pairs):
    """A rotary dictionary as makers write them, its original length and its window."""
    theta, original = draw(st.floats(500.0, 1e7)), draw(st.integers(64, 8192))
    factor = draw(st.floats(1.0, 32.0))
    window = draw(st.sampled_from([original, int(original * factor), 4 * original]))
    kind = draw(st.sampled_from(["default", "linear", "dynamic", "yarn", "llama3", "longrope"]))
    rope = {"rope_type": kind, "rope_theta": theta}
    if kind not in ("default", "longrope"):
        rope["factor"] = factor
    if kind in ("yarn", "llama3", "longrope"):
        rope["original_max_position_embeddings"] = original
    if kind == "yarn":
        rope |= draw(st.sampled_from([{}, {"beta_fast": 8.0, "beta_slow": 0.5}, {"attention_factor": 1.3}]))
    if kind == "llama3":
        low = draw(st.floats(0.5, 2.0))
        rope |= {"low_freq_factor": low, "high_freq_factor": low + draw(st.floats(0.5, 8.0))}
    if kind == "longrope":
        for name in ("short_factor", "long_factor"):
            rope[name] = draw(st.lists(st.floats(1.0, 60.0), min_size=pairs, max_size=pairs))
    return rope, window


EVERYTHING = {
    "data": st.data(),
    "pairs": st.integers(2, 64),
    "ratio": st.floats(1.0, 64.0),
    "method": st.sampled_from(METHODS),
}


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(**EVERYTHING)
def test_no_pair_ever_turns_faster_and_what_reaches_reaches_further(data, pairs, ratio, method):
    check_invariant(data, pairs, ratio, method)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(**EVERYTHING)
def test_the_invariant_holds_on_thousands_of_scalings(data, pairs, ratio, method):
    check_invariant(data, pairs, ratio, method)


def check_invariant(data, pairs, ratio, method):
    rope, window = random_rope(data.draw, pairs)
    config = llama(window, rope, head_dim=2 * pairs)
    target = max(window + 1, int(window * ratio))
    factor = data.draw(st.sampled_from([None, None, 1.0, 3.0, 40.0])) if method not in ("none", "auto") else None
    before = long_table(llama(window, dict(config.rope_parameters), head_dim=2 * pairs))
    if rope["rope_type"] == "dynamic":
        before = long_table(llama(window, {"rope_type": "default", "rope_theta": rope["rope_theta"]}, 2 * pairs))
    try:
        extended = extend_config(config, context_length=target, method=method, factor=factor)
    except ValueError as error:
        refusal = str(error)
        known = "shrink the window|'none' is refused|needs rope_factors|range of float32|leave the slowest pair"
        assert factor is not None or re.search(known, refusal)
        return
    after = long_table(extended)
    assert after.isfinite().all()
    assert (after <= before * (1 + 1e-6)).all()
    if method == "none":
        assert {**extended.rope_parameters, **config.rope_parameters} == extended.rope_parameters
    written = extended.rope_parameters
    made_for = window
    if rope["rope_type"] == "yarn" or window == rope.get("original_max_position_embeddings"):
        # as cards mean a window that nobody changed
        made_for = max(window, int(rope["original_max_position_embeddings"] * rope.get("factor", 1.0)))
    assert method == "none" or target <= made_for or after.min() < before.min()
    assert (written.get("factor") or 1.0) >= (
        rope.get("factor", 1.0) if rope["rope_type"] == written["rope_type"] else 1.0
    )
    again = AutoConfig.for_model(**extended.to_dict())
    assert torch.equal(long_table(again), after)
    twice = extend_config(extended, context_length=target, method=method, factor=factor)
    assert twice.rope_parameters == extended.rope_parameters


def test_a_longer_window_alone_is_refused_where_the_makers_long_list_turns_faster():
    lists = {"short_factor": [1.0, 1.0, 2.0, 4.0], "long_factor": [1.0, 1.0, 1.5, 8.0]}
    rope = {"rope_type": "longrope", "rope_theta": 500.0, "original_max_position_embeddings": 64, **lists}
    with pytest.raises(ValueError, match=r"turns 1 of 4 pairs faster than short_factor\. Use 'longrope'"):
        extend_config(llama(64, rope, head_dim=8), context_length=256, method="none")
    # both lists were met within the window
    extend_config(llama(256, rope, head_dim=8), context_length=512, method="none")
    before = long_table(llama(64, rope, head_dim=8))
    extended = extend_config(llama(64, rope, head_dim=8), context_length=256, method="longrope")
    assert (long_table(extended) <= before * (1 + 1e-6)).all()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), method=st.sampled_from(METHODS), num_full=st.integers(0, 2), num_local=st.integers(0, 2))
def test_layer_layouts_keep_their_local_tables(data, method, num_full, num_local):
    kinds = data.draw(st.permutations(["full_attention"] * num_full + ["sliding_attention"] * num_local))
    if not kinds:
        return
    rope, window = random_rope(data.draw, 12)
    config = Gemma3TextConfig(
        **{**SIZES, "num_hidden_layers": len(kinds), "max_position_embeddings": window}, head_dim=24,
        sliding_window=32, layer_types=list(kinds),
        rope_parameters={"full_attention": rope, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}},
    )  # fmt: skip
    try:
        extended = extend_config(config, context_length=4 * window, method=method)
    except ValueError as error:
        refusal = str(error)
        known = "shrink|is refused|needs rope_factors|float32|local layers|leave the slowest"
        # the older releases of transformers know longrope on one of two tables only in part
        assert re.search(f"{known}|fails on the second long input", refusal)
        return
    if num_full == 0:
        assert extended.lsw_context["method"] == "none"
        assert "every layer sees 32 tokens" in extended.lsw_context["reason"]
    else:
        after = long_table(extended, Gemma3RotaryEmbedding, "full_attention")
        if rope["rope_type"] != "dynamic":
            before = long_table(config, Gemma3RotaryEmbedding, "full_attention")
            assert (after <= before * (1 + 1e-6)).all()
    assert extended.rope_parameters["sliding_attention"] == config.rope_parameters["sliding_attention"]
