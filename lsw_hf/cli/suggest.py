"""`lsw-hf suggest`: which extension method to take for a model and a length."""

from __future__ import annotations

from collections.abc import Sequence

from .output import CommandOutput
from .parser import CommandParser, count

HELP = "compare the extension methods for a model and a target length, and recommend one"
EXAMPLE = "lsw-hf suggest --model PATH_OR_ID --context-length 131072"
DETAILS = """Reads a model's configuration only, and prints what each method would write, how many of its rotary pairs
would meet angles they never saw or lose resolution they had, what was published about it, and who reads it."""


def main(arguments: Sequence[str]) -> int:
    """Print the comparison for the given options and return the exit status."""
    parser = CommandParser("suggest", details=DETAILS, example=EXAMPLE)
    parser.add_argument("--model", required=True, help="folder of a saved model, or a Hub id")
    parser.add_argument("--context-length", type=count(1), required=True, help="target length in tokens")
    parser.add_argument(
        "--training",
        choices=("none", "short", "long"),
        default="short",
        help="what follows: none, short (up to about a thousand steps) or long (billions of tokens); default: short",
    )
    parser.add_argument(
        "--original-context-length",
        type=count(1),
        default=None,
        help="length at pretraining, if the files do not tell; the window, if a linear scaling left it as it was",
    )
    parser.add_argument("--trust-remote-code", action="store_true", help="run configuration code from the model")
    parser.add_json_option()
    options = parser.parse(arguments)

    from ..context.saved_model import load_config
    from ..context.suggestion import suggest_context

    with CommandOutput(options.json) as output:
        suggestion = suggest_context(
            load_config(options.model, trust_remote_code=options.trust_remote_code),
            options.context_length,
            training=options.training,
            original_context_length=options.original_context_length,
        )
        output.show(suggestion.to_markdown(), suggestion)
    return 0
