"""`lsw-hf refresh`: this version's code in a LongSkywork folder that was saved earlier."""

from __future__ import annotations

from collections.abc import Sequence

from .output import CommandOutput
from .parser import CommandParser

HELP = "replace the code in a LongSkywork folder that was saved by an earlier version"
EXAMPLE = "lsw-hf refresh runs/my-model"
DETAILS = """A saved LongSkywork model carries the code it was saved with, and goes on using it under every later
transformers. This replaces those files (configuration_, modeling_ and rope_longskywork.py) by this version's and
writes nothing else. Files that somebody edited are named and left, all of them."""


def main(arguments: Sequence[str]) -> int:
    """Refresh the given folder and return the exit status."""
    parser = CommandParser("refresh", details=DETAILS, example=EXAMPLE)
    parser.add_argument("folder", metavar="PATH", help="folder of a saved LongSkywork model")
    parser.add_json_option()
    options = parser.parse(arguments)

    from ..context.refresh import refresh_code

    with CommandOutput(options.json) as output:
        replaced = refresh_code(options.folder)
        text = f"The code in {options.folder} is this version's already."
        if replaced:
            text = f"Replaced in {options.folder}: {', '.join(replaced)}."
        output.show(text, {"folder": options.folder, "replaced": replaced})
    return 0
