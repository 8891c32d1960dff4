"""Where a result comes from: what runs are compared by, and the versions, machine and commit that made it."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import datasets
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..evaluation.setting import describe_weights

_PACKAGES = ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "huggingface-hub", "numpy")
# Arguments of `from_pretrained` that do not change what is loaded, or that no file may contain.
_NOT_SETTINGS = ("token", "device_map", "cache_dir", "local_files_only", "force_download")


def describe_model(model: str | Path | PreTrainedModel, model_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the start of a run.

    Args:
        model (`str`, `Path` or [`~transformers.PreTrainedModel`]):
            Folder, id, or a live model.
        model_kwargs (`Mapping`):
            Arguments of `from_pretrained`; a token is left out.

    Returns:
        `dict`: name and arguments; for a live model its class and a digest of its weights.
    """
    arguments = {key: str(value) for key, value in sorted(model_kwargs.items()) if key not in _NOT_SETTINGS}
    if not isinstance(model, PreTrainedModel):
        return {"name": str(model), **arguments}
    return {"name": type(model).__name__, "weights": describe_weights(model), **arguments}


def describe_tokenizer(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """Size of a tokenizer, and checksums of its vocabulary and chat template."""
    vocabulary = sorted(tokenizer.get_vocab().items())
    return {
        "size": len(tokenizer),
        "vocabulary": _checksum(vocabulary),
        "chat_template": tokenizer.chat_template and _checksum(tokenizer.chat_template),
    }


def describe_rows(rows: Any) -> Any:
    """Return what can be said about training rows without reading them all.

    Args:
        rows ([`~datasets.Dataset`], [`~datasets.IterableDataset`], `Callable` or other, *optional*):
            Data of a stage.

    Returns:
        `dict` or `None`: of a dataset its size, columns, and a checksum of the first and the last row; of a stream its
        columns; of a function that makes the rows, and of any other iterable, only that it is one. What these leave
        open is said by the recipe's `sources`.
    """
    if rows is None:
        return None
    if isinstance(rows, datasets.Dataset):
        ends = [rows[0], rows[-1]] if len(rows) else []
        return {"rows": len(rows), "columns": sorted(rows.column_names), "first_and_last": _checksum(ends)}
    if isinstance(rows, datasets.IterableDataset):
        return {"stream": sorted(rows.column_names or [])}
    return {"kind": "function" if callable(rows) else type(rows).__name__}


def describe_paths(paths: Sequence[Any] | None) -> list[dict[str, Any]] | None:
    """Names of files and folders with the bytes and the number of files in them; ids of datasets as they are.

    The time of a change is left out, because a copy of the same files changes it (our choice).
    """
    if paths is None:
        return None
    described = []
    for name in paths:
        path = Path(str(name))
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        sizes = {"files": len(files), "bytes": sum(file.stat().st_size for file in files)} if path.exists() else {}
        described.append({"name": str(name), **sizes})
    return described


def describe_settings(value: Any) -> Any:
    """Return a dataclass or other object as plain data, with the name of its class; `None` stays `None`."""
    if value is None:
        return None
    fields = asdict(value) if is_dataclass(value) and not isinstance(value, type) else {}
    return {"class": type(value).__qualname__, **json.loads(json.dumps(fields, default=str))}


def describe_environment() -> dict[str, Any]:
    """Facts that a reader of a report needs to repeat it.

    Returns:
        `dict`: `versions` by package, `python`, `machine` (system, processor type, cores), and `commit` of this
        package's source, `None` outside a git checkout, followed by `+changes` if tracked files differ from it.
    """
    return {
        "versions": {name: version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Return the commit of the checkout that contains this file; `None` if the file is not tracked there."""
    here = Path(__file__).resolve()
    command = ["git", "-C", str(here.parent)]
    try:
        subprocess.run(
            [*command, "ls-files", "--error-unmatch", here.name], check=True, capture_output=True, timeout=10
        )
        found = subprocess.run([*command, "rev-parse", "HEAD"], check=True, capture_output=True, text=True, timeout=10)
        changed = subprocess.run([*command, "diff", "--quiet", "HEAD"], capture_output=True, timeout=10).returncode
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() + ("+changes" if changed else "")


def _checksum(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]
