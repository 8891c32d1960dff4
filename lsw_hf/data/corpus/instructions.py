"""Instruction rows for fine-tuning, in one of TRL's two forms, checked row by row."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datasets import Dataset, IterableDataset

from .exact_rows import check_values, exact_dataset
from .row_forms import with_known_columns
from .sources import Rows, Source, iterate_rows, resolve_sources

INSTRUCTION_KINDS = (".jsonl", ".json", ".parquet")
ROLES = ("system", "developer", "user", "assistant", "tool")
FORMS = {"messages": ("messages",), "prompt-completion": ("prompt", "completion")}
# What TRL reads beside the columns of a form of messages.
_OF_TEMPLATES = ("tools", "chat_template_kwargs")
logger = logging.getLogger(__name__)


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

    Rows of ShareGPT and Alpaca, and content in parts of text, are brought into these forms, which is said once in the
    log.

    All rows have the same form. Messages may have `tools` beside them (a list of JSON schemas, or the JSON text of
    one) and `chat_template_kwargs`. Columns that the form does not need are left out and named once in the log, since
    TRL would read some of them instead: `prompt` beside `messages`, `text` beside `prompt` and `completion`. Rows keep
    their own keys: no tool call gets the arguments of another one as nulls.

    Args:
        source (`str`, `os.PathLike`, `Dataset`, `IterableDataset` or a list of these):
            `.jsonl` or `.ndjson` (one JSON object a line), `.json` (a list of objects), these also packed (`.gz`,
            `.zst`), or `.parquet` files, folders of them, a folder written by `save_to_disk`, an id on the Hub,
            datasets.
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
            row, with an empty prompt, completion or list of messages, an unknown role, no assistant at the end, a
            message with a weight other than 1, tools that are no JSON, half a surrogate pair, or a number that is not
            finite or has more than 64 bits. The message names the file and line.
        TypeError: for values of another type.

    Example:

    ```python
    >>> load_instructions("chats.jsonl")[0]
    {'messages': [{'role': 'user', 'content': 'Where is the key?'}, {'role': 'assistant', 'content': 'In the box.'}]}
    ```
    """
    sources = resolve_sources(source, kinds=INSTRUCTION_KINDS, split=split, name=name)
    if not streaming:
        return exact_dataset(list(_generate_instructions(sources)))
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
    # A table gives every row the columns of all: what is null is not there.
    present = [form for form, columns in FORMS.items() if all(row.get(column) is not None for column in columns)]
    if len(present) != 1:
        columns = ", ".join(f"{name!r}{' (null)' if row[name] is None else ''}" for name in row) or "no column"
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


def as_instructions(rows: Any) -> Any:
    """Return rows as TRL must get them: without columns that it would read instead of those of their form.

    Args:
        rows (`list`, [`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Instruction rows. Every row of a list is checked, and keeps its own keys; of a dataset only the first row
            is looked at, unless it is one of ShareGPT or Alpaca. Rows of tokens or of text come back as they are.

    Raises:
        ValueError, TypeError: see [`load_instructions`].
    """
    first = next(iter(rows), None)
    if first is None or "input_ids" in first:
        return rows
    known, recognized = with_known_columns(first, "row 0")
    if recognized and not isinstance(rows, list):
        return load_instructions(rows, streaming=isinstance(rows, IterableDataset))
    if not any(map(known.get, ("messages", "prompt"))):
        return rows
    if isinstance(rows, list):
        places = [f"row {number}" for number in range(len(rows))]
        given = [with_known_columns(row, place)[0] for row, place in zip(rows, places, strict=True)]
        return exact_dataset(
            [_kept(row, check_instruction(row, place), place) for row, place in zip(given, places, strict=True)]
        )
    needed = _needed(check_instruction(known, "row 0"))
    columns = list(rows.column_names or first)
    return rows.select_columns([name for name in columns if name in needed]) if set(columns) - set(needed) else rows


def _needed(form: str) -> tuple[str, ...]:
    plain = form == "prompt-completion"
    return FORMS[form.removeprefix("conversational ")] + (() if plain else _OF_TEMPLATES)


def _kept(row: Mapping[str, Any], form: str, place: str) -> dict[str, Any]:
    """Return what a checked row goes on with: the columns that its form needs, tools as a list."""
    kept = {column: row[column] for column in _needed(form) if row.get(column) is not None}
    if isinstance(kept.get("tools"), str):
        try:
            kept["tools"] = json.loads(kept["tools"])
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{place}: 'tools' is text, but no JSON ({error}). Give a list of JSON schemas."
            ) from error
    for column, kind, what in (("tools", list, "a list"), ("chat_template_kwargs", Mapping, "a mapping")):
        if column in kept and not isinstance(kept[column], kind):
            raise TypeError(f"{place}: {column!r} is {type(kept[column]).__name__}, but it must be {what}.")
    for column, value in kept.items():
        check_values(value, f"{place}: {column!r}")
    return kept


def _generate_instructions(sources: list[Rows]) -> Iterator[dict[str, Any]]:
    first_form, first_place = None, None
    left_out: set[str] = set()
    known: set[str] = set()
    for rows in sources:
        for place, given in iterate_rows(rows):
            row, recognized = with_known_columns(given, place)
            if recognized and recognized not in known:
                known.add(recognized)
                logger.warning("Read as %s rows, from %s on.", recognized, place)
            form = check_instruction(row, place)
            if first_form is None:
                first_form, first_place = form, place
            if form != first_form:
                raise ValueError(
                    f"{place} has the form {form}, but {first_place} has the form {first_form}. "
                    "All rows of one training set have the same form; load and convert them apart."
                )
            kept = _kept(row, form, place)
            new = {column for column in row if column not in kept and row[column] is not None} - left_out
            if new:
                left_out |= new
                logger.warning("Left out, from %s on: %s. Only %s are trained.", place, sorted(new), sorted(kept))
            yield kept


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
    check_weights(messages, column, place)
    if ends_with_assistant and messages[-1]["role"] != "assistant":
        raise ValueError(
            f"{place}: {column!r} ends with the role {messages[-1]['role']!r}, so there is nothing to learn at its "
            "end. The last message must be the assistant's."
        )


def check_weights(messages: list[Any], column: str, place: str) -> None:
    """Raise `ValueError` for a message with a weight other than 1, which no trainer here applies."""
    for index, message in enumerate(messages):
        weight = message.get("weight")
        if weight not in (None, 1):
            raise ValueError(
                f"{place}: message {index} of {column!r} has the weight {weight!r}, which would be ignored: every "
                "answer counts the same. Leave out what must not be trained, or put it into 'prompt' and the answer "
                "that is trained into 'completion'."
            )
