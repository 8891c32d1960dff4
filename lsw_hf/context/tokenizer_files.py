"""A tokenizer's files in words that transformers 4.57 and 5 both understand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from ..files import read_json_object, write_json

TOKENIZER_CONFIG = "tokenizer_config.json"
NEWER_CLASS, OLDER_CLASS = "TokenizersBackend", "PreTrainedTokenizerFast"
"""Two names of one class; transformers 5 writes the first and reads both, 4.57 knows the second only."""


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: str | os.PathLike[str]) -> None:
    """Save a tokenizer so that transformers 4.57 reads it as well as 5.

    `tokenizer.save_pretrained` of transformers 5 writes a class name that 4.57 does not know, and lists special tokens
    under a key that means something else there; the files themselves are the same.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            Any tokenizer.
        folder (`str` or `os.PathLike`):
            Where to.

    Raises:
        ValueError: nothing was written, because `folder` is a file.
    """
    if Path(folder).is_file():
        raise ValueError(f"{folder} is a file; give the folder to save the tokenizer in.")
    tokenizer.save_pretrained(folder)
    write_legacy_tokenizer(folder)


def write_legacy_tokenizer(folder: str | os.PathLike[str]) -> bool:
    """Rename what transformers 4.57 does not understand in a saved `tokenizer_config.json`.

    Args:
        folder (`str` or `os.PathLike`):
            Folder with a saved tokenizer.

    Returns:
        `bool`: whether the file was changed.

    Raises:
        ValueError: the folder has no `tokenizer_config.json`, or the file is not a JSON object.
    """
    path = Path(folder) / TOKENIZER_CONFIG
    if not path.is_file():
        raise ValueError(f"{folder} has no {TOKENIZER_CONFIG}. Give the folder of a saved tokenizer.")
    settings = read_json_object(path)
    renamed = legacy_tokenizer_settings(settings)
    if renamed == settings:
        return False
    write_json(path, renamed)
    return True


def legacy_tokenizer_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the same settings as both generations of transformers understand them; the argument is not changed."""
    renamed = dict(settings)
    if renamed.get("tokenizer_class") == NEWER_CLASS:
        renamed["tokenizer_class"] = OLDER_CLASS
    if isinstance(renamed.get("extra_special_tokens"), list):
        # a list of tokens to transformers 5, a dictionary of named ones to 4.57; the older key is a list to both
        extra = renamed.pop("extra_special_tokens")
        if extra:
            renamed["additional_special_tokens"] = extra
    return renamed
