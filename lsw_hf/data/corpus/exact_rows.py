"""Instruction rows as a `datasets.Dataset` that gives back what went in, no key more and none less.

A module of its own because types of columns and values are no matter of what a row means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from datasets import Dataset, Features, Json, List, Value

_LARGEST = 2**63 - 1


def exact_dataset(rows: list[dict[str, Any]]) -> Dataset:
    """Return a dataset of rows of one form.

    A column of Arrow structs would give every message, every tool and every call the keys of all others, as nulls that
    chat templates write out. So messages with more than a role and a text, and tools, are stored as JSON.

    Args:
        rows (`list[dict]`):
            Rows of `messages`, or of `prompt` and `completion`, with `tools` and `chat_template_kwargs` where they
            have any.

    Returns:
        [`~datasets.Dataset`]: the rows; `tools` of those without is `None`, `chat_template_kwargs` `{}`.
    """
    features: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        if name == "chat_template_kwargs":
            features[name] = Json()
        elif name == "tools":
            features[name] = List(Json())
        elif all(isinstance(value, str) for value in values):
            features[name] = Value("large_string")
        elif all(_is_plain(message) for value in values for message in value or ()):
            features[name] = List({"role": Value("string"), "content": Value("string")})
        else:
            features[name] = List(Json())
    if "chat_template_kwargs" in features:
        rows = [{**row, "chat_template_kwargs": row.get("chat_template_kwargs") or {}} for row in rows]
    return Dataset.from_list([{name: row.get(name) for name in features} for row in rows], Features(features))


def _is_plain(message: Mapping[str, Any]) -> bool:
    return message.keys() == {"role", "content"} and isinstance(message["content"], str)


def is_exact(feature: Any) -> bool:
    """Whether a column of this type gives no row the keys of another one: text, JSON, and lists of plain messages."""
    if isinstance(feature, List):
        inner = feature.feature
        return isinstance(inner, Json) or (isinstance(inner, dict) and set(inner) == {"role", "content"})
    return isinstance(feature, Json) or (isinstance(feature, Value) and "string" in feature.dtype)


def without_nulls(value: Any) -> Any:
    """Return a value of a table without keys that are null, which other rows have; messages keep their `content`."""
    if isinstance(value, Mapping):
        return {
            key: without_nulls(item) for key, item in value.items() if item is not None or key in ("role", "content")
        }
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def check_values(value: Any, place: str) -> None:
    """Refuse what would not come back as it is from a dataset, or from JSON.

    Args:
        value:
            A string, number, list, mapping, or any nesting of these.
        place (`str`):
            Where it is, for the error message.

    Raises:
        ValueError: half of a surrogate pair, a whole number beyond 64 bits, a number that is none or infinite.
        TypeError: anything else than JSON has.
    """
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{place}: character {error.start} is half of a surrogate pair, which no tokenizer can read. "
                "Repair or remove the row."
            ) from error
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_values(key, f"{place}: a key")
            check_values(item, f"{place}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            check_values(item, f"{place}[{number}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place}: {value} is no number of JSON. Write it as text, or remove the row.")
    elif isinstance(value, int):
        if not -_LARGEST - 1 <= value <= _LARGEST:
            raise ValueError(f"{place}: {value} has more than 64 bits. Write it as text, or remove the row.")
    elif value is not None:
        raise TypeError(f"{place}: {type(value).__name__} is none of JSON's types. Write it as text.")
