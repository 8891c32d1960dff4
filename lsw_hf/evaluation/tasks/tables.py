"""Questions about one long table, with keys that are in no training table of ours."""

from typing import Literal, get_args

import numpy as np

from ...data.tables import TableConfig, TableGenerator
from ...data.tables.questions.templates import TEMPLATES
from ...data.tables.token_costs import TokenCosts
from ..reading.prompts import PromptEncoder
from .sample import TaskSample

TableSkill = Literal["lookup", "join", "aggregate"]

# Types of question whose answer is one value: those whose answers are lists or sentences cannot be scored by text.
_TYPES: dict[TableSkill, tuple[str, ...]] = {
    "lookup": ("cell", "reverse", "neighbor"),
    "join": ("join",),
    "aggregate": ("count", "sum", "distinct"),
}
_ATTEMPTS = 6
# Every table needs these, whatever its words.
_MARKS = (*"0123456789", ",", "|")


class TableTask:
    """One question about a synthetic table (SynL). Tables come from the `"eval"` split of [`TableGenerator`]: an
    eighth of all keys, which its `"train"` split never shows.

    Args:
        skill (`str`, *optional*, defaults to `"lookup"`):
            `"lookup"` asks for one cell, `"join"` for a cell of a second table that the first one points to,
            `"aggregate"` for a count or a sum over rows.
        formats (`tuple[str, ...]`, *optional*, defaults to `("markdown", "csv")`):
            Ways to write a table.

    Raises:
        ValueError: for an unknown skill.
    """

    max_new_tokens = 32

    def __init__(self, skill: TableSkill = "lookup", formats: tuple = ("markdown", "csv")) -> None:
        if skill not in _TYPES:
            raise ValueError(f"skill must be one of {', '.join(get_args(TableSkill))}; got {skill!r}")
        self.skill, self.formats, self.name = skill, formats, f"table_{skill}"

    def sample(self, encoder: PromptEncoder, context_length: int, generator: np.random.Generator) -> TaskSample:
        """Return a table of as many rows as fit, and one question.

        Raises:
            ValueError: if not even the smallest table fits, or the tokenizer does not know the words of tables.
        """
        self._check_known(encoder)
        room, seed = context_length - self.max_new_tokens, int(generator.integers(2**31))
        length = room
        for _ in range(_ATTEMPTS):
            try:
                row = TableGenerator(encoder.tokenizer, self._config(length), seed=seed).sample(0)
            except ValueError as error:
                raise ValueError(
                    f"a context_length of {context_length} tokens has no room for a sample of the task {self.name!r}, "
                    f"with {self.max_new_tokens} of them for the answer: {error}"
                ) from error
            text = encoder.wrap(row["prompt"].rstrip() + "\nAnswer:")
            ids = encoder.ids(text)
            if len(ids) <= room:
                detail = {"depths": row["depths"][0], "rows": row["num_rows"], "format": row["format"]}
                return TaskSample(text, ids, (row["completion"].strip(),), "all", detail)
            # The generator counts neither the template nor the closing words.
            length -= len(ids) - room
        raise ValueError(
            f"a context_length of {context_length} tokens is too short for the task {self.name!r}: a table, its "
            f"question and the prompt's template could not be brought down to {room} tokens"
        )

    def _check_known(self, encoder: PromptEncoder) -> None:
        """Refuse a tokenizer that has no tokens for what questions and tables are written in."""
        questions = [question for name in _TYPES[self.skill] for question, _ in TEMPLATES["en"][name]]
        words = dict.fromkeys(word for question in questions for word in question.split() if "{" not in word)
        missing = TokenCosts(encoder.tokenizer).unknown([*words, *_MARKS])
        if missing:
            shown = ", ".join(map(repr, missing[:8]))
            raise ValueError(
                f"the tokenizer does not know {len(missing)} of {len(words) + len(_MARKS)} words and marks of the "
                f"task {self.name!r}, among them {shown}: choose tasks in the words of this model"
            )

    def _config(self, length: int) -> TableConfig:
        """Tables of that length whose questions are answered by the value alone."""
        types = _TYPES[self.skill]
        return TableConfig(
            length=max(length, 16),
            question_types=types,
            templates={name: tuple((question, "{value}") for question, _ in TEMPLATES["en"][name]) for name in types},
            formats=self.formats,
            split="eval",
            row_format="prompt_completion",
            pad_to_length=False,
        )
