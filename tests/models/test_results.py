"""The tables of the model class in the documentation are those that the commands wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.mark.parametrize("name", ["model_parity", "model_matrix", "model_speed"])
def test_the_page_shows_the_kept_table(name):
    page = (ROOT / "docs" / "results" / "model_class.md").read_text(encoding="utf-8")
    assert (RESULTS / f"{name}.md").read_text(encoding="utf-8") in page


def test_every_cell_of_the_kept_tables_is_good():
    parity = json.loads((RESULTS / "model_parity.json").read_text(encoding="utf-8"))
    assert parity["cells"] == 49
    assert parity["largest_relative_difference"] < 1e-5
    assert {cells["stock Llama"] for cells in parity["rows"].values()} == {"equal", "has none"}
    speed = json.loads((RESULTS / "model_speed.json").read_text(encoding="utf-8"))
    assert all(0.98 <= speed[f"{work}_processor"][0] <= 1.02 for work in ("prefill", "decode"))
    matrix = json.loads((RESULTS / "model_matrix.json").read_text(encoding="utf-8"))
    assert (matrix["cells"], matrix["equal_to_1e-5"], matrix["refused_without_trust"]) == (56, 35, 21)
