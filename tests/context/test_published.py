"""Published configurations: the files, and what `extend_config` makes of each by every method, without weights."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path

import pytest
import torch
import transformers
from packaging.version import Version

from benchmarks.context_cells import METHODS, TARGETS, Row, config_cell
from benchmarks.context_subjects import PUBLISHED, is_read, published_subjects
from benchmarks.rotary_readings import Reading, broken_rules
from benchmarks.tiny_models import config_from
from lsw_hf.context.extension import extend_config
from lsw_hf.context.suggestion import suggest_context

AUTO_METHODS = PUBLISHED.parent / "published_auto_methods.json"
FAMILIES = sorted(path.stem for path in PUBLISHED.glob("*.json"))


@pytest.fixture(autouse=True)
def _quiet():
    """Old files use old names, and every extension is announced: neither is what these tests are about."""
    logging.disable(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_enough_models_and_says_what_checked_them(family: str):
    entries = json.loads((PUBLISHED / f"{family}.json").read_text(encoding="utf-8"))
    assert len(entries) >= (2 if family == "others" else 3)
    for entry in entries:
        assert entry.keys() == {"repo", "checked", "by", "config"}
        assert entry["checked"] == (entry["by"] != "not confirmed")
        assert {"model_type", "architectures"} <= entry["config"].keys()


@pytest.mark.parametrize("family", FAMILIES)
def test_no_method_is_wrong_about_a_published_configuration(family: str, tmp_path: Path):
    wrong = []
    for subject in published_subjects([family]):
        row = Row(subject, tmp_path)
        row.build()
        for method in METHODS:
            for times in TARGETS:
                cell = config_cell(row, method, times)
                if cell.outcome == "wrong":
                    wrong.append(f"{subject.name}, {method} to {times}x: {cell.reason}")
    assert not wrong, "\n".join(wrong)


def entries_and_types() -> list[tuple[str, str]]:
    """Name and `model_type` of every entry, in order."""
    files = [json.loads((PUBLISHED / f"{family}.json").read_text(encoding="utf-8")) for family in FAMILIES]
    return [(entry["repo"], entry["config"]["model_type"]) for entries in files for entry in entries]


@pytest.mark.slow
def test_what_auto_takes_for_each_published_configuration():
    """Looked through by eye when it was written: a refusal or another method for one of these is a change to see."""
    expected = json.loads(AUTO_METHODS.read_text(encoding="utf-8"))
    if not_read := {model_type for _, model_type in entries_and_types() if not is_read(model_type)}:
        assert Version(transformers.__version__) < Version("5.24"), not_read
        expected = {name: expected[name] for name, model_type in entries_and_types() if model_type not in not_read}
    found = {}
    for subject in published_subjects(None):
        config = config_from(subject.raw)
        window = config.get_text_config(decoder=True).max_position_embeddings
        try:
            extended = extend_config(config, context_length=2 * window)
            suggested = suggest_context(config, 2 * window)
            found[subject.name] = extended.get_text_config(decoder=True).lsw_context["method"]
            assert [row.method for row in suggested.candidates].count(suggested.recommended) == 1, subject.name
        except ValueError as error:
            found[subject.name] = f"refused: {str(error)[:60]}"
    assert found == expected


def test_a_pair_that_turns_faster_is_seen():
    before = {"rotary": Reading(torch.tensor([1.0, 0.1, 0.01]), 1.0)}
    after = {"rotary": Reading(torch.tensor([1.0, 0.2, 0.001]), 1.0)}
    assert broken_rules(before, after, grows=True, same=False) == ["rotary: 1 of 3 turn faster, up to 2 times"]


def test_a_reach_that_stays_is_seen():
    table = {"rotary": Reading(torch.tensor([1.0, 0.1]), 1.0)}
    assert broken_rules(table, table, grows=True, same=False) == ["rotary: does not reach further"]
    assert broken_rules(table, table, grows=False, same=True) == []


def test_a_local_table_must_stay_and_a_lost_one_is_seen():
    local = {"rotary[sliding_attention]": Reading(torch.tensor([1.0, 0.1]), 1.0, local=True)}
    slower = {"rotary[sliding_attention]": Reading(torch.tensor([1.0, 0.05]), 1.1, local=True)}
    found = broken_rules(local, slower, grows=True, same=False)
    assert found == ["rotary[sliding_attention]: must stay, 1 changed, factor 1 -> 1.1"]
    assert broken_rules(local, {}, grows=True, same=False) == ["rotary[sliding_attention]: no such table any more"]


def test_zero_frequencies_do_not_turn():
    table = {"rotary": Reading(torch.tensor([1.0, 0.1, 0.0]), 1.0)}
    slower = {"rotary": Reading(torch.tensor([1.0, 0.05, 0.0]), 1.0)}
    assert broken_rules(table, slower, grows=True, same=False) == []
