"""Every causal LM class of the installed transformers and every published configuration, extended by every method.

    python benchmarks/context_classes.py [--output-dir benchmarks/results] [--families classes llama ...] [--quick]

For each class a tiny model of its defaults is built, for each file in `tests/context/published` one with the published
rope fields, windows and lengths. Each is extended to twice and eight times its window. A cell says `extended`,
`refused` or `wrong`. Wrong is: an error that is not a refusal of ours; a pair of dimensions that turns faster than in
the model being extended; a local layer whose table changed; a reach that did not grow; a folder that is read back as
another model here, or by the interpreters named in `LSW_HF_PYTHON_457` (transformers 4.57), `LSW_HF_PYTHON_OLDEST`
(5.17) and `LSW_HF_PYTHON_523`, unless `verify_context` has a note on it.

Prints one JSON object as its last line; with `--output-dir` the table and the numbers are written there too, as
`context_classes.md`, `context_layers.md` (the part in `docs/results/architectures.md`) and `context_classes.json`.
Exits with 1 if any cell is wrong.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import transformers
from tqdm import tqdm

from benchmarks.context_cells import METHODS, SEPARATOR, TARGETS, Cell, Row, config_cell, live_cell
from benchmarks.context_layers import MARKS, layers_table
from benchmarks.context_reader import FAULTS
from benchmarks.context_readers import Reader, judge, open_readers
from benchmarks.context_subjects import Subject, class_subjects, published_subjects
from benchmarks.figures import benchmark_parser, compact_table, keep, parse
from lsw_hf.files import write_text

OUTCOMES = ("extended", "refused", "wrong", "not built")


class RunningRow:
    """
    A row whose own cells are known, while other interpreters still read its folders.

    Args:
        subject (`Subject`):
            The configuration.
        root (`Path`):
            A folder of its own.
        readers (`list[Reader]`):
            Who reads what is saved.
        quick (`bool`, *optional*, defaults to `False`):
            Judge `extend_config` only, by rotary modules that are built on their own; nothing is saved.
    """

    def __init__(self, subject: Subject, root: Path, readers: list[Reader], quick: bool = False) -> None:
        self.subject, self.root, self.readers = subject, root, readers
        self.cells: dict[str, Cell] = {}
        self.asked: dict[str, Any] = {}
        self.layers, self.reason = "", subject.reason
        root.mkdir()
        row = self._row()
        if row is None:
            self.cells = {name: Cell("not built", self.reason) for name in cell_names()}
            return
        source = None if quick or row.model is None else row.save_source()
        if source is not None:
            self.asked = {reader.label: {"source": reader.ask(source)} for reader in readers}
        for method in METHODS:
            for times in TARGETS:
                name = f"{method} {times}x"
                on_config = source is None
                self.cells[name] = (
                    config_cell(row, method, times) if on_config else live_cell(row, method, times, source)
                )
                for reader in readers if self.cells[name].folders else []:
                    self.asked[reader.label][name] = [reader.ask(folder) for folder in self.cells[name].folders]

    def _row(self) -> Row | None:
        try:
            row = Row(self.subject, self.root)
        except FAULTS as error:
            self.reason = f"no configuration: {' '.join(str(error).split())}"
            return None
        try:
            row.build()
        except FAULTS as error:
            self.reason = f"no tiny model: {' '.join(str(error).split())[:160]}"
            row.model, row.calls, row.before = None, [], {}
        self.layers = " ".join(("R" if layer.rotates else "-") + ("L" if layer.local else "G") for layer in row.layers)
        return row

    def finish(self) -> dict[str, Any]:
        """Waits for the readers, deletes the folders and returns the row as data."""
        read: dict[str, dict[str, str]] = {}
        for label, asked in self.asked.items():
            source = asked.pop("source").result()
            for name, futures in asked.items():
                answers = [future.result() for future in futures]
                read.setdefault(name, {})[label] = judge(label, self.cells[name], answers, source)
        shutil.rmtree(self.root, ignore_errors=True)
        cells = {}
        for name, cell in self.cells.items():
            faults = [words.removeprefix("wrong: ") for words in read.get(name, {}).values() if words[:5] == "wrong"]
            outcome = "wrong" if faults else cell.outcome
            reason = SEPARATOR.join([cell.reason, *faults] if cell.reason else faults)
            cells[name] = {"outcome": outcome, "reason": reason, "read": read.get(name, {})}
        head = {"name": self.subject.name, "family": self.subject.family, "layers": self.layers}
        return {**head, "not_built": self.reason, "cells": cells}


def cell_names() -> list[str]:
    """Every column of the numbers."""
    return [f"{method} {times}x" for method in METHODS for times in TARGETS]


def run(subjects: list[Subject], readers: list[Reader], quick: bool = False) -> list[dict[str, Any]]:
    """Every row, with a bar that says how long it will take; an interrupt ends it with the rows that are done."""
    rows, running = [], []
    with tempfile.TemporaryDirectory() as root:
        try:
            for number, subject in enumerate(tqdm(subjects, desc="configurations", smoothing=0.05)):
                running.append(RunningRow(subject, Path(root) / str(number), readers, quick))
                if len(running) > 4:
                    rows.append(running.pop(0).finish())
            rows += [row.finish() for row in running]
        except KeyboardInterrupt:
            print(f"interrupted after {len(rows)} of {len(subjects)} configurations", file=sys.stderr)
    return rows


def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How many cells have which outcome."""
    found = Counter(cell["outcome"] for row in rows for cell in row["cells"].values())
    return {outcome: found.get(outcome, 0) for outcome in OUTCOMES}


def grouped(rows: list[dict[str, Any]], outcome: str) -> list[str]:
    """Every distinct reason of an outcome, its numbers left out, with how often and where."""
    found: dict[str, list[str]] = {}
    examples: dict[str, str] = {}
    for row in rows:
        for name, cell in row["cells"].items():
            for reason in cell["reason"].split(SEPARATOR) if cell["outcome"] == outcome else []:
                key = re.sub(r"'[^']*'|[\d.,e+-]*\d", "#", reason)[:110]
                found.setdefault(key, []).append(f"{row['name']} ({name})")
                examples.setdefault(key, reason[:300])
    order = sorted(found, key=lambda key: -len(found[key]))
    return [
        f"- {len(found[key])} cells: {examples[key]} — {', '.join(dict.fromkeys(found[key][:40:13]))}" for key in order
    ]


def page(rows: list[dict[str, Any]], versions: dict[str, str]) -> str:
    """The Markdown page: counts, the table, and every reason."""
    total = counts(rows)
    lines = [
        "transformers " + ", ".join(f"{label} = {version}" for label, version in versions.items()),
        f"\n{len(rows)} configurations, {sum(total.values())} cells: "
        + ", ".join(f"{number} {outcome}" for outcome, number in total.items()),
        "\nLayers: R rotates, - does not; G sees the whole context, L is local.",
        "Cells: + extended, - refused, ? not built; two marks where the two targets differ.\n",
    ]
    cells_of = []
    for row in rows:
        cells = []
        for method in METHODS:
            outcomes = [row["cells"][f"{method} {times}x"]["outcome"] for times in TARGETS]
            cells.append("/".join(dict.fromkeys(MARKS[outcome] for outcome in outcomes)))
        cells_of.append([row["name"], row["family"], row["layers"], *cells])
    lines.append(compact_table(["configuration", "family", "layers", *METHODS], cells_of))
    for title, outcome in (("Wrong", "wrong"), ("Refused", "refused")):
        lines += [f"\n## {title}\n", *(grouped(rows, outcome) or ["none"])]
    read = Counter(
        f"{label}: {word.partition(':')[0]}"
        for row in rows
        for cell in row["cells"].values()
        for label, word in cell["read"].items()
    )
    lines += [
        "\n## What other readers said, cells\n",
        *(f"- {word}: {number}" for word, number in sorted(read.items())),
    ]
    unbuilt = [f"- {row['name']}: {row['not_built']}" for row in rows if row["not_built"]]
    return "\n".join([*lines, "\n## Not built\n", *(unbuilt or ["none"])]) + "\n"


def main() -> int:
    """Runs the command line."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--families", nargs="*", help="files of tests/context/published, or `classes` (default: all)")
    parser.add_argument("--names", nargs="*", help="only rows of these names")
    parser.add_argument(
        "--quick", action="store_true", help="judge extend_config only: no weights, no folders, no readers"
    )
    arguments = parse(parser)
    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    wanted = arguments.families
    subjects = [] if wanted and "classes" not in wanted else list(class_subjects())
    subjects += published_subjects(wanted)
    if arguments.names:
        subjects = [subject for subject in subjects if subject.name in arguments.names]
    readers = [] if arguments.quick else open_readers()
    rows = run(subjects, readers, arguments.quick)
    versions = {"here": transformers.__version__}
    versions |= {reader.label: reader.version.result().strip() for reader in readers}
    for reader in readers:
        reader.close()
    text = page(rows, versions)
    print(text, end="")
    figures = {"versions": versions, "configurations": len(rows), **counts(rows), "rows": rows}
    if arguments.output_dir:
        write_text(arguments.output_dir / "context_layers.md", layers_table(rows, METHODS) + "\n")
    keep("context_classes", text, figures, arguments.output_dir, indent=None)
    print(json.dumps({key: value for key, value in figures.items() if key != "rows"}))
    return 1 if figures["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
