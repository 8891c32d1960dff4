"""How a table looks as text: eight formats, each a fixed text around every cell."""

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from .schema import NUMBER_KINDS, TableSchema
from .table import Table

TableFormat = Literal["markdown", "csv", "tsv", "jsonl", "html", "latex", "yaml", "prose"]
FORMATS: tuple[TableFormat, ...] = get_args(TableFormat)
_LATEX = str.maketrans({character: f"\\{character}" for character in "&%$#_{}"})
_FORBIDDEN = {
    "markdown": "|\n",
    "csv": "\n",
    "tsv": "\t\n",
    "jsonl": "",
    "html": "",
    "latex": "\\~^\n",
    "yaml": "",
    "prose": ":;：；。\n",
}


@dataclass(frozen=True)
class Layout:
    """The text around the cells of a table.

    Attributes:
        head (`str`):
            before the first row.
        affixes (`tuple[str, ...]`):
            before the first cell of a row, between cells, after the last; one more than
            columns.
        foot (`str`):
            after the last row.
        writers (`tuple[Callable | None, ...]`):
            per column, what turns a cell into text; `None` leaves it as it is.
    """

    head: str
    affixes: tuple[str, ...]
    foot: str
    writers: tuple[Callable[[str], str] | None, ...]

    def fragments(self, cells: Sequence[Sequence[str]]) -> list[list[str]]:
        """Per column, every written cell with the text after it (the first column also with the text before it)."""
        columns = []
        for place, (column, writer) in enumerate(zip(cells, self.writers, strict=True)):
            before = self.affixes[0] if place == 0 else ""
            after = self.affixes[place + 1]
            written = column if writer is None else [writer(cell) for cell in column]
            columns.append([before + cell + after for cell in written])
        return columns

    def rows(self, cells: Sequence[Sequence[str]]) -> list[str]:
        """Every row as text; `head + "".join(rows) + foot` is the whole table."""
        return ["".join(row) for row in zip(*self.fragments(cells), strict=True)]


def table_layout(schema: TableSchema, table_format: TableFormat, header: bool = True) -> Layout:
    """Return the layout of a schema in a format.

    Args:
        schema ([`TableSchema`]):
            columns and language.
        table_format (`str`):
            one of `FORMATS`.
        header (`bool`, *optional*, defaults to `True`):
            whether CSV and TSV begin with a row of headers. The other
            formats always name their columns.
    """
    names = [column.name for column in schema.columns]
    numbers = [column.kind in NUMBER_KINDS for column in schema.columns]
    if table_format in ("markdown", "csv", "tsv"):
        return _separated(table_format, names, header)
    if table_format in ("jsonl", "yaml"):
        return _quoted(table_format, names, numbers)
    if table_format == "html":
        head = "<table>\n<tr>" + "".join(f"<th>{html.escape(name)}</th>" for name in names) + "</tr>\n"
        between = ["</td><td>"] * (len(names) - 1)
        return Layout(head, ("<tr><td>", *between, "</td></tr>\n"), "</table>\n", (html.escape,) * len(names))
    if table_format == "latex":
        line = " & ".join(name.translate(_LATEX) for name in names)
        head = f"\\begin{{tabular}}{{{'l' * len(names)}}}\n{line} \\\\\n\\hline\n"
        affixes = ("", *[" & "] * (len(names) - 1), " \\\\\n")
        return Layout(head, affixes, "\\end{tabular}\n", (_latex_cell,) * len(names))
    colon, semicolon, stop = ("：", "；", "。\n") if schema.language == "zh" else (": ", "; ", ".\n")
    affixes = (names[0] + colon, *[semicolon + name + colon for name in names[1:]], stop)
    return Layout("", affixes, "", (None,) * len(names))


def _separated(table_format: TableFormat, names: list[str], header: bool) -> Layout:
    left, middle, right = {"markdown": ("| ", " | ", " |\n"), "csv": ("", ",", "\n"), "tsv": ("", "\t", "\n")}[
        table_format
    ]
    writer = _csv_cell if table_format == "csv" else None
    head = left + middle.join(names if writer is None else map(writer, names)) + right
    if table_format == "markdown":
        head += "|" + " --- |" * len(names) + "\n"
    elif not header:
        head = ""
    return Layout(head, (left, *[middle] * (len(names) - 1), right), "", (writer,) * len(names))


def _quoted(table_format: TableFormat, names: list[str], numbers: list[bool]) -> Layout:
    quoted = [json.dumps(name, ensure_ascii=False) for name in names]
    if table_format == "jsonl":
        affixes = ("{" + quoted[0] + ": ", *[f", {name}: " for name in quoted[1:]], "}\n")
    else:
        affixes = (f"- {quoted[0]}: ", *[f"\n  {name}: " for name in quoted[1:]], "\n")
    return Layout("", affixes, "", tuple(None if number else _json_text for number in numbers))


def _csv_cell(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if '"' in cell or "," in cell else cell


def _latex_cell(cell: str) -> str:
    return cell.translate(_LATEX)


def _json_text(cell: str) -> str:
    return json.dumps(cell, ensure_ascii=False)


def check_writable(schema: TableSchema, table_format: TableFormat) -> None:
    """Raise a `ValueError` if a header or a given word contains a character that would make a format ambiguous."""
    forbidden = _FORBIDDEN[table_format]
    for column in schema.columns:
        for text in (column.name, *column.values):
            found = [character for character in forbidden if character in text]
            if found or text != text.strip():
                raise ValueError(
                    f"{text!r} in column {column.name!r} cannot be written as {table_format} because of "
                    f"{found or ['outer spaces']}: change it or choose another format."
                )


def render_table(table: Table, table_format: TableFormat, header: bool = True) -> str:
    """Return a table as text, ending with a newline.

    Example:

    ```python
    >>> print(render_table(table, "markdown"))
    | id | city |
    | --- | --- |
    | 417 | Oslo |

    ```
    """
    layout = table_layout(table.schema, table_format, header)
    return layout.head + "".join(layout.rows(table.cells)) + layout.foot
