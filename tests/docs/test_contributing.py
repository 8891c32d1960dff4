"""The recipes for contributors work as they stand: their diffs apply, and the commands that they end with pass."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from tests.docs.pages import ROOT, blocks_of

RECIPES = sorted((ROOT / "docs" / "contributing").glob("add_*.md"))
COPIED = ("lsw_hf", "tests", "docs", "benchmarks", "examples", "model_cards")


def changes(text):
    """Every file of the page's diffs, with its hunks: lines with their mark in front."""
    diffs = [block.code for block in blocks_of(text) if block.language == "diff"]
    for part in re.split(r"^--- .*\n(?=\+\+\+ )", "".join(diffs), flags=re.MULTILINE)[1:]:
        name, *hunks = re.split(r"^@@.*\n", part, flags=re.MULTILINE)
        yield name.removeprefix("+++ b/").strip(), [hunk.splitlines() for hunk in hunks]


def apply(path, hunks):
    """Put the hunks into a file, each after the one before it; a file that is not there is made."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    start = 0
    for hunk in hunks:
        old = [line[1:] for line in hunk if not line.startswith("+")]
        new = [line[1:] for line in hunk if not line.startswith("-")]
        places = [place for place in range(start, len(lines) + 1) if lines[place : place + len(old)] == old]
        assert places, f"{path.name} has no place for\n" + "\n".join(hunk)
        lines[places[0] : places[0] + len(old)] = new
        start = places[0] + len(new)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def commands(text):
    """What the page says to run with the Python of the project."""
    return [
        [sys.executable, *shlex.split(line, comments=True)[1:]]
        for line in re.findall(r"^\.venv/bin/python .*$", text, re.MULTILINE)
    ]


def test_hunks_are_put_where_they_belong(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("a = 1\nb = 2\na = 1\n")
    apply(path, [[" b = 2", "+c = 3"], ["-a = 1", "+a = 4"]])
    assert path.read_text() == "a = 1\nb = 2\nc = 3\na = 4\n"
    with pytest.raises(AssertionError, match=r"a\.py has no place for"):
        apply(path, [[" d = 5", "+e = 6"]])


@pytest.mark.slow
@pytest.mark.parametrize("page", RECIPES, ids=lambda path: path.stem)
def test_recipe(page, tmp_path):
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in [*ROOT.glob("*.*"), ROOT / "Makefile", ROOT / "LICENSE"]:
        if file.is_file():
            shutil.copy(file, tmp_path)
    text = page.read_text(encoding="utf-8")
    for name, hunks in changes(text):
        apply(tmp_path / name, hunks)
    assert commands(text)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTEST_ADDOPTS": "-p no:cacheprovider"}
    for command in commands(text):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{shlex.join(command[1:])}\n{done.stdout[-4000:]}{done.stderr[-2000:]}"
