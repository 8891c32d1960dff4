"""`lsw-hf train`: the recipe on a model and data of one's own."""

from __future__ import annotations

from collections.abc import Sequence

HELP = "run the recipe on your model, your documents and your instructions"
EXAMPLE = (
    "lsw-hf train --model PATH_OR_ID --documents corpus/ --instructions chats.jsonl "
    "--context-length 131072 --output-dir runs/mine --plan"
)


def main(arguments: Sequence[str]) -> int:
    """Run the recipe with the given options and return its exit status.

    The options are parsed by TRL's own parser (flags, or `--config run.yaml`), so they are not repeated here.
    """
    from lsw_hf.recipes import train_command

    return train_command(list(arguments))
