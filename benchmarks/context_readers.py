"""Other interpreters that read saved models for the table of classes, and what their answers mean."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from benchmarks.context_cells import TOLERANCE, Cell

READERS = {"4.57": "LSW_HF_PYTHON_457", "5.17": "LSW_HF_PYTHON_OLDEST", "5.23": "LSW_HF_PYTHON_523"}
NOTED = {"4.57": ("transformers 4", "4.57"), "5.17": ("5.17", "older transformers"), "5.23": ("5.23", "5.17 to 5.23")}
"""Words in the notes of `verify_context` that tell of a reader which will not read the file as it is meant."""


class Reader:
    """
    One process that answers questions about folders, in order, beside the caller.

    Args:
        label (`str`):
            What the table calls it.
        python (`str`):
            The interpreter.
    """

    def __init__(self, label: str, python: str) -> None:
        self.label = label
        command = [python, str(Path(__file__).with_name("context_reader.py"))]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,  # an interrupt of the table lets the readers finish what they were asked
        )
        self._queue = ThreadPoolExecutor(max_workers=1)
        self.version = self._queue.submit(self._process.stdout.readline)

    def ask(self, folder: Path) -> Future:
        """The answer about `folder`, when it comes."""
        return self._queue.submit(self._answer, folder)

    def _answer(self, folder: Path) -> dict[str, object]:
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        return json.loads(line) if line else {"refused": "the reader ended"}

    def close(self) -> None:
        """Ends the process."""
        self._queue.shutdown(cancel_futures=True)
        self._process.stdin.close()
        self._process.wait()


def open_readers() -> list[Reader]:
    """A reader for each interpreter that the environment names."""
    named = {label: os.environ[variable] for label, variable in READERS.items() if os.environ.get(variable)}
    return [Reader(label, python) for label, python in named.items()]


def judge(label: str, cell: Cell, answers: list[dict[str, object]], source: dict[str, object]) -> str:
    """
    What one reader's answers say about a cell: `"equal"`, `"unknown there"`, `"not comparable"`, `"noted: ..."`, or
    what is wrong, beginning with `"wrong: "`.

    Args:
        label (`str`):
            The reader.
        cell (`Cell`):
            The cell; its notes may tell of the difference.
        answers (`list[dict]`):
            What it says of the cell's folders.
        source (`dict`):
            What it says of the folder before the extension: where it disagrees there already, nothing follows.
    """
    if source.get("unknown"):
        return "unknown there"
    if not float(source.get("difference", 1.0)) <= TOLERANCE:
        return "not comparable"
    # a note that a file lacks fields is a fault of the writer, and excuses no reader
    said = " ".join(note for note in cell.notes if "config.json lacks" not in note)
    words = "equal"
    for folder, answer in zip(cell.folders, answers, strict=True):
        if float(answer.get("difference", 1.0)) <= TOLERANCE:
            continue
        what = (
            f"refuses, {answer['refused']}" if "refused" in answer else f"is {answer.get('difference', 1.0):.1e} off"
        )
        if not any(word in said for word in NOTED[label]):
            return f"wrong: {label} reads the {folder.suffix[1:]} folder otherwise and no note says so: {what}"
        words = f"noted: {what}"
    return words
