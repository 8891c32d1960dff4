"""What a result was made with: versions, machine, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "huggingface-hub", "numpy")


def describe_environment() -> dict[str, Any]:
    """Facts that a reader of a report needs to repeat it.

    Returns:
        `dict`: `versions` by package, `python`, `machine` (system, processor type, cores), and `commit` of this
        package's source, `None` outside a git checkout, followed by `+changes` if tracked files differ from it.
    """
    return {
        "versions": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Return the commit of the checkout that holds this file; `None` if this file is not one of its tracked files."""
    here = Path(__file__).resolve()
    command = ["git", "-C", str(here.parent)]
    try:
        subprocess.run(
            [*command, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True, timeout=10
        )
        found = subprocess.run([*command, "rev-parse", "HEAD"], check=True, capture_output=True, text=True, timeout=10)
        changed = subprocess.run([*command, "diff", "--quiet", "HEAD"], capture_output=True, timeout=10).returncode
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() + ("+changes" if changed else "")
