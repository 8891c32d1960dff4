"""The YAML file of `--config`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_FLAG = "--config"
# The flags have a short form too.
_SHORT = {"model": "model_name_or_path"}


def take_config(words: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Take `--config FILE` out of a command line and read the file.

    Args:
        words (`list[str]`):
            The command line.

    Returns:
        `tuple[list[str], dict]`: the other words; the settings of the file, none without one. As in flags, names may
        have dashes, and `model` stands for `model_name_or_path`.

    Raises:
        ValueError: if no file is named, or it does not exist, is no UTF-8, no YAML, no mapping, or names a setting
            twice in two spellings.
    """
    words = [part for word in words for part in (word.split("=", 1) if word.startswith(f"{_FLAG}=") else [word])]
    if _FLAG not in words:
        return words, {}
    place = words.index(_FLAG)
    named = words[place + 1 : place + 2]
    if not named or named[0].startswith("--"):
        raise ValueError(f"{_FLAG} needs the name of a YAML file.")
    return words[:place] + words[place + 2 :], read_config(Path(named[0]))


def read_config(file: Path) -> dict[str, Any]:
    """Read a YAML file of settings, see [`take_config`]."""
    try:
        given = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"The file of {_FLAG}, {file}, does not exist (looked from {Path.cwd()}).") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"The file of {_FLAG}, {file}, is not UTF-8 ({error}). Save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise ValueError(f"The file of {_FLAG} is not valid YAML: {error}.") from error
    if not isinstance(given, dict):
        raise ValueError(f"The file of {_FLAG}, {file}, must hold a mapping (name: value), not {given!r:.60}.")
    return {
        _SHORT.get(name, name): _renamed(value, file) if isinstance(value, dict) else value
        for name, value in _renamed(given, file).items()
    }


def _renamed(settings: dict[Any, Any], file: Path) -> dict[str, Any]:
    names = [str(name).replace("-", "_") for name in settings]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"The file of {_FLAG}, {file}, names {name} twice.")
    return dict(zip(names, settings.values(), strict=True))
