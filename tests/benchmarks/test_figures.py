"""What all benchmarks share: one meaning of `--output-dir`, tables as the kept results have them, one last line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import benchmark_parser, compact_table, finish, machine, parse

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
SCRIPTS = sorted(
    path for path in BENCHMARKS.glob("*.py") if "benchmark_parser(__doc__" in path.read_text(encoding="utf-8")
)


def test_every_script_with_options_shares_them():
    with_options = {path for path in BENCHMARKS.glob("*.py") if "add_argument(" in path.read_text(encoding="utf-8")}
    assert with_options - {BENCHMARKS / "figures.py"} <= set(SCRIPTS)
    assert len(SCRIPTS) == 12
    for path in SCRIPTS:
        source = path.read_text(encoding="utf-8")
        assert not re.findall(
            r'add_argument\("--(?:output|output-dir|figure|results)"|ArgumentParser\(|\| --- \||\|---', source
        )


def test_tables_have_a_rule_without_spaces():
    assert compact_table(("a", "b"), [("x", 1)], "-r") == "| a | b |\n|---|---:|\n| x | 1 |"


def test_page_and_figures_are_kept_and_the_last_line_is_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py", "--output-dir", str(tmp_path / "out" / "deep")])
    options = parse(benchmark_parser("What it measures."))
    assert options.output_dir.is_dir()
    finish("x", "a page\n", {"a": 1}, options.output_dir)
    assert capsys.readouterr().out == 'a page\n{"a": 1}\n'
    assert (options.output_dir / "x.md").read_text(encoding="utf-8") == "a page\n"
    assert json.loads((options.output_dir / "x.json").read_text(encoding="utf-8")) == {"a": 1}
    assert machine().startswith("torch ")


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["x.py"])
    options = parse(benchmark_parser("What it measures."))
    finish("x", "a page", [1], options.output_dir)
    assert capsys.readouterr().out == "a page\n[1]\n"
    assert list(tmp_path.iterdir()) == []
    assert benchmark_parser("", "runs/x").parse_args([]).output_dir == Path("runs/x")


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_says_what_is_measured(path, tmp_path):
    done = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "--output-dir OUTPUT_DIR" in done.stdout
    assert f"python benchmarks/{path.name}" in done.stdout
