"""`lsw-hf needle`: one needle grid on one model."""

from __future__ import annotations

from collections.abc import Sequence

from .evaluation_options import add_grid_options, add_model_options, grid_from, load_model, task_from
from .output import CommandOutput
from .parser import CommandParser

HELP = "measure what a model finds in long texts, by length and depth"
EXAMPLE = "lsw-hf needle --model PATH_OR_ID --context-lengths 4096,32768 --output needle.json --plot needle.png"
DETAILS = """Hides facts at several depths of texts of several lengths, asks for them, and prints the grid of right
answers. Lengths are exact: tokens of the whole prompt, question included. Nothing is downloaded but the model."""


def main(arguments: Sequence[str]) -> int:
    """Run the grid with the given options and return the exit status."""
    parser = CommandParser("needle", details=DETAILS, example=EXAMPLE)
    add_model_options(parser)
    add_grid_options(parser)
    parser.add_argument("--output", default=None, help="JSON file to write")
    parser.add_argument("--plot", default=None, help="heat map to write (png, svg or pdf)")
    parser.add_json_option()
    options = parser.parse(arguments)

    from ..evaluation.needle.grid import evaluate_needle

    with CommandOutput(options.json) as output:
        grid, task = grid_from(options), task_from(options)
        model, tokenizer = load_model(options)
        report = evaluate_needle(model, tokenizer, grid, task, prompt_style=options.prompt_style)
        if options.output:
            report.save(options.output)
        if options.plot:
            report.plot(options.plot)
        output.show(report.to_markdown(), report.to_dict())
    return 0
