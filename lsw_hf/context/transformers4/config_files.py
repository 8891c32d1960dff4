"""The legacy spelling in `config.json` files: written, kept up to date, compared with the newer one."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from ...files import read_json_object, write_text
from ...models.rope_longskywork import yarn_attention_factor
from ..architecture.text_part import complete_text, config_of, newer_spelling, text_fields
from .classes import LEGACY_CLASSES, PLAIN
from .spelling import LEGACY_KEYS, legacy_losses, legacy_rope_fields

__all__ = [
    "CHECKPOINT_FOLDER",
    "LEGACY_KEYS",
    "LegacyRopeWriter",
    "compare_spellings",
    "keep_legacy_rope",
    "legacy_rope_fields",
    "refuse_contradictory_file",
    "write_legacy_rope",
]

CHECKPOINT_FOLDER = re.compile(r"checkpoint-\d+")


class LegacyRopeWriter:
    """Replaces one method of one configuration object, so that its saved files contain the legacy fields.

    The fields are derived from `rope_parameters` at the moment of writing, so they cannot drift from it, and no field
    of the configuration changes, so the running model cannot see them. It follows the configuration through
    `copy.deepcopy` and `pickle`; it does not follow a load from disk, after which `keep_legacy_rope` attaches it anew.

    Args:
        config (`PreTrainedConfig`):
            The configuration to write.
        method (`str`):
            `"to_json_file"`, through which every save goes, or `"to_dict"`, which is kept free of the writers.
    """

    METHODS = ("to_dict", "to_json_file")

    def __init__(self, config: PreTrainedConfig, method: str) -> None:
        self.config, self.method = config, method

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Do what the method does, and what this class is for."""
        if self.method == "to_dict":
            return self._to_dict()
        self._to_json_file(*args, **kwargs)
        return None

    def _to_dict(self) -> dict[str, Any]:
        output = type(self.config).to_dict(self.config)
        return {key: value for key, value in output.items() if key not in self.METHODS}

    def _to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        type(self.config).to_json_file(self.config, json_file_path, use_diff=use_diff)
        path = Path(json_file_path)
        # `Trainer` resumes by reading this file as a configuration of no model, which fails on the legacy fields of
        # yarn, llama3 and longrope (transformers 5.17 to 5.23); what it saves at the end is not in such a folder
        if not CHECKPOINT_FOLDER.fullmatch(path.absolute().parent.name):
            _complete(path, self.config)

    def __eq__(self, other: object) -> bool:
        # configurations compare their attribute dictionaries: two writers never make two of them differ
        return isinstance(other, LegacyRopeWriter)

    __hash__ = None  # type: ignore[assignment]


def keep_legacy_rope(config: PreTrainedConfig) -> None:
    """Make every later save of `config`, alone or with its model, write the legacy fields too.

    Checkpoints inside a training run are left out, because `Trainer` could not resume from them. Give the whole
    configuration, not the text part of a multimodal one.
    """
    written = config.to_dict()
    if legacy_rope_fields(complete_text(config)).items() <= text_fields(written, config).items():
        return  # the class writes them itself, or there is nothing to write
    for method in LegacyRopeWriter.METHODS:
        vars(config)[method] = LegacyRopeWriter(config, method)


def write_legacy_rope(folder: str | os.PathLike[str]) -> bool:
    """Add the legacy fields to a saved `config.json`, after a plain `save_pretrained` of transformers 5.

    Args:
        folder (`str` or `os.PathLike`):
            Folder with a `config.json`.

    Returns:
        `bool`: whether the file was changed.

    Raises:
        ValueError: the folder has no `config.json`.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json. Give the folder of a saved model.")
    raw = read_json_object(path)
    try:
        config = config_of(raw)
    except (ValueError, KeyError, TypeError, StrictDataclassError) as error:
        raise ValueError(f"{path} cannot be read by transformers ({error}). Correct it first.") from error
    return _complete(path, config)


def _complete(path: Path, config: PreTrainedConfig | None) -> bool:
    raw = read_json_object(path)
    text = text_fields(raw, config)
    if not text.get("rope_parameters"):
        return False
    fields = legacy_rope_fields({**(complete_text(config) if config is not None else {}), **text})
    if fields.items() <= text.items():
        return False
    text.update(fields)
    write_text(path, json.dumps(raw, indent=2, sort_keys=True) + "\n")
    return True


def compare_spellings(raw: dict[str, Any], config: PreTrainedConfig | None = None) -> tuple[list[str], list[str]]:
    """Compare the legacy fields of a `config.json` with what its `rope_parameters` means.

    Args:
        raw (`dict`):
            Contents of the file.
        config (`PreTrainedConfig`, *optional*):
            What the file was loaded as, needed for models with code of their own.

    Returns:
        `tuple[list[str], list[str]]`: contradictions, and notes on who will not read the file as it is meant.
    """
    config = config_of(raw) if config is None else config
    text = text_fields(raw, config)
    if not text.get("rope_parameters"):
        notes = ["config.json has only the spelling of transformers 4 (rope_theta, rope_scaling)"]
        return [], notes + (legacy_losses(_in_words_of(text, complete_text(config))) if config is not None else [])
    try:
        meant = newer_spelling(raw, config) if config is not None else text
    except (ValueError, KeyError, TypeError, StrictDataclassError) as error:
        cause = " ".join(str(error).split())
        return [f"config.json has rope_parameters that transformers cannot read without rope_scaling: {cause}"], []
    expected = legacy_rope_fields(meant)
    contradictions = [
        f"config.json contradicts itself: {key}={text[key]} but rope_parameters means {value}"
        for key, value in expected.items()
        if text.get(key) is not None and not _same(text[key], value, expected.get("rope_theta"))
    ]
    contradictions += _against(text, expected)
    notes = legacy_losses(_in_words_of(text, meant))
    presumed = LEGACY_CLASSES.get(str(meant.get("model_type")), PLAIN).presumes_scaling
    absent = [key for key, value in expected.items() if key not in text and (value is not None or presumed)]
    absent += [key for key, value in expected.items() if key in text and text[key] is None and value is not None]
    if absent:
        notes.append(
            f"config.json lacks {', '.join(absent)}: transformers 4 will read it as another model. "
            "`write_legacy_rope(folder)` adds them"
        )
    unread = {
        "dynamic": "frequencies follow the input length; llama.cpp drops it",
        "longrope": "llama.cpp answers nonsense with it",
    }
    rope_type = meant["rope_parameters"].get("rope_type")
    if rope_type in unread and not (rope_type == "dynamic" and meant["rope_parameters"].get("alpha")):
        notes.append(f"rope type {rope_type!r}: {unread[rope_type]}")
    return contradictions, notes


def _in_words_of(text: dict[str, Any], meant: dict[str, Any]) -> dict[str, Any]:
    """With the kinds of layers as the file calls them, which loading translates."""
    names = ("layer_types", "layers_block_type")
    written = {key: text[key] for key in names if key in text}
    return {key: value for key, value in meant.items() if key not in names} | written


def _against(text: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Fields of the legacy spelling that say something where `rope_parameters` says nothing."""
    if not expected:
        return []
    return [
        f"config.json contradicts itself: {key}={text[key]} but rope_parameters means none"
        for key in ("rope_scaling",)
        if key not in expected and (text.get(key) or {}).get("rope_type", "default") != "default"
    ]


def refuse_contradictory_file(config: PreTrainedConfig) -> None:
    """Refuse a configuration whose file contradicts itself: loading has silently chosen one of the two spellings.

    Raises:
        ValueError: the local `config.json` it was loaded from contradicts itself; the message lists the fields.
    """
    path = Path(getattr(config, "name_or_path", None) or "") / "config.json"
    if not config.name_or_path or not path.is_file():
        return
    contradictions, _ = compare_spellings(read_json_object(path), config)
    if contradictions:
        raise ValueError(
            f"{path} was loaded, and is ambiguous:\n- " + "\n- ".join(contradictions) + "\nCorrect the "
            "file, or delete one of the two spellings, and load it again."
        )


def _same(given: Any, expected: Any, base: Any = None) -> bool:
    if isinstance(given, dict) and expected is None:
        return given.get("rope_type", given.get("type", "default")) == "default" and not set(given) - {
            *("type", "rope_type", "rope_theta")
        }
    if isinstance(given, dict) and isinstance(expected, dict):
        given, expected = (_completed(spelled, base) for spelled in (given, expected))
        return all(_same(given.get(key), expected.get(key)) for key in {*given, *expected})
    if isinstance(given, (int, float)) and isinstance(expected, (int, float)):
        return math.isclose(given, expected, rel_tol=1e-12)
    return bool(given == expected)


def _completed(scaling: dict[str, Any], base: Any) -> dict[str, Any]:
    """With what every reader puts where a dictionary says nothing, and one name for the type."""
    rope_type = scaling.get("rope_type", scaling.get("type"))
    complete = {key: value for key, value in scaling.items() if key not in ("type", "partial_rotary_factor")}
    complete |= {"rope_type": "default" if rope_type == "mrope" else rope_type}
    complete.setdefault("rope_theta", base)
    if rope_type == "yarn":
        defaults = {"beta_fast": 32.0, "beta_slow": 1.0, "truncate": True}
        derived = [complete.get(key) for key in ("mscale", "mscale_all_dim")]
        defaults["attention_factor"] = yarn_attention_factor(complete.get("factor") or 1.0, *derived)
        complete |= {key: value for key, value in defaults.items() if complete.get(key) is None}
    return complete
