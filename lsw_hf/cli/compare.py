"""`lsw-hf compare`: two needle reports, question by question."""

from __future__ import annotations

from collections.abc import Sequence

from .output import CommandOutput
from .parser import CommandParser

HELP = "set two needle reports of one grid against each other"
EXAMPLE = "lsw-hf compare needle_before.json needle_after.json --plot needle.png --page needle.html"
DETAILS = """Prints accuracy by length before and after with 95 % intervals, and how many questions were gained and
lost. Both reports must come from the same grid, task and tokenizer; otherwise it says what differs.

Exit status, for gates:
  0  the second report is no worse
  2  it is worse beyond the interval: at some length, or over all, more questions were lost than gained, and the exact
     95 % interval of the share that was lost, of the questions that changed, is above one half. The interval of one
     length is widened to the number of lengths, so that a model that is no worse fails in at most 5 % of all cases
  1  any error, a wrong command line too"""


def main(arguments: Sequence[str]) -> int:
    """Compare the two files and return the exit status: 0 for no worse, 2 for worse beyond the interval."""
    parser = CommandParser("compare", details=DETAILS, example=EXAMPLE, usage_status=1)
    parser.add_argument("before", help="JSON file of the first report")
    parser.add_argument("after", help="JSON file of the second report")
    parser.add_argument(
        "--labels", nargs=2, default=("before", "after"), help="names of the two (default: before after)"
    )
    parser.add_argument("--plot", default=None, help="both heat maps side by side (png, svg or pdf)")
    parser.add_argument("--page", default=None, help="HTML page with figures, tables and wrong answers")
    parser.add_json_option()
    options = parser.parse(arguments)

    from ..evaluation.needle.comparison import compare_needle
    from ..evaluation.needle.report import NeedleReport

    labels = tuple(options.labels)
    with CommandOutput(options.json) as output:
        before, after = NeedleReport.load(options.before), NeedleReport.load(options.after)
        comparison = compare_needle(before, after)
        if options.plot:
            from ..evaluation.needle.heat_map import plot_needle_pair

            plot_needle_pair(before, after, options.plot, labels=labels)
        if options.page:
            from ..evaluation.summary.page import write_page
            from ..evaluation.summary.results import EvaluationResults

            write_page(options.page, EvaluationResults(after), EvaluationResults(before), labels=labels)
        output.show(comparison.to_markdown(labels), {"labels": labels} | comparison.to_dict())
        output.show(f"\n{_verdict(comparison.worse_at, comparison.worse, labels[1])}")
    return 2 if comparison.worse else 0


def _verdict(worse_at: tuple[int, ...], worse: bool, label: str) -> str:
    """Return the exit status in words."""
    places = " and ".join(f"{length:,}" for length in worse_at)
    if places:
        return f"Worse beyond the interval: {label}, at {places} tokens."
    return f"Worse beyond the interval: {label}, over all lengths." if worse else f"No worse: {label}."
