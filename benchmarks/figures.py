"""What every benchmark shares: its command line, its tables, the files it keeps, and its last line, one JSON object.

Imports nothing but the standard library at the top: other interpreters, which lack the package, read this file too.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any


def benchmark_parser(doc: str | None, output_dir: str | None = None) -> argparse.ArgumentParser:
    """
    A parser whose help is the script's docstring, with `--output-dir`.

    Args:
        doc (`str`):
            The script's `__doc__`.
        output_dir (`str`, *optional*):
            Default of `--output-dir`, for scripts whose runs must be kept; others write nothing without the option.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    told = "default: nothing is written" if output_dir is None else f"default: {output_dir}"
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=None if output_dir is None else Path(output_dir),
        help=f"folder for the table, the figures and everything else that is written ({told})",
    )
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options of this process; the output folder is made before the work, not after it."""
    options = parser.parse_args()
    if options.output_dir:
        options.output_dir.mkdir(parents=True, exist_ok=True)
    return options


def compact_table(header: Sequence[str], rows: Iterable[Sequence[Any]], align: str = "") -> str:
    """A Markdown table as the kept results have it: no spaces in its rule, no line break at its end."""
    from lsw_hf.reports import markdown_table

    first, rule, *others = markdown_table(header, rows, align).split("\n")
    return "\n".join([first, rule.replace(" ", ""), *others])


def keep(name: str, page: str, figures: Any, output_dir: Path | None, indent: int | None = 2) -> None:
    """Write `NAME.md` and `NAME.json` into the output folder, if there is one, each whole or not at all."""
    from lsw_hf.files import write_text

    if output_dir:
        write_text(output_dir / f"{name}.md", page)
        write_text(output_dir / f"{name}.json", json.dumps(figures, indent=indent) + "\n")


def finish(name: str, page: str, figures: Any, output_dir: Path | None, indent: int | None = 2) -> None:
    """Print the page, keep page and figures, and print the figures as the last line."""
    print(page, end="" if page.endswith("\n") else "\n")
    keep(name, page, figures, output_dir, indent)
    print(json.dumps(figures))


def peak_memory() -> int:
    """Most bytes of memory that this process has had so far.

    Linux is asked for VmHWM, which starts anew with the program. There `ru_maxrss` keeps the peak of the process that
    started this one: a small benchmark started by a large one would report its parent.
    """
    status = Path("/proc/self/status")
    if status.exists():
        kibibytes = next(line.split()[1] for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(kibibytes) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def machine() -> str:
    """Versions and processor, as a page says them."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "transformers"))
    return f"{versions}, {platform.machine()}"
