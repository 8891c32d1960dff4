"""Every class that transformers 4.57 has too: what we write is what 4.57 reads, or we say what it does instead.

The slow test asks the classes of 4.57 themselves:

    LSW_HF_PYTHON_457=env457/bin/python pytest -m slow tests/context/transformers4/test_oracle.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from lsw_hf.context.live_rotary import compare_states
from lsw_hf.context.transformers4.classes import ELSEWHERE, LEGACY_CLASSES, PARTS, WITHOUT_TEXT_TABLES
from lsw_hf.context.transformers4.config_files import legacy_rope_fields, write_legacy_rope
from lsw_hf.context.transformers4.spelling import legacy_losses
from tests.context.transformers4.legacy_zoo import BASE, MODEL_TYPES_457, SCALINGS, scaled, tables

READER = Path(__file__).parent / "read_legacy_tables.py"
NOT_BUILT = {
    "chameleon": "its model needs an image tokenizer",
    "csm": "its model needs a depth decoder",
    **dict.fromkeys(PARTS, "4.57 loads it inside a larger model only"),
}
"""Classes whose tiny model is too much work here; their code in 4.57 was read."""

CASES = {
    **{f"{name}.{scaling}": (name, scaling, {}) for name in sorted(LEGACY_CLASSES) for scaling in SCALINGS},
    **{
        f"{name}.{scaling}.one base": (name, scaling, {"local_base": BASE})
        for name in ("olmo3", "modernbert-decoder", "gemma3_text")
        for scaling in SCALINGS
    },
}


UNSCALED = ("recurrent_gemma",)
"""Classes whose model here takes the type `"default"` only."""


def build(case, **further):
    """The configuration of a case; `None` where this transformers itself refuses it."""
    name, scaling, options = CASES[case]
    if name in UNSCALED and scaling != "default":
        return None
    try:
        return scaled(name, scaling, **options, **further)
    except (StrictDataclassError, KeyError, AttributeError):
        return None


def test_every_class_of_4_57_is_decided():
    with_tables = {
        name
        for name in CONFIG_MAPPING_NAMES
        if name in MODEL_TYPES_457 and "rope_parameters" in CONFIG_MAPPING[name].__dataclass_fields__
    }
    decided = {*LEGACY_CLASSES, *WITHOUT_TEXT_TABLES, *ELSEWHERE}
    assert with_tables - decided == set(), "say in legacy_classes.py how 4.57 spells these"
    assert decided - MODEL_TYPES_457 == PARTS
    assert not set(LEGACY_CLASSES) & (WITHOUT_TEXT_TABLES | set(ELSEWHERE))


def sliding(case, name, layer_types):
    """Whether a rotary module of 4.57 serves the sliding layers."""
    words = name.split(".")
    if "layers" in words and layer_types and CASES[case][0].startswith("modernbert"):
        return layer_types[int(words[words.index("layers") + 1])] == "sliding_attention"
    return any("local" in word or "sliding" in word for word in words)


def differs(case, config, found):
    """What 4.57 computes otherwise than this transformers, in words; empty if nothing."""
    expected = {state.layer_type: state for state in tables(config)}
    switch = config.rope_parameters.get("original_max_position_embeddings")
    types = {None: config.rope_parameters, **config.rope_parameters}
    problems = []
    for name, table in found["tables"].items():
        local = sliding(case, name, getattr(config, "layer_types", None))
        kind = None if None in expected else "sliding_attention" if local else "full_attention"
        state = expected[kind]
        mine, theirs = state.inv_freq.flatten(), torch.tensor(table["inv_freq"])
        if mine.shape != theirs.shape or not torch.allclose(mine, theirs, rtol=1e-6, atol=0):
            problems.append(f"{name}: other frequencies")
        elif abs(state.attention_factor - table["attention_factor"]) > 1e-6:
            problems.append(f"{name}: attention factor {table['attention_factor']}, not {state.attention_factor}")
        elif table["rope_type"] != types[kind]["rope_type"]:
            problems.append(f"{name}: type {table['rope_type']}")
        elif table["rope_type"] == "longrope" and kind is None and found["switch"] != switch:
            problems.append(f"{name}: long factors from {found['switch']} tokens on, not {switch}")
    return problems if found["tables"] else ["no rotary tables"]


def use_older_words(path, name):
    """As their makers' files call the kinds of layers, which a save of transformers 5 translates."""
    if LEGACY_CLASSES[name].layer_words:
        content = path.read_text().replace("linear_attention", "mamba").replace("full_attention", "attention")
        path.write_text(content)


@pytest.mark.slow
def test_4_57_reads_what_is_written_or_we_say_what_it_does(tmp_path):
    python = os.environ.get("LSW_HF_PYTHON_457")
    if not python:
        pytest.skip("set LSW_HF_PYTHON_457 to a Python with transformers 4.57")
    configs = {}
    for case in CASES:
        config = build(case) if CASES[case][0] not in NOT_BUILT else None
        if config is not None:
            config.save_pretrained(tmp_path / case)
            write_legacy_rope(tmp_path / case)
            configs[case] = config
            use_older_words(tmp_path / case / "config.json", CASES[case][0])
    done = subprocess.run(
        [python, str(READER), str(tmp_path)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    read = json.loads(done.stdout.splitlines()[-1])
    assert len(read) == len(configs) > 400
    wrong = []
    for case, found in read.items():
        words = json.loads((tmp_path / case / "config.json").read_text())
        layers = {key: words.get(key) for key in ("layer_types", "layers_block_type")}
        losses = legacy_losses({**configs[case].to_dict(), **layers})
        if "refused" in found:
            if not any("stops" in loss for loss in losses):
                wrong.append(f"{case}: refused without a word of ours, {found['refused']}")
            continue
        problems = differs(case, configs[case], found)
        # of another mask no table tells: the table of every class compares logits
        losses = [loss for loss in losses if "(sliding_window)" not in loss]
        if bool(problems) != bool(losses) or any("stops" in loss for loss in losses):
            wrong.append(f"{case}: {problems} but we say {losses}")
    assert wrong == []


@pytest.mark.parametrize("name", sorted(LEGACY_CLASSES))
def test_this_transformers_reads_the_same_with_the_older_fields(name):
    """It gives the older spelling priority, so a wrong field would change the model for every reader."""
    for scaling in SCALINGS:
        config = build(f"{name}.{scaling}", pairs=8)
        if config is None:
            continue
        written = config.to_dict()
        again = type(config).from_dict({**written, **legacy_rope_fields(written)})
        if LEGACY_CLASSES[name].keys and name not in NOT_BUILT:  # they leave out what follows from the lengths
            pairs = zip(tables(again), tables(config), strict=True)
            assert all(compare_states(one, other, "the file") == (0.0, []) for one, other in pairs), scaling
        else:
            again.rope_parameters.pop("type", None)
            assert again.rope_parameters == config.rope_parameters, scaling
