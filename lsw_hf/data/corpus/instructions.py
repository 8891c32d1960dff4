"""Instruction rows for fine-tuning, in one of TRL's two forms, checked row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from datasets import Dataset, IterableDataset

from .sources import Rows, Source, iterate_rows, resolve_sources

INSTRUCTION_KINDS = (".jsonl", ".parquet")
ROLES = ("system", "developer", "user", "assistant", "tool")
FORMS = {"messages": ("messages",), "prompt-completion": ("prompt", "completion")}


def load_instructions(
    source: Source | Sequence[Source],
    *,
    split: str = "train",
    name: str | None = None,
    streaming: bool = False,
) -> Dataset | IterableDataset:
    """Load instruction rows in the form that TRL's `SFTTrainer` takes, and check every one of them.

    A row has either

    * `messages`: a list of `{"role": ..., "content": ...}` that ends with what the assistant says, or
    * `prompt` and `completion`: two strings, or two lists of messages.

    All rows have the same form. Further columns are kept.

    Args:
        source (`str`, `os.PathLike`, `Dataset`, `IterableDataset` or a list of these):
            `.jsonl` (one JSON object a
            line) or `.parquet` files, folders of them, a folder written by `save_to_disk`, an id on the Hub, datasets.
        split (`str`, *optional*, defaults to `"train"`):
            which split of a dataset with several.
        name (`str`, *optional*):
            which configuration of a dataset on the Hub that has several.
        streaming (`bool`, *optional*, defaults to `False`):
            check and yield rows while iterating. By default all rows
            are read and checked now, so that a bad row stops before training and not in the middle of it.

    Returns:
        `Dataset` or, streaming, `IterableDataset`: the rows in the order of the sources.

    Raises:
        FileNotFoundError: for a path or dataset id that leads nowhere.
        ValueError: for rows without the needed columns (with those that are there), of another form than the first
            row, with an empty prompt, completion or list of messages, an unknown role, or no assistant at the end. The
            message names the file and line.
        TypeError: for values of another type.

    Example:

    ```python
    >>> load_instructions("chats.jsonl")[0]
    {'messages': [{'role': 'user', 'content': 'Where is the key?'}, {'role': 'assistant', 'content': 'In the box.'}]}
    ```
    """
    sources = resolve_sources(source, kinds=INSTRUCTION_KINDS, split=split, name=name)
    if not streaming:
        return Dataset.from_list(list(_generate_instructions(sources)))
    next(_generate_instructions(sources))
    return IterableDataset.from_generator(_generate_instructions, gen_kwargs={"sources": sources})


def check_instruction(row: dict[str, Any], place: str = "row") -> str:
    """Return the form of one row, `"messages"`, `"prompt-completion"` or `"conversational prompt-completion"`.

    Args:
        row (`dict`):
            the row.
        place (`str`, *optional*, defaults to `"row"`):
            where it is, for the error message.

    Raises:
        ValueError, TypeError: see `load_instructions`.
    """
    present = [form for form, columns in FORMS.items() if all(column in row for column in columns)]
    if len(present) != 1:
        columns = ", ".join(map(repr, row)) or "no column"
        found = "both forms at once" if present else "neither form"
        raise ValueError(
            f"{place}: {found}. A row has either 'messages' or 'prompt' and 'completion'; this one has: {columns}. "
            "Rename or remove columns, for example with Dataset.rename_columns."
        )
    if present == ["messages"]:
        _check_messages(row["messages"], "messages", place, ends_with_assistant=True)
        return "messages"
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, str) and isinstance(completion, str):
        for column in ("prompt", "completion"):
            if not row[column].strip():
                raise ValueError(f"{place}: {column!r} is empty. Remove the row or fill it in.")
        return "prompt-completion"
    if isinstance(prompt, str) or isinstance(completion, str):
        raise TypeError(f"{place}: 'prompt' and 'completion' must be both strings or both lists of messages.")
    _check_messages(prompt, "prompt", place, ends_with_assistant=False)
    _check_messages(completion, "completion", place, ends_with_assistant=True)
    return "conversational prompt-completion"


def _generate_instructions(sources: list[Rows]) -> Iterator[dict[str, Any]]:
    first_form, first_place = None, None
    for rows in sources:
        for place, row in iterate_rows(rows):
            form = check_instruction(row, place)
            if first_form is None:
                first_form, first_place = form, place
            if form != first_form:
                raise ValueError(
                    f"{place} has the form {form}, but {first_place} has the form {first_form}. "
                    "All rows of one training set have the same form; load and convert them apart."
                )
            yield row


def _check_messages(messages: Any, column: str, place: str, *, ends_with_assistant: bool) -> None:
    if not isinstance(messages, list):
        raise TypeError(f"{place}: {column!r} is {type(messages).__name__}, but it must be a list of messages.")
    if not messages:
        raise ValueError(f"{place}: {column!r} is an empty list. Remove the row or fill it in.")
    for index, message in enumerate(messages):
        where = f"{place}: message {index} of {column!r}"
        if not isinstance(message, dict):
            raise TypeError(f"{where} is {type(message).__name__}, but it must have 'role' and 'content'.")
        if message.get("role") not in ROLES:
            raise ValueError(
                f"{where} has the role {message.get('role')!r}. Roles are {', '.join(ROLES)}; keys that are there: "
                f"{', '.join(map(repr, message)) or 'none'}."
            )
        content = message.get("content")
        # An assistant that calls a tool may say nothing; content of several parts belongs to models that see.
        if not isinstance(content, str) and not (content is None and message.get("tool_calls")):
            kind = "missing" if content is None else type(content).__name__
            raise TypeError(f"{where}: 'content' is {kind}, but it must be a string.")
    if ends_with_assistant and messages[-1]["role"] != "assistant":
        raise ValueError(
            f"{place}: {column!r} ends with the role {messages[-1]['role']!r}, so there is nothing to learn at its "
            "end. The last message must be the assistant's."
        )
