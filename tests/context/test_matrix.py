"""The matrix command, and with other interpreters at hand, what they read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import context_matrix
from benchmarks.context_cells import METHODS
from benchmarks.context_layers import layers_table

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results" / "architectures.md"


def test_cells_say_who_reads_what():
    read = {
        "newest": {"models": {"a.yarn": {"difference": 0.0}, "b.yarn": {"difference": 1e-7}}},
        "4.57": {"models": {"a.yarn": {"difference": 3e-2}, "b.yarn": {"refused": "ValueError: three, got {}"}}},
    }
    good = {"live == saved": True}
    assert context_matrix.cell("a.yarn", good, read) == "newest; **4.57 differs** (3e-02)"
    assert context_matrix.cell("b.yarn", good, read) == "newest; 4.57 refuses"
    assert context_matrix.cell("a.yarn", {"live == saved": False}, read) == "live ≠ saved"
    only = {"newest": read["newest"]}
    assert context_matrix.cell("a.yarn", good, only) == "all"
    assert context_matrix.refusals(read) == ["4.57 refuses with ValueError: three: b.yarn"]


def test_the_page_shows_the_kept_table():
    kept = (ROOT / "benchmarks" / "results" / "context_matrix.md").read_text(encoding="utf-8")
    table = "\n".join(line for line in kept.splitlines() if line.startswith("|"))
    assert table in PAGE.read_text(encoding="utf-8")
    figures = json.loads((ROOT / "benchmarks" / "results" / "context_matrix.json").read_text(encoding="utf-8"))
    assert table == context_matrix.table(
        list(dict.fromkeys(name.partition(".")[0] for name in figures["matrix"])),
        figures["matrix"],
        {
            label: {"models": {name: found[label] for name, found in figures["matrix"].items()}}
            for label in figures["readers"]
        },
    )


def test_the_page_shows_the_families_whose_layers_differ():
    kept = ROOT / "benchmarks" / "results"
    page = PAGE.read_text(encoding="utf-8")
    table = (kept / "context_layers.md").read_text(encoding="utf-8").rstrip()
    assert table in page
    figures = json.loads((kept / "context_classes.json").read_text(encoding="utf-8"))
    assert table == layers_table(figures["rows"], METHODS)
    assert figures["wrong"] == 0
    counted = f"{figures['extended']:,} extended, {figures['refused']:,} refused with the reason"
    assert counted in page.replace("\n", " ")


@pytest.mark.slow
def test_every_reader_at_hand_computes_the_same():
    """All architectures; `LSW_HF_PYTHON_OLDEST` and `LSW_HF_PYTHON_457` add readers."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "context_matrix.py")],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["matrix"]) == found["pairs"] == 13 * 7
    for name, outcome in found["matrix"].items():
        assert outcome["live == saved"], name
        for label in found["readers"]:
            if "refused" in outcome[label]:
                # Phi-3 of transformers 4 takes three keys only and stops, rather than compute something else
                assert label == "4.57", name
                assert name.startswith("phi3."), name
            else:
                assert outcome[label]["difference"] <= 1e-5, (name, label)
