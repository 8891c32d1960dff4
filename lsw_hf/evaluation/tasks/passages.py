"""Questions about one passage among many others: the user's own passages, questions and answers."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .sample import TaskDraft, UnitTask

_COLUMNS = ("passage", "question", "answers")


class PassageQuestionTask(UnitTask):
    """One passage answers the question, passages of other questions distract (RULER's QA, 2404.06654, section 3).

    Args:
        rows (`Iterable[Mapping]`):
            Rows with `passage` (`str`), `question` (`str`) and `answers` (`str` or list of accepted `str`).

    Raises:
        ValueError: if a row lacks a column (names those it has), or there are fewer than two rows.
    """

    name = "passage_questions"
    match = "any"
    max_new_tokens = 32

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.rows: list[tuple[str, str, tuple[str, ...]]] = []
        for number, row in enumerate(rows, 1):
            missing = [name for name in _COLUMNS if name not in row]
            if missing:
                raise ValueError(f"row {number} lacks {', '.join(missing)}; it has {', '.join(sorted(row))}")
            answers = row["answers"]
            accepted = (answers,) if isinstance(answers, str) else tuple(answers)
            if not accepted or not all(accepted):
                raise ValueError(f"row {number} has an empty answer")
            self.rows.append((row["passage"], row["question"], accepted))
        if len(self.rows) < 2:
            raise ValueError(
                f"questions about passages need at least 2 rows, one of them to distract; got {len(self.rows)}"
            )

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> "PassageQuestionTask":
        """Read rows from a `.jsonl` file.

        Raises:
            ValueError: if the file is missing, or a line is no JSON object; the message names file and line.
        """
        rows = []
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError as error:
            raise ValueError(f"file of passages not found: {path}") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise ValueError(f"{path}, line {number}: not JSON ({error.msg})") from error
        return cls(rows)

    def draft(self, units: int, generator: np.random.Generator) -> TaskDraft:
        """`units` passages, the right one at a random place. Where there are too few, others come again,
        reshuffled.
        """
        chosen = int(generator.integers(len(self.rows)))
        passage, question, answers = self.rows[chosen]
        # A passage that contains the answer as well would be a second right place.
        others = [
            text for text, _, _ in self.rows if text != passage and not any(answer in text for answer in answers)
        ]
        if not others and units > 1:
            raise ValueError(f"every other passage contains an answer of {question!r}: nothing can distract")
        context: list[str] = []
        while len(context) < units - 1:
            context += [others[index] for index in generator.permutation(len(others)).tolist()]
        context = context[: units - 1]
        depth = float(generator.random())
        context.insert(round(depth * len(context)), passage)
        shown = "\n\n".join(f"Passage {number}:\n{text}" for number, text in enumerate(context, 1))
        prompt = (
            f"Answer the question from the passages below, in a few words.\n\n{shown}\n\nQuestion: {question}\nAnswer:"
        )
        return TaskDraft(prompt, answers, "", {"depth": depth})
