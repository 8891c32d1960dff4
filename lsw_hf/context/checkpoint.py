"""Extending a saved checkpoint without loading it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import AutoConfig

from .architecture import RECORD_KEY
from .extension import extend_config
from .legacy import LEGACY_KEYS, compare_spellings, legacy_rope_fields
from .tokenizer_files import TOKENIZER_CONFIG, write_legacy_tokenizer
from .verification import ContextReport, verify_context

REWRITTEN = ("config.json", "generation_config.json", TOKENIZER_CONFIG)


def extend_checkpoint(
    path_or_id: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    context_length: int,
    method: str = "yarn",
    options: Mapping[str, Any] | None = None,
    trust_remote_code: bool = False,
) -> ContextReport:
    """
    Writes a copy of a saved model with a longer context window; no weight is loaded.

    Weight files and everything else are hard-linked where the file system allows and copied in blocks where not, so a
    checkpoint of any size needs memory for its configuration only. `config.json` gets the extension and keeps its
    other fields, the tokenizer's `model_max_length` and a generation length equal to the old window follow.

    Args:
        path_or_id (`str` or `os.PathLike`):
            Folder of a saved model, or a Hub id to download.
        output_dir (`str` or `os.PathLike`):
            Folder to write; must not exist or be empty. It appears whole or not at all.
        context_length (`int`):
            Target length in tokens.
        method (`str`, *optional*, defaults to `"yarn"`):
            As in [`extend_config`].
        options (`Mapping[str, Any]`, *optional*):
            Further keyword arguments of [`extend_config`]: `factor`, `rope_theta` and so on.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Passed to `AutoConfig`.

    Returns:
        `ContextReport`: of the written folder.

    Raises:
        ValueError: the source has no `config.json`, the target is not empty, or [`extend_config`] refuses.
    """
    source, target = Path(path_or_id), Path(output_dir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"output_dir {target} exists and is not an empty folder. Choose another one, or remove it.")
    if not source.is_dir():
        source = Path(snapshot_download(str(path_or_id)))
    if not (source / "config.json").is_file():
        raise ValueError(f"{source} has no config.json. Give the folder of a saved model.")
    raw = _read_json(source / "config.json")
    contradictions, _ = compare_spellings(raw.get("text_config", raw))
    if contradictions:
        raise ValueError("\n- ".join([f"{source} cannot be read without doubt:", *contradictions]))
    config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    extended = extend_config(config, context_length=context_length, method=method, **(options or {}))
    text, before = extended.get_text_config(decoder=True), config.get_text_config(decoder=True)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        _link_tree(source, partial)
        _write_json(partial / "config.json", _with_extension(raw, text))
        _replace_value(source, partial, TOKENIZER_CONFIG, "model_max_length", context_length)
        if (partial / TOKENIZER_CONFIG).is_file():
            write_legacy_tokenizer(partial)
        length = before.max_position_embeddings
        _replace_value(source, partial, "generation_config.json", "max_length", context_length, only_if=length)
        report = verify_context(str(partial), trust_remote_code=trust_remote_code)
        if target.exists():
            target.rmdir()
        os.replace(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _link_tree(source: Path, target: Path) -> None:
    """Links or copies all files but the rewritten ones and hidden ones (a Hub cache's bookkeeping)."""
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        if path.is_dir() or any(part.startswith(".") for part in relative.parts) or str(relative) in REWRITTEN:
            continue
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        real = path.resolve()  # a Hub snapshot holds symbolic links into its blobs
        try:
            os.link(real, target / relative)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(real, target / relative)


def _with_extension(raw: dict[str, Any], extended: Any) -> dict[str, Any]:
    text = raw.get("text_config", raw)
    for key in LEGACY_KEYS:
        text.pop(key, None)
    fields = ("rope_parameters", "max_position_embeddings", "original_max_position_embeddings", "head_dim", RECORD_KEY)
    text.update({key: getattr(extended, key) for key in fields if key in vars(extended)})
    text.update(legacy_rope_fields({**extended.to_dict(), **text}))
    return raw


def _replace_value(source: Path, target: Path, name: str, key: str, value: int, *, only_if: int | None = None) -> None:
    if not (source / name).is_file():
        return
    raw = _read_json(source / name)
    if only_if is None or raw.get(key) == only_if:
        raw[key] = value
    _write_json(target / name, raw)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
