"""`lsw-hf demo`: the whole recipe on a tiny model."""

from __future__ import annotations

from collections.abc import Sequence

from .output import CommandOutput
from .parser import CommandParser, count
from .train import show_plan, show_results

HELP = "run the whole recipe on a tiny model, on a CPU, and show the needle grid before and after"
EXAMPLE = "lsw-hf demo --output-dir demo"
DETAILS = """Trains a tiny model from nothing with a short window, gives it a long one by the four stages that a large
model would go through, and measures what it can still find, before and after. Everything that a run leaves is
written to the output directory; the last lines say what to open."""


def main(arguments: Sequence[str]) -> int:
    """Run the demo with the given options and return its exit status."""
    parser = CommandParser("demo", details=DETAILS, example=EXAMPLE)
    parser.add_argument("--seed", type=count(0), default=0, help="seed of everything that is random (default: 0)")
    parser.add_argument("--output-dir", default="demo", help="where everything is written (default: demo)")
    parser.add_argument(
        "--context-length", type=count(1), default=None, help="target length in tokens (default: the demo's own)"
    )
    parser.add_json_option()
    options = parser.parse(arguments)

    from ..demo.recipe import tiny_data, tiny_recipe
    from ..recipes.console import quiet_libraries

    with CommandOutput(options.json) as output, quiet_libraries():
        recipe = tiny_recipe(seed=options.seed, output_dir=options.output_dir, context_length=options.context_length)
        show_plan(recipe, output)
        show_results(recipe.run(**tiny_data(recipe)), output)
    return 0
