"""`lsw-hf compare`: two needle reports, question by question."""

from __future__ import annotations

from collections.abc import Sequence

from .parser import CommandParser

HELP = "set two needle reports of one grid against each other"
EXAMPLE = "lsw-hf compare needle_before.json needle_after.json --plot needle.png --page needle.html"
DETAILS = """Prints accuracy by length before and after with 95 % intervals, and how many questions were gained and
lost. Both reports must come from the same grid, task and tokenizer; otherwise it says what differs."""


def main(arguments: Sequence[str]) -> int:
    """Compare the two files and return the exit status."""
    parser = CommandParser("compare", details=DETAILS, example=EXAMPLE)
    parser.add_argument("before", help="JSON file of the first report")
    parser.add_argument("after", help="JSON file of the second report")
    parser.add_argument(
        "--labels", nargs=2, default=("before", "after"), help="names of the two (default: before after)"
    )
    parser.add_argument("--plot", default=None, help="both heat maps side by side (png, svg or pdf)")
    parser.add_argument("--page", default=None, help="HTML page with figures, tables and wrong answers")
    options = parser.parse(arguments)

    from ..evaluation.needle.comparison import compare_needle
    from ..evaluation.needle.report import NeedleReport

    before, after = NeedleReport.load(options.before), NeedleReport.load(options.after)
    comparison = compare_needle(before, after)
    if options.plot:
        from ..evaluation.needle.heat_map import plot_needle_pair

        plot_needle_pair(before, after, options.plot, labels=options.labels)
    if options.page:
        from ..evaluation.summary.page import write_page
        from ..evaluation.summary.results import EvaluationResults

        write_page(options.page, EvaluationResults(after), EvaluationResults(before), labels=tuple(options.labels))
    print(comparison.to_markdown())
    return 0
