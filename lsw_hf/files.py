"""Whole files or none: readers see the old file or the new one, never half, whenever the writer is stopped."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_HIDDEN = re.compile(r"\.(?P<stem>.+)\.(?P<pid>\d+)\.(?P<kind>partial|replaced)(?P<suffix>(?:\.[^.]+)?)", re.DOTALL)


@contextmanager
def replacing(path: str | os.PathLike[str], *, overwrite_folder: bool = False) -> Iterator[Path]:
    """Yield a place to write a file or folder, which takes the name `path` when the block ends, and is deleted when it
    raises.

    What killed processes left of earlier attempts at the same path is deleted first; a folder that one of them had put
    aside and not yet replaced gets its name back.

    Args:
        path (`str` or `os.PathLike`):
            Final name. Its folder is made as needed. An existing file is replaced in one step.
        overwrite_folder (`bool`, *optional*, defaults to `False`):
            Whether a folder with files in it is replaced too. That takes two steps: an error or interrupt between them
            puts the old folder back, and after a kill there the next attempt begins with it. By default a folder must
            not exist yet, or be empty.

    Yields:
        `Path`: a hidden name in the same folder, with the same ending, used by one process of this machine, not shared
        by its threads. Nothing is there.

    Raises:
        OSError: at the end of the block, if `path` is a folder that is not to be replaced; it keeps its files.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(target)
    draft, aside = (_hidden(target, kind) for kind in ("partial", "replaced"))
    try:
        yield draft
        if draft.is_dir() and target.is_dir():
            if overwrite_folder:
                os.replace(target, aside)
            else:
                target.rmdir()
        os.replace(draft, target)
    finally:
        _remove(draft)
        if aside.exists() and not target.exists():  # stopped between the two renames, by an error or an interrupt
            os.replace(aside, target)
        _remove(aside)


def is_unfinished(name: str) -> bool:
    """Whether a file or folder of this name is one that [`replacing`] had not finished, or not cleared away."""
    return _HIDDEN.fullmatch(name) is not None


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
        raise ValueError(f"{path} contains a {type(content).__name__} and no JSON object. Download or save it again.")
    return content


def _hidden(target: Path, kind: str) -> Path:
    return target.with_name(f".{target.stem}.{os.getpid()}.{kind}{target.suffix}")


def _clear_leftovers(target: Path) -> None:
    leftovers = []
    for path in target.parent.iterdir():
        found = _HIDDEN.fullmatch(path.name)
        if found and (found["stem"], found["suffix"]) == (target.stem, target.suffix) and not _runs(int(found["pid"])):
            leftovers.append((path, found["kind"]))
    for path, kind in leftovers:
        if kind == "replaced" and not target.exists():
            os.replace(path, target)  # the only copy of what was there
        else:
            _remove(path)


def _runs(process: int) -> bool:
    """Whether another process of that number runs on this machine."""
    if process == os.getpid():
        return False
    if os.name != "posix":
        return True  # elsewhere `os.kill` would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        pass
    return True


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):  # two processes may clear away the same leftover
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
