"""The README is a front page: short, with every command. `tests/docs` runs its code and follows its links."""

import re

from lsw_hf import __all__ as public_names
from lsw_hf.cli import COMMANDS
from tests.docs.pages import ROOT, blocks_of

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_a_front_page():
    assert len(README.splitlines()) <= 150


def test_the_eight_lines_are_eight_and_are_run():
    block = next(block for block in blocks_of(README) if block.language == "python")
    assert block.mark is None
    assert len([line for line in block.code.splitlines() if line.strip()]) <= 8


def test_every_command_is_named_and_no_other():
    assert set(re.findall(r"`lsw-hf (\w+)", README)) == set(COMMANDS)


def test_names_in_the_doors_are_public():
    doors = README.split("## Three doors")[1].split("\n## ")[0]
    rows = [row.split("|")[3] for row in doors.splitlines() if row.startswith("| ")][2:]
    names = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(names) >= 9
    assert names <= set(public_names)


def test_set_up_takes_two_commands():
    """Its environment included: everything else is for those who make their own."""
    commands = re.findall(r"^make (\w+)", README, re.MULTILINE)
    assert commands == ["demo", "test"]
