"""What all reports share: a saved form with a kind and a version, and Markdown tables."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from .files import read_json_object, write_json

_BAR = re.compile(r"(?<!\\)\|")
SCHEMA_VERSION = 1
"""Version of the saved form of every report."""


class SavedReport(ABC):
    """A result that is saved as one JSON object, read back, and shown as Markdown.

    A subclass names its `kind`, its `title` and its data: `_fields` gives them, `_from_fields` takes them back.
    """

    kind: ClassVar[str]
    """Stored with the data, so that a file of another kind is refused by name."""

    title: ClassVar[str]
    """What messages call it, such as "task report"."""

    @abstractmethod
    def _fields(self) -> dict[str, Any]:
        """Return the report as plain data that JSON can hold, without kind and version."""

    @classmethod
    @abstractmethod
    def _from_fields(cls, data: dict[str, Any]) -> Self:
        """Return the inverse of `_fields`."""

    @abstractmethod
    def to_markdown(self) -> str:
        """Return the report as a reader sees it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, with its `kind` and `schema_version`."""
        return {"kind": self.kind, "schema_version": SCHEMA_VERSION, **self._fields()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Return the inverse of `to_dict`.

        Raises:
            ValueError: `data` is a report of another kind, or of another schema version.
        """
        if data.get("kind") != cls.kind or data.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"this is not a {cls.title} of schema version {SCHEMA_VERSION}: kind {data.get('kind')!r}, "
                f"schema_version {data.get('schema_version')!r}"
            )
        try:
            return cls._from_fields(data)
        except (KeyError, TypeError) as error:
            raise ValueError(f"this {cls.title} is not complete: {error}. Save it again.") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON; an existing file is replaced in one step."""
        write_json(path, self.to_dict(), indent=1)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a report that `save` wrote.

        Raises:
            ValueError: there is no such file, it is not JSON, or no report of this kind; the message names the file.
        """
        if not Path(path).is_file():
            raise ValueError(f"there is no {cls.title} at {path}. Give the JSON file that was saved.")
        data = read_json_object(Path(path))
        try:
            return cls.from_dict(data)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]], align: str = "") -> str:
    """Return a Markdown table, without a final line break.

    Args:
        header (`Sequence[str]`):
            Names of the columns.
        rows (`Iterable[Sequence]`):
            Cells, made text with `str`; each row has as many as the header. A `|` in one is escaped, and a line break
            becomes a space, so that neither ends the cell.
        align (`str`, *optional*, defaults to `""`):
            One letter a column: `l`, `r` or `c`. Columns without a letter are not aligned.

    Raises:
        ValueError: a row has more or fewer cells than the header.
    """
    marks = {"l": ":---", "r": "---:", "c": ":---:"}
    rule = [marks.get(letter, "---") for letter in align.ljust(len(header))]
    cells = [[_BAR.sub(r"\|", " ".join(str(cell).splitlines())) for cell in row] for row in (header, *rows)]
    lines = [cells[0], rule, *cells[1:]]
    wrong = [line for line in lines if len(line) != len(header)]
    if wrong:
        raise ValueError(f"a table of {len(header)} columns cannot take the row {wrong[0]}")
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
