"""What `suggest` says of a model besides RoPE, against the modules of live models of every class."""

from __future__ import annotations

import re
import warnings

import pytest
import transformers
from transformers import AutoConfig

from benchmarks.context_subjects import class_subjects
from benchmarks.context_zoo import ARCHITECTURES, SIZES
from benchmarks.tiny_models import config_from, tiny_model
from lsw_hf.context.architecture.facts import QK_NORM_FIELDS, QK_NORM_TYPES, beyond_rope
from lsw_hf.context.architecture.layers import shared_table
from lsw_hf.context.architecture.layout import find_layout
from lsw_hf.context.extension import extend_context
from lsw_hf.context.suggestion import suggest_context
from lsw_hf.context.verification import verify_context

NORM = re.compile(r"(^|\.)((q|query)_?(layer)?norm|(q|query)_norm|qk_norm)$")
OTHERWISE = {"blt"}  # five parts with a configuration each


@pytest.mark.slow
def test_norms_of_queries_and_keys_are_told_for_every_class():
    wrong = []
    for subject in class_subjects():
        config = None if subject.reason else config_from(subject.small)
        text = config and config.get_text_config(decoder=True)
        if not getattr(text, "rope_parameters", None) or any(hasattr(text, name) for name in QK_NORM_FIELDS):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = tiny_model(config)
            except ImportError:  # a tower that needs another package
                continue
        names = [name for name, _ in model.named_modules() if not re.search("vision|visual|audio", name)]
        if any(NORM.search(name) for name in names) != (text.model_type in QK_NORM_TYPES | OTHERWISE):
            wrong.append(text.model_type)
    assert wrong == []


def test_layers_with_heads_of_their_own_are_told():
    if not hasattr(transformers, "Gemma4TextConfig"):
        pytest.skip("this transformers has no such class")
    config = transformers.Gemma4TextConfig()
    facts = beyond_rope(find_layout(config))
    assert facts[0].startswith("key-value heads: ")
    assert suggest_context(config, 262_144).recommended == "ntk"


def test_a_table_that_local_layers_share_is_said_where_people_look(build, tmp_path):
    """Gemma 2 has one table for both kinds: a scaling slows the local layers too, and cannot do otherwise."""
    config = ARCHITECTURES["gemma2"]()
    sentence = "one rotary table: 1 local layers share it with 1 global ones, so a scaling slows them as well"
    assert shared_table(config) == sentence
    assert sentence in suggest_context(config, 448).facts
    extended = extend_context(build("gemma2"), context_length=448)
    assert sentence in verify_context(model=extended).notes
    assert sentence not in verify_context(model=build("gemma2")).notes
    assert shared_table(ARCHITECTURES["gemma3"]()) is None
    assert shared_table(AutoConfig.for_model("qwen2", **SIZES)) is None
