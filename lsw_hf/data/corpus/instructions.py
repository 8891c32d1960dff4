"""Instruction rows for fine-tuning, in one of TRL's two forms, checked row by row."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset, Value

from .exact_rows import check_values, exact_dataset, is_exact, without_nulls
from .files import file_kind
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
    their own keys: no tool call gets the arguments of another one as nulls. In a table, of parquet or a dataset, every
    call has the arguments of all; there, what is null in messages and tools is taken out.

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
            row, with an empty prompt, completion, answer or list of messages, an unknown role, no assistant at the
            end, a message with a weight other than 1 (or `train` or `loss` off), tools that are no JSON, half a
            surrogate pair, or a number that is not finite or has more than 64 bits. The message names the file and
            line.
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
    next(_generate_instructions(sources, quiet=True))
    return IterableDataset.from_generator(_generate_instructions, gen_kwargs={"sources": sources})


def check_instruction(row: Mapping[str, Any], place: str = "row") -> str:
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
    """Return rows of a recipe as TRL must get them: all checked, in one form, without columns that it would read
    instead.

    Args:
        rows (`list`, [`~datasets.Dataset`] or [`~datasets.IterableDataset`]):
            Instruction rows; of a stream only the first one is checked now. Rows of tokens or of text come back as
            they are, and so do rows that need no change, such as those of [`load_instructions`].

    Raises:
        ValueError, TypeError: see [`load_instructions`].
    """
    first = next(iter(rows), None)
    if first is None or "input_ids" in first:
        return rows
    known, recognized = with_known_columns(first, "row 0")
    if "text" in first and not recognized and not any(map(known.get, ("messages", "prompt"))):
        return rows
    if isinstance(rows, list):
        return exact_dataset(list(_checked((f"row {number}", row) for number, row in enumerate(rows))))
    if not recognized and _is_exact(rows, known):
        if isinstance(rows, Dataset):
            deque(_checked((f"row {number}", row) for number, row in enumerate(rows)), maxlen=0)
        return rows
    return load_instructions(rows, streaming=isinstance(rows, IterableDataset))


def _is_exact(rows: Dataset | IterableDataset, first: Mapping[str, Any]) -> bool:
    """Whether rows have the columns of their form only, of types that give no row the keys of another one."""
    needed = _needed(check_instruction(first, "row 0"))
    if rows.features is None:
        return set(first) <= set(needed)
    tools_as_text = isinstance(rows.features.get("tools"), Value)
    return set(rows.features) <= set(needed) and not tools_as_text and all(map(is_exact, rows.features.values()))


def _needed(form: str) -> tuple[str, ...]:
    plain = form == "prompt-completion"
    return FORMS[form.removeprefix("conversational ")] + (() if plain else _OF_TEMPLATES)


def _kept(row: Mapping[str, Any], form: str, place: str) -> dict[str, Any]:
    """Return what a checked row goes on with: the columns that its form needs, tools as a list."""
    kept = {column: row[column] for column in _needed(form) if row.get(column) is not None}
    if isinstance(kept.get("tools"), str):
        try:
            kept["tools"] = json.loads(kept["tools"].strip() or "null")
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{place}: 'tools' is text, but no JSON ({error}). Give a list of JSON schemas."
            ) from error
    if "tools" in kept and not kept["tools"]:
        del kept["tools"]
    for column, kind, what in (("tools", list, "a list"), ("chat_template_kwargs", Mapping, "a mapping")):
        if column in kept and not isinstance(kept[column], kind):
            raise TypeError(f"{place}: {column!r} is {type(kept[column]).__name__}, but it must be {what}.")
    for column, value in kept.items():
        check_values(value, f"{place}: {column!r}")
    return kept


def _generate_instructions(sources: list[Rows], quiet: bool = False) -> Iterator[dict[str, Any]]:
    yield from _checked((pair for rows in sources for pair in _rows_with_places(rows)), quiet)


def _rows_with_places(rows: Rows) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row); what only a table's other rows have is taken out of messages and tools."""
    is_table = not isinstance(rows, Path) or file_kind(rows) == ".parquet"
    for place, row in iterate_rows(rows):
        yield place, {name: without_nulls(value) for name, value in row.items()} if is_table else row


def _checked(rows: Iterable[tuple[str, Mapping[str, Any]]], quiet: bool = False) -> Iterator[dict[str, Any]]:
    """Yield what the rows of one form go on with, and say once what was recognized and what is left out."""
    first_form, first_place = None, None
    said: set[str] = set()
    for place, given in rows:
        row, recognized = with_known_columns(given, place)
        form = check_instruction(row, place)
        if first_form is None:
            first_form, first_place = form, place
        if form != first_form:
            raise ValueError(
                f"{place} has the form {form}, but {first_place} has the form {first_form}. "
                "All rows of one training set have the same form; load and convert them apart."
            )
        kept = _kept(row, form, place)
        left_out = {name for name, value in row.items() if name not in kept and value not in (None, "", [])} - said
        if recognized and recognized not in said and not quiet:
            logger.warning("Read as %s rows, from %s on.", recognized, place)
        if left_out and not quiet:
            logger.warning("Left out, from %s on: %s. Only %s are trained.", place, sorted(left_out), sorted(kept))
        said |= left_out | ({recognized} if recognized else set())
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
        if message["role"] == "assistant" and not message.get("tool_calls") and not (content or "").strip():
            raise ValueError(
                f"{where}, the assistant's, is empty: nothing would be learned but to say nothing. Remove it."
            )
    check_weights(messages, column, place)
    if ends_with_assistant and messages[-1]["role"] != "assistant":
        raise ValueError(
            f"{place}: {column!r} ends with the role {messages[-1]['role']!r}, so there is nothing to learn at its "
            "end. The last message must be the assistant's."
        )


def check_weights(messages: list[Any], column: str, place: str) -> None:
    """Raise `ValueError` for a message that says it is not trained, or not as the others, which no trainer applies."""
    for index, message in enumerate(messages):
        for name in ("weight", "train", "loss"):
            if message.get(name) not in (None, 1):  # and True
                raise ValueError(
                    f"{place}: message {index} of {column!r} has the {name} {message[name]!r}, which would be "
                    "ignored: every answer counts the same. Leave out what must not be trained, or put it into "
                    "'prompt' and the answer that is trained into 'completion'."
                )
