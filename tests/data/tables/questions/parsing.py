"""Reads rendered tables back with other means than the ones that wrote them: `csv`, `json`, `yaml`, `html.parser`, and
regular expressions. Returns headers and rows of text."""

import csv
import io
import json
import re
from html.parser import HTMLParser

import yaml

LATEX_ESCAPE = re.compile(r"\\([&%$#_{}])")


class _Html(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows = []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self.rows and data != "\n":
            self.rows[-1][-1] += data


def _markdown(text):
    lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines()]
    assert set(lines[1]) == {"---"}
    return lines[0], lines[2:]


def _latex(text):
    lines = text.splitlines()
    assert lines[0].startswith(r"\begin{tabular}{l")
    assert lines[2] == r"\hline"
    assert lines[-1] == r"\end{tabular}"
    rows = []
    for line in [lines[1], *lines[3:-1]]:
        assert line.endswith(r" \\")
        rows.append([LATEX_ESCAPE.sub(r"\1", cell) for cell in line[:-3].split(" & ")])
    return rows[0], rows[1:]


def _prose(text):
    stop, semicolon, colon = ("。", "；", "：") if "：" in text else (".", "; ", ": ")
    rows = []
    for line in text.splitlines():
        assert line.endswith(stop)
        rows.append([pair.split(colon) for pair in line[: -len(stop)].split(semicolon)])
    return [name for name, _ in rows[0]], [[value for _, value in row] for row in rows]


def _records(records):
    return list(records[0]), [[str(value) for value in record.values()] for record in records]


def parse(text, table_format):
    """Headers and rows of a rendered table, as texts."""
    if table_format == "markdown":
        return _markdown(text)
    if table_format in ("csv", "tsv"):
        lines = list(csv.reader(io.StringIO(text), delimiter="\t" if table_format == "tsv" else ","))
        return lines[0], lines[1:]
    if table_format == "jsonl":
        return _records([json.loads(line, parse_float=str, parse_int=str) for line in text.splitlines()])
    if table_format == "yaml":
        return _records(yaml.load(text, Loader=yaml.BaseLoader))
    if table_format == "html":
        reader = _Html()
        reader.feed(text)
        return reader.rows[0], reader.rows[1:]
    return _latex(text) if table_format == "latex" else _prose(text)
