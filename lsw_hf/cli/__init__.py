"""The command line: `lsw-hf COMMAND [options]`, one module of this folder a command.

A command module has three names: `HELP` (one line for the overview), `EXAMPLE` (a complete command line) and
`main(arguments) -> int`, which parses its own options and returns the exit status. Only the chosen command's work is
imported: a module of this folder imports nothing heavy before its `main` runs.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from types import ModuleType

from .. import __version__
from .parser import nearest

# In the order of a user's way: see it work, then run, measure and publish one's own.
COMMANDS: tuple[str, ...] = (
    "demo",
    "suggest",
    "extend",
    "convert",
    "refresh",
    "train",
    "needle",
    "eval",
    "compare",
    "leakage",
    "tables",
    "data",
)

# What a bug report needs to know beside the versions of this package, Python and the system.
_LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "evaluate",
    "huggingface-hub",
    "tokenizers",
    "safetensors",
    "flash-attn",
)

TRACEBACK_VARIABLE = "LSW_HF_TRACEBACK"


def load_command(name: str) -> ModuleType:
    """Return the module of the command `name`."""
    return import_module(f"{__name__}.{name}")


def overview() -> str:
    """Return what `lsw-hf --help` prints: every command with its purpose and an example."""
    lines = [
        "usage: lsw-hf COMMAND [options]",
        "",
        "Give a causal language model a longer context window, prove it, and publish it.",
        "",
        "commands:",
    ]
    for name in COMMANDS:
        command = load_command(name)
        lines += [f"  {name:<9} {command.HELP}", f"            $ {command.EXAMPLE}"]
    return "\n".join(
        [
            *lines,
            "",
            "lsw-hf COMMAND --help  shows the options of a command",
            "lsw-hf --version       prints the versions of everything that matters in a bug report",
        ]
    )


def versions() -> str:
    """Return the versions of this package and of the libraries it builds on, one a line, without importing them."""
    lines = [f"lsw-hf {__version__}"]
    for name in _LIBRARIES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name} not installed")
    return "\n".join([*lines, f"python {platform.python_version()} on {platform.platform()}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit status.

    Args:
        arguments (`Sequence[str]`, *optional*):
            the words after `lsw-hf`; defaults to those of this process.

    Returns:
        `int`: 0 when the command did its work, 2 for a wrong command line, 1 when the input was refused (the reason is
        printed; the environment variable `LSW_HF_TRACEBACK=1` shows the place too), 130 after Ctrl-C. `compare`
        has its own, which its `--help` names.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(versions())
        return 0
    name = words[0]
    if name not in COMMANDS:
        print(f"lsw-hf: unknown command {name!r}.{nearest(name, COMMANDS)}", file=sys.stderr)
        print(f"Commands are {', '.join(COMMANDS)}; lsw-hf --help shows an example of each.", file=sys.stderr)
        return 2
    try:
        return int(load_command(name).main(words[1:]))
    except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
        if os.environ.get(TRACEBACK_VARIABLE) == "1":
            raise
        print(f"lsw-hf {name}: {error}", file=sys.stderr)
        print(f"({TRACEBACK_VARIABLE}=1 shows where this was raised.)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nlsw-hf {name}: stopped.", file=sys.stderr)
        return 130
