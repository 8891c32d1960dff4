"""What commands print: Markdown on pipes, aligned columns on terminals, one JSON object with `--json`."""

import io
import json
import sys
from dataclasses import dataclass

import pytest

from lsw_hf.cli.output import CommandOutput, aligned_tables, json_ready
from lsw_hf.progress import progress_bar
from lsw_hf.reports import markdown_table


class Terminal(io.StringIO):
    def isatty(self):
        return True


@dataclass
class Facts:
    lengths: tuple
    loss: float


TABLE = markdown_table(("name", "tokens", ""), [("one", 1_024, "x"), ("more | words", 7, "")], align="lr")


def test_tables_are_aligned_columns():
    assert aligned_tables(f"Before.\n\n{TABLE}\n\nAfter | all.") == (
        "Before.\n"
        "\n"
        "name          tokens\n"
        "------------  ------  -\n"
        "one             1024  x\n"
        "more | words       7\n"
        "\n"
        "After | all."
    )


def test_wide_letters_take_two_columns():
    table = markdown_table(("a", "b"), [("表格", 1), ("e\u0301", 22)])
    assert aligned_tables(table) == "a     b\n----  --\n表格  1\ne\u0301     22"
    # A full-width Latin letter is as wide, a half-width katakana is not.
    table = markdown_table(("a", "b"), [("\uff21", 1), ("\uff71\uff71\uff71", 22)])
    assert aligned_tables(table) == "a    b\n---  --\n\uff21   1\n\uff71\uff71\uff71  22"


@pytest.mark.parametrize("text", ["| no table", "| a |\n| b |", "", "one\n"])
def test_other_text_stays(text):
    assert aligned_tables(text) == text


def test_a_pipe_gets_markdown_and_a_terminal_columns(monkeypatch):
    for stream, expected in ((io.StringIO(), "| name |"), (Terminal(), "name  ")):
        monkeypatch.setattr(sys, "stdout", stream)
        with CommandOutput(False) as output:
            output.show(TABLE)
        assert stream.getvalue().startswith(expected)


def test_json_is_one_object_and_the_rest_goes_to_standard_error(capsys):
    with CommandOutput(True) as output:
        print("a library talks")
        output.show("text", Facts((1, 2), float("nan")))
        output.show("more", {"name": "é", "rows": {3: (float("inf"), 0.5)}})
        output.show("a note")
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"lengths": [1, 2], "loss": None, "name": "é", "rows": {"3": [None, 0.5]}}
    assert shown.err == "a library talks\n"
    assert json_ready(True) is True


def test_a_failed_command_prints_no_object(capsys):
    def fail():
        with CommandOutput(True) as output:
            output.show("", {"half": 1})
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        fail()
    assert capsys.readouterr().out == ""
    print("back")
    assert capsys.readouterr().out == "back\n"


def test_bars_are_drawn_on_terminals_only(monkeypatch):
    for stream, show, drawn in ((io.StringIO(), True, False), (Terminal(), True, True), (Terminal(), False, False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with progress_bar(4, "tables", unit="rows", show=show) as bar:
            bar.update(4)
        assert bool(stream.getvalue()) == drawn
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    with progress_bar(4, "tables", unit="rows") as bar:
        bar.update(4)
    with progress_bar(0.4, "needle") as bar:
        bar.set_postfix_str("512 tokens")
    lines = stream.getvalue().replace("\r", "\n").split("\n")
    assert any(line.startswith("tables: 100%|") and "| 4/4 rows, 00:00<00:00" in line for line in lines)
    assert any(line.startswith("needle:   0%|") and line.endswith("| 00:00<?, 512 tokens") for line in lines)
