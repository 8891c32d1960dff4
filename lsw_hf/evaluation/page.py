"""One self-contained HTML page: the verdict in a line, the figures, the tables, and what went wrong."""

import base64
import html
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from .comparison import compare_needle
from .files import write_text
from .plot import plot_needle, plot_needle_pair
from .plot_curves import plot_length_curves, plot_position_loss
from .report import NeedleReport
from .results import EvaluationResults
from .short_context import compare_short_context

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
    """
    Write the page. Figures are inside it, nothing is loaded from elsewhere.

    Args:
        path (`str` or `os.PathLike`): The HTML file.
        after ([`EvaluationResults`]): The model that the page is about.
        before ([`EvaluationResults`], *optional*): What it is compared with.
        title (`str`, *optional*, defaults to `"Long-context evaluation"`): Headline.
        labels (`tuple[str, str]`, *optional*, defaults to `("before", "after")`): Names of the two models.

    Raises:
        `ImportError`: if matplotlib is not installed.
        `ValueError`: if `after` holds no report, or the two were measured on different grids.
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
        self.after, self.before, self.labels = after, before, labels

    def parts(self) -> list[str]:
        return [
            self._verdict(),
            self._needle(),
            self._short(),
            self._tasks(),
            self._loss(),
            self._examples(),
            self._setting(),
        ]

    def _verdict(self) -> str:
        """The whole page in one or two sentences."""
        sentences = []
        new, old = self.after.needle, self.before.needle
        if new is not None:
            lengths = new.grid["context_lengths"]
            span = f"{min(lengths):,} to {max(lengths):,} tokens" if len(lengths) > 1 else f"{lengths[0]:,} tokens"
            if old is None:
                sentences.append(f"Retrieval over {span}: <b>{_percent(new.accuracy)}</b>.")
            else:
                far = max(lengths)
                sentences.append(
                    f"Retrieval over {span}: {_percent(old.accuracy)} {self.labels[0]}, "
                    f"<b>{_percent(new.accuracy)} {self.labels[1]}</b>; at {far:,} tokens "
                    f"{_percent(old.accuracy_at(far))}, <b>{_percent(new.accuracy_at(far))}</b>."
                )
        if self.before.short_context is not None and self.after.short_context is not None:
            short = compare_short_context(self.before.short_context, self.after.short_context)
            price = "was paid for" if short.paid else "was not paid for"
            sentences.append(f"The original window {price} ({100 * short.change:+.1f} points).")
        if self.after.tasks is not None:
            effective = self.after.tasks.effective_length()
            sentences.append(
                f"Effective length by RULER's threshold: {f'{effective:,} tokens' if effective else 'none reached'}."
            )
        return f'<p class="verdict">{" ".join(sentences)}</p>' if sentences else ""

    def _needle(self) -> str:
        new, old = self.after.needle, self.before.needle
        if new is None:
            return ""
        if old is None:
            picture = _image(lambda path: plot_needle(new, path), "Heat map of retrieval accuracy", narrow=True)
            return f"<h2>Retrieval by length and depth</h2>{picture}{_table(new.to_markdown())}"
        pair = _image(lambda path: plot_needle_pair(old, new, path, labels=self.labels), "Two heat maps side by side")
        lines = dict(zip(self.labels, (old, new), strict=True))
        curve = _image(lambda path: plot_length_curves(lines, path), "Accuracy by length", narrow=True)
        table = _table(compare_needle(old, new).to_markdown())
        return f"<h2>Retrieval by length and depth</h2>{pair}{curve}{table}{_notes(new)}"

    def _short(self) -> str:
        if self.before.short_context is None or self.after.short_context is None:
            return ""
        report = compare_short_context(self.before.short_context, self.after.short_context)
        return f"<h2>What the original window paid</h2>{_table(report.to_markdown())}"

    def _tasks(self) -> str:
        if self.after.tasks is None:
            return ""
        old = self.before.tasks
        earlier = f"<h3>{html.escape(self.labels[0])}</h3>{_table(old.to_markdown())}" if old is not None else ""
        heading = f"<h3>{html.escape(self.labels[1])}</h3>" if old is not None else ""
        return f"<h2>Tasks beyond one needle</h2>{heading}{_table(self.after.tasks.to_markdown())}{earlier}"

    def _loss(self) -> str:
        if self.after.loss is None:
            return ""
        lines = {self.labels[1]: self.after.loss}
        if self.before.loss is not None:
            lines = {self.labels[0]: self.before.loss} | lines
        picture = _image(lambda path: plot_position_loss(lines, path), "Loss by position", narrow=True)
        return f"<h2>Loss by position</h2>{picture}{_table(self.after.loss.to_markdown())}"

    def _examples(self) -> str:
        """Wrong answers, the shortest contexts first: those are the least excusable."""
        if self.after.needle is None:
            return ""
        wrong = [sample for sample in self.after.needle.samples if not sample.correct]
        if not wrong:
            return "<h2>Wrong answers</h2><p>None.</p>"
        heads = "".join(f'<th class="text">{name}</th>' for name in ("asked", "expected", "answered"))
        rows = [f"<tr><th>length</th><th>depth</th>{heads}</tr>"]
        for s in sorted(wrong, key=lambda s: (s.context_length, s.depth))[:_EXAMPLES]:
            texts = "".join(f'<td class="text">{html.escape(t)}</td>' for t in (s.question, s.expected, s.answered))
            rows.append(f"<tr><td>{s.context_length:,}</td><td>{s.depth:.2f}</td>{texts}</tr>")
        shown = f"The first {_EXAMPLES} of {len(wrong):,}" if len(wrong) > _EXAMPLES else f"All {len(wrong):,}"
        note = f'<p class="note">{shown}, by length; depth 0 is the beginning of the text.</p>'
        return f"<h2>Wrong answers</h2>{note}<table>{''.join(rows)}</table>"

    def _setting(self) -> str:
        """Under which circumstances the numbers were made."""
        if self.after.needle is None:
            return ""
        settings = self.after.needle.grid | self.after.needle.settings
        rows = "".join(
            f'<tr><td>{html.escape(str(name))}</td><td class="text">{html.escape(str(value))}</td></tr>'
            for name, value in settings.items()
            if value not in (None, [])
        )
        return f"<h2>How it was measured</h2><table>{rows}</table>"


def _image(draw: Callable[[Path], None], description: str, narrow: bool = False) -> str:
    """A figure drawn by `draw`, inside the page."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figure.png"
        draw(file)
        data = base64.b64encode(file.read_bytes()).decode()
    style = ' class="narrow"' if narrow else ""
    return f'<img{style} alt="{html.escape(description)}" src="data:image/png;base64,{data}">'


def _table(markdown: str) -> str:
    """The tables and sentences of our own reports as HTML; no general Markdown."""
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
    """The sentences below the report's own table."""
    return _table(report.to_markdown().split("\n\n", 1)[1])


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
