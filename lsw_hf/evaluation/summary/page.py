"""One self-contained HTML page: the verdict, figures, tables and wrong answers."""

import base64
import html
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...files import write_text
from ..needle.comparison import compare_needle
from ..needle.heat_map import plot_needle, plot_needle_pair
from ..needle.report import NeedleReport
from .curves import plot_length_curves, plot_position_loss
from .results import EvaluationResults
from .short_context import ShortContextReport, compare_short_context

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; max-width: 960px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p.verdict { font-size: 1.25rem; margin-top: .4rem; } p.note { color: #555; font-size: .9rem; }
img { width: 100%; height: auto; } img.narrow { width: 68%; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child, td:first-child, .text { text-align: left; } td.text { overflow-wrap: anywhere; max-width: 22rem; }
"""
_EXAMPLES = 20


def write_page(
    path: str | os.PathLike[str],
    after: EvaluationResults,
    before: EvaluationResults | None = None,
    *,
    title: str = "Long-context evaluation",
    labels: tuple[str, str] = ("before", "after"),
) -> None:
    """Write the page. Figures are inside it, nothing is loaded from elsewhere.

    Args:
        path (`str` or `os.PathLike`):
            The HTML file.
        after ([`EvaluationResults`]):
            The model that the page is about.
        before ([`EvaluationResults`], *optional*):
            What it is compared with.
        title (`str`, *optional*, defaults to `"Long-context evaluation"`):
            Headline.
        labels (`tuple[str, str]`, *optional*, defaults to `("before", "after")`):
            Names of the two models.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if `after` has no report, or the two were measured on different grids.
    """
    builder = _Page(after, before or EvaluationResults(), labels)
    body = "\n".join(part for part in builder.parts() if part)
    if not body:
        raise ValueError("there is nothing to show: no report was given")
    write_text(
        path,
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n",
    )


class _Page:
    """The sections, in the order of reading."""

    def __init__(self, after: EvaluationResults, before: EvaluationResults, labels: tuple[str, str]) -> None:
        self.after, self.before = after, before
        # All text of a page is escaped where it is written; labels are used in many places.
        self.labels = (html.escape(labels[0]), html.escape(labels[1]))
        self.names = labels
        old, new = before.short_context, after.short_context
        self.short = None if old is None or new is None else compare_short_context(old, new)

    def parts(self) -> list[str]:
        return [
            self._verdict(),
            self._models(),
            self._needle(),
            self._short(),
            self._tasks(),
            self._loss(),
            self._wrong_needles(),
            self._wrong_tasks(),
            self._setting(),
        ]

    def _verdict(self) -> str:
        """Return a summary of the page: what was reached, and what it cost."""
        sentences = []
        new, old = self.after.needle, self.before.needle
        if new is not None:
            far = max(new.grid["context_lengths"])
            was = (
                f" ({self.labels[0]}: {_percent(old.accuracy_at(far))})"
                if old is not None and old.grid == new.grid
                else ""
            )
            sentences.append(
                f"At {far:,} tokens the model finds <b>{_percent(new.accuracy_at(far))}</b> of the hidden facts{was}."
            )
        if self.short is not None:
            sentences.append(_price(self.short, self.labels))
        if self.after.tasks is not None:
            effective = self.after.tasks.effective_length()
            sentences.append(
                f"Effective length by RULER's threshold: {f'{effective:,} tokens' if effective else 'none reached'}."
            )
        return "".join(f'<p class="verdict">{sentence}</p>' for sentence in sentences)

    def _models(self) -> str:
        """Which models these are, and how long a window each of them declares."""
        lines = []
        for label, results in zip(self.labels, (self.before, self.after), strict=True):
            report = results.needle or results.tasks or results.loss
            if report is not None:
                window = report.settings.get("max_position_embeddings")
                name = html.escape(str(report.settings.get("model")))
                lines.append(f"{label}: {name}" + (f", window of {window:,} tokens" if window else ""))
        return f'<p class="note">{"<br>".join(lines)}</p>' if lines else ""

    def _needle(self) -> str:
        new, old = self.after.needle, self.before.needle
        if new is None:
            return ""
        if old is None:
            picture = _image(lambda path: plot_needle(new, path), "Heat map of retrieval accuracy", narrow=True)
            return f"<h2>Retrieval by length and depth</h2>{picture}{_table(new.to_markdown())}"
        pair = _image(lambda path: plot_needle_pair(old, new, path, labels=self.names), "Two heat maps side by side")
        lines = dict(zip(self.names, (old, new), strict=True))
        curve = _image(lambda path: plot_length_curves(lines, path), "Accuracy by length", narrow=True)
        table = _table(compare_needle(old, new).to_markdown(self.names))
        return f"<h2>Retrieval by length and depth</h2>{pair}{curve}{table}{_notes(new)}"

    def _short(self) -> str:
        if self.short is None:
            return ""
        return f"<h2>What the longer window cost</h2>{_table(self.short.to_markdown(self.names))}"

    def _tasks(self) -> str:
        if self.after.tasks is None:
            return ""
        old = self.before.tasks
        earlier = f"<h3>{self.labels[0]}</h3>{_table(old.to_markdown())}" if old is not None else ""
        heading = f"<h3>{self.labels[1]}</h3>" if old is not None else ""
        return f"<h2>Tasks beyond one needle</h2>{heading}{_table(self.after.tasks.to_markdown())}{earlier}"

    def _loss(self) -> str:
        if self.after.loss is None:
            return ""
        lines = {self.names[1]: self.after.loss}
        if self.before.loss is not None:
            lines = {self.names[0]: self.before.loss} | lines
        picture = _image(lambda path: plot_position_loss(lines, path), "Loss by position", narrow=True)
        return f"<h2>Loss by position</h2>{picture}{_table(self.after.loss.to_markdown())}"

    def _wrong_needles(self) -> str:
        """Wrong answers, the shortest contexts first: those are the least excusable."""
        if self.after.needle is None:
            return ""
        wrong = [sample for sample in self.after.needle.samples if not sample.correct]
        rows = [
            (f"{s.context_length:,}", f"{s.depth:.2f}", s.question, s.expected, s.answered)
            for s in sorted(wrong, key=lambda s: (s.context_length, s.depth))
        ]
        note = "Depth is where the fact was: 0 is the beginning of the text, 1 its end."
        return _examples("Wrong answers about hidden facts", ("length", "depth"), rows, note)

    def _wrong_tasks(self) -> str:
        """Answers of the task families that were not wholly right, the shortest contexts first."""
        if self.after.tasks is None:
            return ""
        wrong = [outcome for outcome in self.after.tasks.outcomes if outcome.score < 1]
        rows = [
            (o.task, f"{o.context_length:,}", _place(o.detail), o.question, ", ".join(o.expected), o.answered)
            for o in sorted(wrong, key=lambda o: o.context_length)
        ]
        note = "Depths are where the evidence was: 0 is the beginning of the text, 1 its end."
        return _examples("Wrong answers in the task families", ("task", "length", "depths"), rows, note)

    def _setting(self) -> str:
        """Return the settings of the evaluation."""
        if self.after.needle is None:
            return ""
        settings = self.after.needle.grid | self.after.needle.settings
        rows = "".join(
            f"<tr><td>{html.escape(str(name).replace('_', ' '))}</td>"
            f'<td class="text">{html.escape(_value(value))}</td></tr>'
            for name, value in settings.items()
            if value not in (None, [])
        )
        return f"<h2>How it was measured</h2><table>{rows}</table>"


def _price(short: ShortContextReport, labels: tuple[str, str]) -> str:
    """Return what the longer window cost in the old one, in a sentence."""
    old, new = short.before.needle.accuracy, short.after.needle.accuracy
    change = 100 * abs(short.change)
    moved = (
        f"{change:.1f} points were {'lost' if short.change < 0 else 'gained'}" if change >= 0.05 else "nothing changed"
    )
    return (
        f"In the original window of {short.before.window:,} tokens {moved}: {_percent(new)} "
        f"({labels[0]}: {_percent(old)})."
    )


def _examples(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], note: str) -> str:
    """Return a table of the first rows, each ending with what was asked, expected and answered."""
    if not rows:
        return f"<h2>{title}</h2><p>None.</p>"
    head = "".join(f"<th>{name}</th>" for name in columns)
    head += "".join(f'<th class="text">{name}</th>' for name in ("asked", "expected", "answered"))
    lines = [f"<tr>{head}</tr>"]
    for row in rows[:_EXAMPLES]:
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row[: len(columns)])
        cells += "".join(f'<td class="text">{html.escape(cell)}</td>' for cell in row[len(columns) :])
        lines.append(f"<tr>{cells}</tr>")
    shown = f"The first {_EXAMPLES} of {len(rows):,}" if len(rows) > _EXAMPLES else f"All {len(rows):,}"
    return f'<h2>{title}</h2><p class="note">{shown}, by length. {note}</p><table>{"".join(lines)}</table>'


def _place(detail: dict[str, Any]) -> str:
    """Return the depths of the evidence, where the task gives them."""
    depths = detail.get("depths", detail.get("depth"))
    values = depths if isinstance(depths, (list, tuple)) else [] if depths is None else [depths]
    return " ".join(f"{float(value):.2f}" for value in values)


def _value(value: object) -> str:
    """Return a setting as text without Python syntax."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_value(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _image(draw: Callable[[Path], None], description: str, narrow: bool = False) -> str:
    """Return a figure drawn by `draw`, inside the page."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figure.png"
        draw(file)
        data = base64.b64encode(file.read_bytes()).decode()
    style = ' class="narrow"' if narrow else ""
    return f'<img{style} alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def _table(markdown: str) -> str:
    """Return the tables and sentences of our own reports as HTML; no general Markdown."""
    parts: list[str] = []
    for block in markdown.split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("|"):
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in cells[0])
            rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in cells[2:])
            parts.append(f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
        else:
            parts.append(f'<p class="note">{html.escape(block)}</p>')
    return "".join(parts)


def _notes(report: NeedleReport) -> str:
    """Return the sentences below the report's own table."""
    return _table(report.to_markdown().split("\n\n", 1)[1])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
