"""An argument parser that names the option a misspelled one was meant to be."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" with the known word nearest to `word`, or "" when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


class CommandParser(argparse.ArgumentParser):
    """The parser of one command: details on top, the example below, options never abbreviated.

    Args:
        command (`str`):
            the word after `lsw-hf`.
        details (`str`):
            what the command does, printed above its options.
        example (`str`):
            a complete command line, printed below its options.
        usage_status (`int`, *optional*, defaults to 2):
            exit status of a wrong command line.
    """

    def __init__(self, command: str, *, details: str, example: str, usage_status: int = 2) -> None:
        super().__init__(
            prog=f"lsw-hf {command}",
            description=details,
            epilog=f"example:\n  $ {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._usage_status = usage_status

    def add_json_option(self) -> None:
        """Add `--json`, for a command that prints facts with a `CommandOutput`."""
        self.add_argument(
            "--json", action="store_true", help="print one JSON object to standard output, and nothing else"
        )

    def parse(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Parse a whole command line; an unknown option ends the process and names the nearest known one."""
        # Before argparse looks: a required option that is misspelled would only be reported as missing.
        for argument in arguments:
            word = argument.split("=", 1)[0]
            if word == "--":
                break
            if word.startswith("--") and word not in self._option_string_actions:
                self._refuse(word)
        namespace, unknown = self.parse_known_args(list(arguments))
        if unknown:
            self._refuse(unknown[0].split("=", 1)[0])
        return namespace

    def _refuse(self, word: str) -> NoReturn:
        self.error(f"unknown option {word!r}.{nearest(word, self._option_string_actions)}")

    def error(self, message: str) -> NoReturn:
        """Print one line about what is wrong and where to read on, then exit."""
        self.exit(
            self._usage_status, f"{self.prog}: {message}\n{self.prog} --help shows the options and an example.\n"
        )


def count(minimum: int) -> Callable[[str], int]:
    """Return an argparse type for whole numbers from `minimum` up; `_` between digits is allowed, as in Python."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}, got {text!r}")
        return value

    return parse
