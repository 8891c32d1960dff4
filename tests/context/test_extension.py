"""Extension of configurations and live models, over every architecture and method."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from benchmarks.context_zoo import ARCHITECTURES, ORIGINAL_LENGTH
from lsw_hf.context.architecture import find_layout
from lsw_hf.context.extension import extend_config, extend_context
from lsw_hf.context.verification import verify_context

TARGET = 448  # seven times the original length
METHODS = ("linear", "ntk", "abf", "yarn", "llama3", "longrope", "none")


def options(config, method):
    if method != "longrope":
        return {}
    pairs = find_layout(copy.deepcopy(config)).rotary_dim // 2
    return {"rope_factors": [1.0 + 0.7 * index for index in range(pairs)]}


def target_of(name):
    return 2 * TARGET if name == "llama31" else TARGET


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_config_first_in_place_and_reloaded_give_bit_equal_logits(name, method, build, logits_of, tmp_path):
    config = ARCHITECTURES[name]()
    kwargs = {"context_length": target_of(name), "method": method, **options(config, method)}
    before = logits_of(build(name))
    from_config = build(extend_config(config, **kwargs))
    in_place = extend_context(build(name), **kwargs)
    in_place.save_pretrained(tmp_path)
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()

    assert torch.equal(logits_of(from_config), logits_of(in_place))
    assert torch.equal(logits_of(reloaded), logits_of(in_place))
    assert torch.equal(logits_of(in_place), before) == (method == "none")
    report = verify_context(tmp_path, in_place)
    assert report.context_length == target_of(name)
    assert report.difference == 0.0
    assert report.ok


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_extension_is_idempotent_and_counts_from_the_original(name, tmp_path, caplog):
    config = ARCHITECTURES[name]()
    length = target_of(name)
    once = extend_config(config, context_length=length)
    twice = extend_config(once, context_length=length)
    assert twice.rope_parameters == once.rope_parameters
    once.save_pretrained(tmp_path)
    caplog.clear()
    loaded = AutoConfig.from_pretrained(tmp_path)
    again = extend_config(loaded, context_length=2 * length, method="ntk")
    direct = extend_config(config, context_length=2 * length, method="ntk")
    assert again.rope_parameters == direct.rope_parameters
    assert f"counts from {ORIGINAL_LENGTH} again" in caplog.text


def test_the_given_config_is_not_touched():
    config = ARCHITECTURES["gemma3"]()
    before = copy.deepcopy(config)
    extend_config(config, context_length=TARGET)
    assert config == before
