"""Whole files or none: readers see the old file or the new one, never half, whenever the writer is stopped."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a place to write a file or folder, which takes the name `path` when the block ends, and is deleted when it
    raises.

    Args:
        path (`str` or `os.PathLike`):
            Final name. Its folder is made as needed. An existing file is replaced in one step; a folder must not exist
            yet, or be empty.

    Yields:
        `Path`: a hidden name in the same folder, with the same ending, for this process alone. Nothing is there.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    _remove(draft)  # left by a process of the same number that was killed
    try:
        yield draft
        os.replace(draft, target)
    finally:
        _remove(draft)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a whole UTF-8 text file, with its folders."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], data: Any, indent: int = 2) -> None:
    """Write a whole JSON file that ends in a line break; letters beyond ASCII are kept readable."""
    write_text(path, json.dumps(data, indent=indent, ensure_ascii=False) + "\n")


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        ValueError: the file is not JSON, or contains something other than an object; the message names the file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also numbers of too many digits, and brackets a million deep
        raise ValueError(f"{path} is not JSON ({error}). Download or save it again.") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__} instead of settings. Download or save it again.")
    return content


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
