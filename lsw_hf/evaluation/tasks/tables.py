"""Looking things up in one long table, with keys that no training table of ours holds."""

import numpy as np

from ...data.tables import TableConfig, TableGenerator
from ..prompting import PromptEncoder
from .sample import TaskSample

_ATTEMPTS = 4


class TableLookupTask:
    """
    A cell of a synthetic table (SynL) is asked for by the key of its row. Tables come from the `"eval"` split of
    [`TableGenerator`]: an eighth of all keys, which its `"train"` split never shows.

    Args:
        formats (`tuple[str, ...]`, *optional*, defaults to `("markdown", "csv")`): Ways to write a table.
        max_new_tokens (`int`, *optional*, defaults to 32): Tokens that the model may generate.
    """

    name = "table_lookup"

    def __init__(self, formats: tuple = ("markdown", "csv"), max_new_tokens: int = 32) -> None:
        self.formats, self.max_new_tokens = formats, max_new_tokens

    def sample(self, encoder: PromptEncoder, context_length: int, generator: np.random.Generator) -> TaskSample:
        """
        A table of as many rows as fit, and one question.

        Raises:
            `ValueError`: if not even the smallest table fits.
        """
        room, seed = context_length - self.max_new_tokens, int(generator.integers(2**31))
        length = room
        for _ in range(_ATTEMPTS):
            config = TableConfig(
                length=max(length, 16),
                question_types=("cell",),
                formats=self.formats,
                split="eval",
                row_format="prompt_completion",
                pad_to_length=False,
            )
            row = TableGenerator(encoder.tokenizer, config, seed=seed).sample(0)
            text = encoder.wrap(row["prompt"].rstrip() + "\nAnswer:")
            ids = encoder.ids(text)
            if len(ids) <= room:
                detail = {"depths": row["depths"][0], "rows": row["num_rows"], "format": row["format"]}
                return TaskSample(text, ids, (row["completion"].strip(),), "all", detail)
            # The generator counts neither the template nor the closing words.
            length -= len(ids) - room
        raise ValueError(f"a table and its question could not be brought down to {room} tokens")
