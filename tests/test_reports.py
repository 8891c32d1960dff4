"""What all reports share: saved files that are refused by name, and Markdown tables."""

import json

import pytest

from lsw_hf import LeakageReport, NeedleReport, PositionLossReport, ShortContextMeasure, TaskReport
from lsw_hf.cli.output import aligned_tables
from lsw_hf.reports import markdown_table

KINDS = [LeakageReport, NeedleReport, PositionLossReport, ShortContextMeasure, TaskReport]


@pytest.mark.parametrize("report", KINDS)
def test_a_file_that_is_not_there_or_another_one_is_named(report, tmp_path):
    with pytest.raises(ValueError, match=r"there is no .* at .*gone\.json\. Give the JSON file"):
        report.load(tmp_path / "gone.json")
    with pytest.raises(ValueError, match=r"there is no .* at "):
        report.load(tmp_path)
    path = tmp_path / "other.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.json is not JSON"):
        report.load(path)
    path.write_text(json.dumps({"kind": "needles", "schema_version": 1}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.json: this is not a .* of schema version 1: kind 'needles'"):
        report.load(path)
    path.write_text(json.dumps({"kind": report.kind, "schema_version": 2}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.json: this is not a .*schema_version 2"):
        report.load(path)
    path.write_text(json.dumps({"kind": report.kind, "schema_version": 1}), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"other\.json: this {report.title} is not complete: .*\. Save it again"):
        report.load(path)


def test_kinds_differ():
    assert len({report.kind for report in KINDS}) == len(KINDS)


def test_a_table_aligns_as_asked_and_refuses_rows_of_another_width():
    assert markdown_table(["a", "b", "c"], [[1, "x", 2.5]], "lr") == (
        "| a | b | c |\n| :--- | ---: | --- |\n| 1 | x | 2.5 |"
    )
    with pytest.raises(ValueError, match=r"a table of 2 columns cannot take the row \['1'\]"):
        markdown_table(["a", "b"], [[1]])


def test_nothing_in_a_cell_ends_it():
    """Names come from users: of models, files and tasks. What is escaped already stays as it is."""
    rows = [["yarn|16x", "two\nlines"], ["a\\|b", "|"]]
    table = markdown_table(["old|new", "b"], rows)
    assert table.split("\n") == [
        "| old\\|new | b |",
        "| --- | --- |",
        "| yarn\\|16x | two lines |",
        "| a\\|b | \\| |",
    ]
    shown = [line.split("  ") for line in aligned_tables(table).split("\n")]
    assert [[cell.strip() for cell in line if cell.strip()] for line in shown] == [
        ["old|new", "b"], ["--------", "---------"], ["yarn|16x", "two lines"], ["a|b", "|"],
    ]  # fmt: skip


def test_a_table_whose_rows_differ_is_shown_as_it_is():
    ragged = "| a | b |\n| --- | --- |\n| 1 | 2 | 3 |"
    assert aligned_tables(ragged) == ragged
