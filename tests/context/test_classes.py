"""The table of every causal LM class, and the pieces that judge its cells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from benchmarks.context_cells import Cell, refusal_or_fault, row_of_tokens
from benchmarks.context_classes import counts, grouped, page
from benchmarks.context_readers import judge
from benchmarks.tiny_models import causal_lm_types
from lsw_hf.context.parameters import ExtensionRequest

ROOT = Path(__file__).parents[2]
NOT_BUILT = {
    "gemma3n",  # its vision tower needs timm
    "gemma4_assistant",  # drafts for another model, whose keys it takes
    "gemma4_unified_assistant",
    "mamba2",  # no rotary embedding
    "xlnet",
}
"""Classes of which no tiny model can be built alone."""

NUM_CLASSES = {"5.24.0": 196}
"""How many causal LM classes a release has: a new class is looked at before this number is changed."""

SAVED = [Path("yarn.saved")]
GOOD = {"difference": 0.0}


def test_readers_are_judged_by_what_the_notes_say():
    quiet, noted = Cell("extended", "", SAVED), Cell("extended", "", SAVED, ["transformers 4 cannot read this"])
    refused = {"refused": "ValueError: three fields"}
    assert judge("4.57", quiet, [GOOD], GOOD) == "equal"
    assert judge("4.57", quiet, [{"difference": 0.3}], GOOD).startswith("wrong: 4.57 reads the saved folder otherwise")
    assert judge("4.57", noted, [refused], GOOD) == "noted: refuses, ValueError: three fields"
    assert judge("5.17", noted, [refused], GOOD).startswith("wrong: 5.17")
    assert judge("4.57", quiet, [refused], {"unknown": True}) == "unknown there"
    assert judge("4.57", quiet, [refused], {"difference": 0.3}) == "not comparable"


def test_only_errors_of_the_package_are_refusals():
    with pytest.raises(ValueError) as refusal:
        ExtensionRequest(64, "magic")
    assert refusal_or_fault(refusal.value).outcome == "refused"
    with pytest.raises(KeyError) as fault:
        {}["rope_theta"]
    assert refusal_or_fault(fault.value).outcome == "wrong"
    with pytest.raises(ValueError) as foreign:
        int("seven")
    assert refusal_or_fault(foreign.value).outcome == "wrong"


def test_rows_of_tokens_reach_the_target():
    row = row_of_tokens(4_096, 8_192)
    positions = row["position_ids"][0].tolist()
    assert positions == [*range(8), *range(4_092, 4_100), *range(8_188, 8_192)]
    assert row["input_ids"].shape == row["position_ids"].shape
    assert row_of_tokens(4_096, 4_096)["position_ids"].max() == 4_095


def test_the_page_counts_and_groups():
    cells = {
        f"{method} {times}x": {"outcome": "extended", "reason": "", "read": {}}
        for method in ("default", "none", "linear", "ntk", "abf", "yarn", "llama3", "longrope")
        for times in (2, 8)
    }
    cells["yarn 2x"] = {"outcome": "wrong", "reason": "3 of 8 turn faster", "read": {}}
    cells["yarn 8x"] = {"outcome": "wrong", "reason": "5 of 8 turn faster", "read": {}}
    rows = [{"name": "llama", "family": "classes", "layers": "RG", "not_built": "", "cells": cells}]
    assert counts(rows) == {"extended": 14, "refused": 0, "wrong": 2, "not built": 0}
    assert grouped(rows, "wrong") == ["- 2 cells: 3 of 8 turn faster — llama (yarn 2x)"]
    assert "| llama | classes | RG | + | + | + | + | + | **wrong** | + | + |" in page(rows, {"here": "5"})


@pytest.mark.skipif(transformers.__version__ not in NUM_CLASSES, reason="counted for other releases")
def test_a_new_class_is_noticed():
    assert len(causal_lm_types()) == NUM_CLASSES[transformers.__version__]


@pytest.mark.slow
def test_no_cell_is_wrong(tmp_path: Path):
    """All classes, all published configurations; other interpreters join where the environment names them."""
    command = [sys.executable, str(ROOT / "benchmarks" / "context_classes.py"), "--output-dir", str(tmp_path)]
    subprocess.run(command, check=True, stdout=subprocess.PIPE, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    figures = json.loads((tmp_path / "context_classes.json").read_text(encoding="utf-8"))
    rows = figures["rows"]
    assert {row["name"] for row in rows if row["family"] == "classes"} == set(causal_lm_types())
    assert {row["name"] for row in rows if row["not_built"]} <= NOT_BUILT
    wrong = [
        f"{row['name']}, {name}: {cell['reason']}"
        for row in rows
        for name, cell in row["cells"].items()
        if cell["outcome"] == "wrong"
    ]
    assert not wrong, "\n".join(wrong)
