"""What a command prints: text for people, or, with `--json`, one JSON object for programs.

On a terminal the columns of tables are aligned; on a pipe or in a file tables are Markdown, ready to be pasted.
"""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from contextlib import ExitStack, redirect_stdout
from dataclasses import asdict, is_dataclass
from typing import Any, Self

_RULE = re.compile(r"\|(\s*:?-+:?\s*\|)+")


class CommandOutput:
    """The standard output of one command, as a context manager.

    With `as_json`, everything that is printed meanwhile goes to standard error, and when the block ends without an
    error, one JSON object of all facts is printed.

    Args:
        as_json (`bool`):
            Whether `--json` was given.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._facts: dict[str, Any] = {}
        self._redirected = ExitStack()

    def __enter__(self) -> Self:
        """Turn standard output to standard error for the time of the block, if the output is JSON."""
        if self.as_json:
            self._redirected.enter_context(redirect_stdout(sys.stderr))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Print the JSON object, unless the command failed."""
        self._redirected.close()
        if self.as_json and kind is None:
            print(json.dumps(json_ready(self._facts), indent=1, allow_nan=False))

    def show(self, text: str, facts: Any = None) -> None:
        """Print `text`, or keep `facts` (a dictionary or a dataclass) for the JSON object.

        Args:
            text (`str`):
                What a person reads; may contain Markdown tables.
            facts (`dict` or dataclass, *optional*):
                The same facts as plain data, added to those of earlier calls.
        """
        if facts is not None:
            self._facts.update(asdict(facts) if is_dataclass(facts) and not isinstance(facts, type) else facts)
        if not self.as_json:
            print(aligned_tables(text) if sys.stdout.isatty() else text, flush=True)


def json_ready(value: Any) -> Any:
    """Return plain data that every JSON reader takes: no tuples, text keys, and `None` for NaN and infinity."""
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def aligned_tables(text: str) -> str:
    """Return `text` with its Markdown tables as plain columns, aligned as their rules say."""
    found: list[str] = []
    table: list[str] = []
    for line in [*text.split("\n"), ""]:
        if line.startswith("|"):
            table.append(line)
            continue
        found += _columns(table) if len(table) > 1 and _RULE.fullmatch(table[1].strip()) else table
        found.append(line)
        table = []
    return "\n".join(found[:-1])


def _columns(table: list[str]) -> list[str]:
    """Return the lines of one Markdown table as plain columns; the rule becomes a line of dashes."""
    rows = [[cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
    marks, body = rows[1], [rows[0], *rows[2:]]
    if any(len(row) != len(marks) for row in body):
        return table
    widths = [max(_width(row[place]) for row in body) for place in range(len(marks))]
    lines = ["  ".join(map(_aligned, row, widths, marks)).rstrip() for row in body]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def _aligned(cell: str, width: int, mark: str) -> str:
    missing = " " * (width - _width(cell))
    return missing + cell if mark.endswith(":") and not mark.startswith(":") else cell + missing


def _width(text: str) -> int:
    """Return the columns of a terminal that `text` takes: two for a Chinese character, none for a combining one."""
    return sum(
        0 if unicodedata.combining(letter) else 1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text
    )
