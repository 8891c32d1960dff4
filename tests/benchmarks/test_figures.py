"""What all benchmarks share: one meaning of `--output-dir`, tables as the kept results have them, one last line."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.figures import benchmark_parser, compact_table, finish, machine, parse, peak_memory
from benchmarks.tiny_runs import variant_folder

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"
SCRIPTS = sorted(
    path for path in BENCHMARKS.glob("*.py") if "benchmark_parser(__doc__" in path.read_text(encoding="utf-8")
)


def test_every_script_with_options_shares_them():
    with_options = {path for path in BENCHMARKS.glob("*.py") if "add_argument(" in path.read_text(encoding="utf-8")}
    assert with_options - {BENCHMARKS / "figures.py"} <= set(SCRIPTS)
    assert len(SCRIPTS) == 13
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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere getrusage is asked")
def test_the_peak_is_that_of_this_process_in_bytes():
    """200 MB here, and a child that needs little: it does not report its parent."""
    block = b"1" * 200_000_000
    assert 200_000_000 < peak_memory() < 20_000_000_000
    code = "from benchmarks.figures import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=BENCHMARKS.parent)
    assert 1_000_000 < int(child.stdout) < len(block)


def test_variants_have_folders_of_their_own(tmp_path):
    names = ("skip_all", "skip_all, 2 skips", "skip_all, 4 skips", "p=0.5")
    folders = [variant_folder(tmp_path, seed, name) for seed in (0, 1) for name in names]
    assert len(set(folders)) == 8
    assert {folder.parent.parent for folder in folders} == {tmp_path}


@pytest.mark.slow
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help_says_what_is_measured(path, tmp_path):
    done = subprocess.run([sys.executable, path, "--help"], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert "--output-dir OUTPUT_DIR" in done.stdout
    assert f"python benchmarks/{path.name}" in done.stdout
