"""The folder of a run, and what in it is already finished."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..files import is_unfinished, replacing

_SETTINGS = "settings.json"
_LOCK = ".lock"
# What a run writes before it works; `0_start` is a copy of a live model.
_BEFORE_WORK = {_SETTINGS, _LOCK, ".writable", "plan.md", "plan.json"}
START = "0_start"


class RunDirectory:
    """Files of one run; everything is written whole, so that a file that exists is complete.

    Nothing is made or written before [`~RunDirectory.claim`].

    Args:
        path (`str` or `Path`):
            The folder; may not exist.

    Raises:
        ValueError: if the path, or one above it, is a file, or the folder cannot be written to.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        there = next(folder for folder in (self.path, *self.path.absolute().parents) if folder.exists())
        if not there.is_dir():
            raise ValueError(f"The output directory {self.path} cannot be made: {there} is a file. Give a folder.")
        if not os.access(there, os.W_OK | os.X_OK):
            raise ValueError(f"The output directory {self.path} cannot be written to: no permission for {there}.")

    def check(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse a folder that is not free for a run, without writing anything.

        Args:
            settings (`Mapping`):
                Everything that decides the result, ready for JSON.

        Returns:
            `dict`: the settings as a file would give them back.

        Raises:
            ValueError: if the folder contains a run with other settings (the differences are shown), or files of
                something else. A run that stopped before its first checkpoint or measurement is no reason to refuse.
        """
        given: dict[str, Any] = json.loads(json.dumps(settings))
        if (self.path / _SETTINGS).exists():
            changes = differences(self.read_json(_SETTINGS), given)
            if changes and self._has_work():
                shown = "\n".join(f"  {name}: {old!r} there, {new!r} now" for name, old, new in changes)
                raise ValueError(
                    f"{self.path} contains a run with other settings:\n{shown}\nGive another output directory, or the "
                    "old settings to continue that run."
                )
            return given
        # Files that a run leaves when it is killed in its first moment are its own.
        inside = self.path.iterdir() if self.path.is_dir() else ()
        others = sorted(
            entry.name for entry in inside if entry.name not in _BEFORE_WORK and not is_unfinished(entry.name)
        )
        if others:
            raise ValueError(
                f"{self.path} is not empty and contains no run of this recipe ({', '.join(others[:5])}"
                f"{', ...' if len(others) > 5 else ''}). Give an empty or a new folder."
            )
        return given

    def claim(self, settings: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """Make the folder and tie it to the settings of a run, or check that it is tied to the same.

        Args:
            settings (`Mapping`):
                See [`~RunDirectory.check`].

        Returns:
            A context manager that keeps the folder for this process until it is left. The system takes the lock back
            from a process that is killed.

        Raises:
            ValueError: as in [`~RunDirectory.check`], or if the folder cannot be written to, or another process is
                running in it.
        """
        self.check(settings)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.touch()
            probe.unlink()
            lock = self._lock()
        except Timeout:
            raise ValueError(
                f"Another process is running in {self.path}. Wait for it, or give another output directory."
            ) from None
        except OSError as error:
            raise ValueError(f"The output directory {self.path} cannot be written to: {error.strerror}.") from error
        # Again, because another process may have begun and ended in between.
        settings = self.check(settings)
        if self.read_json(_SETTINGS) != settings:
            if (self.path / START).is_dir():
                shutil.rmtree(self.path / START)
            self.write_json(_SETTINGS, settings)
        return lock

    def _lock(self) -> AbstractContextManager[Any]:
        # The other processes of a distributed run work in the folder of the first.
        if int(os.environ.get("RANK", "0")) > 0:
            return nullcontext()
        return FileLock(self.path / _LOCK).acquire(blocking=False)

    def _has_work(self) -> bool:
        """Whether anything would be lost with this folder; hidden names are half-written."""
        files = (file.relative_to(self.path) for file in self.path.rglob("*") if file.is_file())
        tops = {file.parts[0] for file in files}
        return any(not top.startswith(".") and top not in {*_BEFORE_WORK, START} for top in tops)

    def write_text(self, name: str, text: str) -> Path:
        """Write a text file whole or not at all; returns its path."""
        return self.replace(name, lambda target: target.write_text(text, encoding="utf-8"))

    def write_json(self, name: str, value: Any) -> Path:
        """Write a JSON file whole or not at all; returns its path."""
        return self.write_text(name, json.dumps(value, indent=2) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run; `None` if it is not there, `ValueError` if it is no JSON."""
        file = self.path / name
        if not file.exists():
            return None
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(
                f"{file} is damaged ({error}). Remove it, to have it made again, or give another folder."
            ) from error

    def replace(self, name: str, write: Callable[[Path], Any]) -> Path:
        """Let `write` fill a temporary file or folder and move it to its place, replacing what was there.

        Args:
            name (`str`):
                Place inside the run's folder.
            write (`Callable`):
                Gets the temporary path, whose parent exists.

        Returns:
            `Path`: the final place.
        """
        target = self.path / name
        with replacing(target, overwrite_folder=True) as draft:
            write(draft)
        return target


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    """Which values of two nested mappings differ.

    Returns:
        `list[tuple[str, Any, Any]]`: dotted name, old value, new value; `None` where a side lacks the name.
    """
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            found.append((prefix + key, before, after))
    return found
