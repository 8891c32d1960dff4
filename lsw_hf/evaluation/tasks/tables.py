"""Questions about one long table, with keys that no training table of ours holds."""

from typing import Literal, get_args

import numpy as np

from ...data.tables import TableConfig, TableGenerator
from ...data.tables.templates import TEMPLATES
from ..prompting import PromptEncoder
from .sample import TaskSample

TableSkill = Literal["lookup", "join", "aggregate"]

# Types of question whose answer is one value: those whose answers are lists or sentences cannot be scored by text.
_TYPES: dict[TableSkill, tuple[str, ...]] = {
    "lookup": ("cell", "reverse", "neighbour"),
    "join": ("join",),
    "aggregate": ("count", "sum", "distinct"),
}
_ATTEMPTS = 6


class TableTask:
    """
    One question about a synthetic table (SynL). Tables come from the `"eval"` split of [`TableGenerator`]: an eighth
    of all keys, which its `"train"` split never shows.

    Args:
        skill (`str`, *optional*, defaults to `"lookup"`):
            `"lookup"` asks for one cell, `"join"` for a cell of a second table that the first one points to,
            `"aggregate"` for a count or a sum over rows.
        formats (`tuple[str, ...]`, *optional*, defaults to `("markdown", "csv")`): Ways to write a table.

    Raises:
        `ValueError`: for an unknown skill.
    """

    max_new_tokens = 32

    def __init__(self, skill: TableSkill = "lookup", formats: tuple = ("markdown", "csv")) -> None:
        if skill not in _TYPES:
            raise ValueError(f"skill must be one of {', '.join(get_args(TableSkill))}; got {skill!r}")
        self.skill, self.formats, self.name = skill, formats, f"table_{skill}"

    def sample(self, encoder: PromptEncoder, context_length: int, generator: np.random.Generator) -> TaskSample:
        """
        A table of as many rows as fit, and one question.

        Raises:
            `ValueError`: if not even the smallest table fits.
        """
        room, seed = context_length - self.max_new_tokens, int(generator.integers(2**31))
        length = room
        for _ in range(_ATTEMPTS):
            row = TableGenerator(encoder.tokenizer, self._config(length), seed=seed).sample(0)
            text = encoder.wrap(row["prompt"].rstrip() + "\nAnswer:")
            ids = encoder.ids(text)
            if len(ids) <= room:
                detail = {"depths": row["depths"][0], "rows": row["num_rows"], "format": row["format"]}
                return TaskSample(text, ids, (row["completion"].strip(),), "all", detail)
            # The generator counts neither the template nor the closing words.
            length -= len(ids) - room
        raise ValueError(f"a table and its question could not be brought down to {room} tokens")

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
