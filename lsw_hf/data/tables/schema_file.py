"""Table schemas in YAML files.

A module of its own because it needs `yaml`, which the other modules of schemas do without.
"""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from . import Column, TableSchema


def load_schema(path: str | os.PathLike[str]) -> TableSchema:
    """Read the columns of a table from a YAML file.

    ```yaml
    language: en
    key: [name]                 # optional: the first column otherwise
    asked: [city]               # optional: all other columns otherwise
    columns:
      - {name: name, kind: words, values: [alpha, beta, gamma]}
      - {name: city, kind: city}
      - {name: points, kind: integer, low: 0, high: 500, distinct: 40}
    ```

    Args:
        path (`str` or `os.PathLike`):
            the file; keys are the arguments of [`TableSchema`] and [`Column`].

    Raises:
        FileNotFoundError: no such file.
        ValueError: no valid YAML, unknown keys, missing columns, and whatever the schema itself refuses; the message
            names the file.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no schema file {file}.")
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is no valid YAML: {error}") from error
    settings = _known(loaded, [field.name for field in fields(TableSchema)], "the schema", file)
    columns = settings.pop("columns", None)
    if not isinstance(columns, list) or not columns:
        raise ValueError(f"{file} lists no columns: give `columns`, each with a name and a kind.")
    known = [field.name for field in fields(Column)]
    built = [
        _column(_known(column, known, f"column {place}", file), place, file) for place, column in enumerate(columns, 1)
    ]
    try:
        return TableSchema(tuple(built), **{name: _as_tuple(value) for name, value in settings.items()})
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _column(settings: dict[str, Any], place: int, file: Path) -> Column:
    missing = [name for name in ("name", "kind") if name not in settings]
    if missing:
        raise ValueError(f"{file}: column {place} has no {' and no '.join(missing)}.")
    values = settings.pop("values", ())
    if not isinstance(values, list | tuple) or any(isinstance(value, bool | list | dict) for value in values):
        raise ValueError(
            f"{file}: values of column {place} must be a list of words, got {values!r}. YAML reads a bare yes, no, on "
            "or off as true or false: write them in quotes."
        )
    values = tuple("" if value is None else str(value) for value in values)
    try:
        return Column(**settings, values=values)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _known(loaded: Any, names: list[str], what: str, file: Path) -> dict[str, Any]:
    if not isinstance(loaded, dict):
        raise ValueError(f"{file}: {what} must be a mapping, got {type(loaded).__name__}.")
    unknown = sorted(set(loaded) - set(names))
    if unknown:
        raise ValueError(f"{file}: {what} has unknown keys {unknown}; known are {names}.")
    return dict(loaded)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
