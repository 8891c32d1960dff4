"""The same rotary numbers in the spelling of transformers 4, for every reader that only knows that one."""

from __future__ import annotations

import copy
import json
import math
import os
import re
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig

from .architecture import LOCAL_LAYER_TYPES
from .json_files import read_json_object

LEGACY_KEYS = ("rope_theta", "rope_scaling", "rotary_emb_base", "rope_local_base_freq")
"""Fields of old files that say what `rope_parameters` says."""

CHECKPOINT_FOLDER = re.compile(r"checkpoint-\d+")


def legacy_rope_fields(config: dict[str, Any]) -> dict[str, Any]:
    """
    Fields that make transformers 4 (and every reader of its files) see the numbers of `rope_parameters`.

    Files written by transformers 5 hold `rope_parameters` alone; transformers 4.57 reads such a file without an error
    as plain RoPE with base 10,000. With the fields returned here both read the same numbers, and transformers 5, which
    gives the legacy spelling priority, still ends with an equal dictionary.

    Args:
        config (`dict`):
            Contents of a `config.json` (of the text part, for a multimodal model).

    Returns:
        `dict`: fields to set beside `rope_parameters`; empty if there is no legacy spelling for this architecture.
    """
    parameters = config.get("rope_parameters")
    if not parameters:
        return {}
    model_type = config.get("model_type")
    nested = [key for key, value in parameters.items() if isinstance(value, dict)]
    if nested:
        return _gemma3_fields(parameters) if model_type == "gemma3_text" else {}
    if "mrope_section" in parameters:
        return {}
    fields: dict[str, Any] = {"rope_theta": parameters["rope_theta"], "rope_scaling": _scaling(parameters)}
    partial = parameters.get("partial_rotary_factor")
    if partial is not None:
        fields["partial_rotary_factor"] = partial
    if model_type == "gpt_neox":
        fields |= {"rotary_emb_base": parameters["rope_theta"], "rotary_pct": partial}
    if model_type in ("qwen2_moe", "qwen3_moe") and "num_local_experts" in config:
        # not rotary, but without its old name transformers 4 builds 128 experts and cannot load the weights
        fields["num_experts"] = config["num_local_experts"]
    if model_type == "phi3":
        fields["rope_scaling"] = _phi3_scaling(config, parameters)
    return fields


def _scaling(parameters: dict[str, Any]) -> dict[str, Any] | None:
    if parameters.get("rope_type", "default") == "default":
        return None
    outside = ("rope_theta", "partial_rotary_factor")
    return {key: copy.copy(value) for key, value in parameters.items() if key not in outside}


def _gemma3_fields(parameters: dict[str, Any]) -> dict[str, Any]:
    reaching = next(value for key, value in parameters.items() if key not in LOCAL_LAYER_TYPES)
    local = parameters.get("sliding_attention") or {}
    fields = {"rope_theta": reaching["rope_theta"], "rope_scaling": _scaling(reaching)}
    if "rope_theta" in local:
        fields["rope_local_base_freq"] = local["rope_theta"]
    return fields


def _phi3_scaling(config: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any] | None:
    """
    Phi-3 of transformers 4 takes exactly three keys and derives the attention factor from the lengths. Where that
    derived number is not ours the full dictionary is written: transformers 4 then stops with an error, which is better
    than other numbers.
    """
    scaling = _scaling(parameters)
    if scaling is None:
        return None
    original = config["original_max_position_embeddings"]
    ratio = config["max_position_embeddings"] / original
    derived = math.sqrt(1.0 + math.log(ratio) / math.log(original)) if ratio > 1.0 else 1.0
    declared = scaling.get("attention_factor")
    if declared is not None and not math.isclose(declared, derived, rel_tol=1e-12):
        return scaling
    return {"type": "longrope", "short_factor": scaling["short_factor"], "long_factor": scaling["long_factor"]}


class LegacyRopeWriter:
    """
    Stands in for one method of one configuration object, so that its saved files carry the legacy fields.

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
        """Does what the method does, and what this class is for."""
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
            _complete(path)

    def __eq__(self, other: object) -> bool:
        # configurations compare their attribute dictionaries: two writers never make two of them differ
        return isinstance(other, LegacyRopeWriter)

    __hash__ = None  # type: ignore[assignment]


def keep_legacy_rope(config: PreTrainedConfig) -> None:
    """
    Makes every later save of `config`, alone or with its model, write the legacy fields too.

    Checkpoints inside a training run are left out, because `Trainer` could not resume from them. Give the whole
    configuration, not the text part of a multimodal one.
    """
    written = config.to_dict()
    text = written.get("text_config", written)
    if legacy_rope_fields(text).items() <= text.items():
        return  # the class writes them itself, or there is nothing to write
    for method in LegacyRopeWriter.METHODS:
        vars(config)[method] = LegacyRopeWriter(config, method)


def write_legacy_rope(folder: str | os.PathLike[str]) -> bool:
    """
    Adds the legacy fields to a saved `config.json`, after a plain `save_pretrained` of transformers 5.

    Args:
        folder (`str` or `os.PathLike`):
            Folder that holds a `config.json`.

    Returns:
        `bool`: whether the file was changed.

    Raises:
        ValueError: the folder has no `config.json`.
    """
    path = Path(folder) / "config.json"
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json. Give the folder of a saved model.")
    return _complete(path)


def _complete(path: Path) -> bool:
    raw = read_json_object(path)
    text = raw.get("text_config", raw)
    fields = legacy_rope_fields(text)
    if fields.items() <= text.items():
        return False
    text.update(fields)
    temporary = path.with_name(f"{path.name}.partial")
    temporary.write_text(json.dumps(raw, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return True


def compare_spellings(raw: dict[str, Any]) -> tuple[list[str], list[str]]:
    """
    Compares the legacy fields of a `config.json` with what its `rope_parameters` means.

    Args:
        raw (`dict`):
            Contents of the file (of the text part, for a multimodal model).

    Returns:
        `tuple[list[str], list[str]]`: contradictions, and notes on who will not read the file as it is meant.
    """
    parameters = raw.get("rope_parameters")
    if not parameters:
        return [], ["config.json has only the spelling of transformers 4 (rope_theta, rope_scaling)"]
    expected = legacy_rope_fields(raw)
    contradictions = [
        f"config.json contradicts itself: {key}={raw[key]} but rope_parameters means {value}"
        for key, value in expected.items()
        if key in raw and not _same(raw[key], value)
    ]
    notes = [] if expected else ["this architecture has no spelling that transformers 4 reads"]
    missing = [key for key in expected if key not in raw]
    if missing:
        notes.append(
            f"config.json lacks {', '.join(missing)}: transformers 4 will read it as another model. "
            "`write_legacy_rope(folder)` adds them"
        )
    unread = {
        "dynamic": "frequencies follow the input length; llama.cpp drops it",
        "longrope": "llama.cpp answers nonsense with it",
    }
    rope_type = parameters.get("rope_type")
    if rope_type in unread:
        notes.append(f"rope type {rope_type!r}: {unread[rope_type]}")
    return contradictions, notes


def refuse_contradictory_file(config: PreTrainedConfig) -> None:
    """
    Refuses a configuration whose file says two things: loading has already chosen one of them without a word.

    Raises:
        ValueError: the local `config.json` it was loaded from contradicts itself; the message lists the fields.
    """
    path = Path(getattr(config, "name_or_path", None) or "") / "config.json"
    if not config.name_or_path or not path.is_file():
        return
    raw = read_json_object(path)
    contradictions, _ = compare_spellings(raw.get("text_config", raw))
    if contradictions:
        raise ValueError(
            f"{path} was loaded, and cannot be read without doubt:\n- "
            + "\n- ".join(contradictions)
            + "\nCorrect the "
            "file, or delete one of the two spellings, and load it again."
        )


def _same(given: Any, expected: Any) -> bool:
    if isinstance(given, dict) and isinstance(expected, dict):
        # old files spell the type `type`, and a base inside the dictionary is harmless
        given, expected = (
            {("rope_type" if key == "type" else key): value for key, value in spelled.items()}
            for spelled in (given, expected)
        )
        return all(_same(given.get(key), value) for key, value in expected.items())
    if isinstance(given, (int, float)) and isinstance(expected, (int, float)):
        return math.isclose(given, expected, rel_tol=1e-12)
    return bool(given == expected)
