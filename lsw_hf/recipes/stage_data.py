"""Rows of a stage: dialogues, of which only the answers are trained, and synthetic tables for long SFT."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import datasets
from transformers import PreTrainedTokenizerBase
from trl import is_conversational
from trl.chat_template_utils import get_training_chat_template

from ..data.tables import TableConfig, TableGenerator

_GENERATION = re.compile(r"\{%-?\s*generation\b")
# Tokens of the paper's shortest rows of long SFT.
_SHORTEST_TABLE = 2_048


def answers_only(rows: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training arguments of a stage on `messages`: only what the assistant says is trained, as with
    prompt/completion.

    TRL's own default trains every token of a dialogue. Then question and answer cannot be told apart, and skipped
    positions would find no border.

    Args:
        rows ([`~datasets.Dataset`], [`~datasets.IterableDataset`] or other, *optional*):
            Rows of the stage.
        options (`Mapping`):
            Its training arguments; `assistant_only_loss` stays what it is there.

    Returns:
        `dict`: `assistant_only_loss=True`, or nothing where it does not apply.
    """
    row = _first(rows)
    if row is None or "messages" not in row or "assistant_only_loss" in options:
        return {}
    return {"assistant_only_loss": True}


def check_dialogues(stage: str, rows: Any, options: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> None:
    """Render the first row of a stage, if it is a dialogue, so that a chat template that cannot do it stops the run
    before its first stage.

    Args:
        stage (`str`):
            Name of the stage, for the message.
        rows, options:
            As in [`answers_only`].
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]):
            Tokenizer of the run.

    Raises:
        ValueError: if there is no chat template, or it does not mark the assistant's words where that is needed.
    """
    row = _first(rows)
    if row is None or not is_conversational(row):
        return
    if tokenizer.chat_template is None:
        raise ValueError(
            f"Stage {stage}: the rows are dialogues, and the tokenizer has no chat template to write them with. Save "
            "the tokenizer with one (tokenizer.chat_template), or give prompt and completion as plain text."
        )
    if not {**options, **answers_only(rows, options)}.get("assistant_only_loss") or "messages" not in row:
        return
    template = tokenizer.get_chat_template()
    if not _GENERATION.search(template):
        try:
            template = get_training_chat_template(tokenizer) or template
        except ValueError:
            raise ValueError(
                f"Stage {stage}: the tokenizer's chat template does not mark what the assistant says, and TRL has no "
                "marked version of it. Put {% generation %} and {% endgeneration %} around it in the template, or "
                "split the rows into prompt and completion, both lists of messages."
            ) from None
    marked = tokenizer.apply_chat_template(
        row["messages"],
        chat_template=template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )["assistant_masks"]
    if 1 not in marked:
        raise ValueError(
            f"Stage {stage}: in the first row the tokenizer's chat template marks no word of the assistant's, so "
            "there is nothing to train. Check the {% generation %} blocks of the template and the roles of the row."
        )


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
    generator = TableGenerator(tokenizer, _table_config(tokenizer, min(_SHORTEST_TABLE, longest), longest), seed=seed)
    return datasets.IterableDataset.from_generator(
        _table_rows, gen_kwargs={"generator": generator, "num_rows": num_rows}
    )


def check_smallest_table(tokenizer: PreTrainedTokenizerBase, *, longest: int) -> None:
    """Make one table of the smallest size that a run would draw, so that a budget or tokenizer without room for any
    table stops the run before its first stage and not in its last.

    Args:
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]), longest (`int`):
            See [`synthetic_tables`].

    Raises:
        ValueError: see [`TableGenerator`].
    """
    shortest = min(_SHORTEST_TABLE, longest)
    TableGenerator(tokenizer, _table_config(tokenizer, shortest, shortest), seed=0).sample(0)


def _table_config(tokenizer: PreTrainedTokenizerBase, shortest: int, longest: int) -> TableConfig:
    chat = tokenizer.chat_template is not None
    return TableConfig(length=(shortest, longest), row_format="conversational" if chat else "prompt_completion")


def _table_rows(generator: TableGenerator, num_rows: int) -> Iterator[dict[str, Any]]:
    for index in range(num_rows):
        row = generator.sample(index)
        yield {"prompt": row["prompt"], "completion": row["completion"]}


def _first(rows: Any) -> Mapping[str, Any] | None:
    """Return the first row of what can be read twice; `None` of a function, whose rows are not made yet, and of
    nothing.
    """
    if not isinstance(rows, (datasets.Dataset, datasets.IterableDataset, list)):
        return None
    return next(iter(rows), None)
