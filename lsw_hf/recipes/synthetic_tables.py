"""SynL rows for the long SFT stage of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase

from ..data.tables import TableConfig, TableGenerator

# Tokens of the paper's shortest rows of long SFT.
_SHORTEST = 2_048


def synthetic_tables(
    tokenizer: PreTrainedTokenizerBase, *, num_rows: int, longest: int, seed: int
) -> datasets.IterableDataset:
    """Return a stream of tables with questions, of 2,048 to `longest` tokens as in the paper, log-uniformly.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Lengths are counted with it. With a chat template prompt and completion are messages, otherwise text.
        num_rows (`int`):
            How many rows before the stream repeats.
        longest (`int`):
            Tokens of the longest row, at least 16; below 2,048 all rows are that long.
        seed (`int`):
            Seed of the rows.

    Returns:
        [`~datasets.IterableDataset`]: each row is made when it is asked for.
    """
    generator = TableGenerator(tokenizer, _config(tokenizer, min(_SHORTEST, longest), longest), seed=seed)
    return datasets.IterableDataset.from_generator(_rows, gen_kwargs={"generator": generator, "num_rows": num_rows})


def check_smallest_table(tokenizer: PreTrainedTokenizerBase, *, longest: int) -> None:
    """Make one table of the smallest size that a run would draw, so that a budget or tokenizer without room for any
    table stops the run before its first stage and not in its last.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]), longest (`int`):
            See [`synthetic_tables`].

    Raises:
        ValueError: see [`TableGenerator`].
    """
    shortest = min(_SHORTEST, longest)
    TableGenerator(tokenizer, _config(tokenizer, shortest, shortest), seed=0).sample(0)


def _config(tokenizer: PreTrainedTokenizerBase, shortest: int, longest: int) -> TableConfig:
    chat = tokenizer.chat_template is not None
    return TableConfig(length=(shortest, longest), row_format="conversational" if chat else "prompt_completion")


def _rows(generator: TableGenerator, num_rows: int) -> Iterator[dict[str, Any]]:
    for index in range(num_rows):
        row = generator.sample(index)
        yield {"prompt": row["prompt"], "completion": row["completion"]}
