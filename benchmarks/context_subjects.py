"""What the table of classes is about: every causal LM class at its defaults, and every published configuration."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers
from huggingface_hub.errors import StrictDataclassError
from packaging.version import Version
from transformers import CONFIG_MAPPING

from benchmarks.tiny_models import LENGTH, WINDOWS, causal_lm_types, config_from, default_config, tiny_fields

PUBLISHED = Path(__file__).resolve().parents[1] / "tests" / "context" / "published"
SPELLINGS = (
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "rope_local_base_freq",
    "partial_rotary_factor",
    "rotary_pct",
    "rotary_emb_base",
)
"""Fields that say how a model rotates, in every spelling."""

PARTS = {"gemma3n": "text_config", "mllama": "text_config"}
"""Wrappers whose other towers need a package that is not among ours, or are not shrunk: the part that is taken."""

PLAIN = {"rope_type", "rope_theta", "partial_rotary_factor", "type"}


@dataclass(frozen=True)
class Subject:
    """
    One row of the table.

    Args:
        name (`str`):
            A class's `model_type`, or a published model's name.
        family (`str`):
            `"classes"`, or the name of the file that holds the published configuration.
        raw (`dict`):
            Content of a `config.json` with almost no weights; its rope fields and lengths are the real ones.
        small (`dict`):
            The same with windows of a few tokens, for experiments on what a layer sees.
        reason (`str`):
            Why there is no such configuration, in words; empty if there is.
    """

    name: str
    family: str
    raw: dict[str, Any]
    small: dict[str, Any]
    reason: str = ""


def class_subjects(model_types: Iterable[str] | None = None) -> Iterator[Subject]:
    """Every causal LM class of the installed transformers (or those of `model_types`), at its defaults."""
    for model_type in causal_lm_types() if model_types is None else model_types:
        try:
            raw = json.loads(default_config(model_type).to_json_string())
        except (StrictDataclassError, ValueError, TypeError, KeyError, AttributeError) as error:
            raw, reason = {"model_type": model_type}, f"no tiny configuration: {' '.join(str(error).split())}"
            yield Subject(model_type, "classes", raw, raw, reason)
            continue
        yield Subject(model_type, "classes", _old_spelling(raw), raw)


def published_subjects(families: Iterable[str] | None = None) -> Iterator[Subject]:
    """
    Every published configuration of `families` (all of them by default), almost without weights.

    Those that an older transformers cannot build are left out, see [`is_read`].
    """
    wanted = None if families is None else set(families)
    for path in sorted(PUBLISHED.glob("*.json")):
        if wanted is not None and path.stem not in wanted:
            continue
        for entry in json.loads(path.read_text(encoding="utf-8")):
            if is_read(entry["config"]["model_type"]):
                yield published_subject(entry["repo"], path.stem, entry["config"])


def is_read(model_type: str) -> bool:
    """Whether the installed transformers has a class of this type, and builds it from the published configurations."""
    if model_type == "minicpm3":  # 5.17 looks for a factor that the file does not have
        return Version(transformers.__version__) >= Version("5.23")
    return model_type in CONFIG_MAPPING


def published_subject(name: str, family: str, facts: dict[str, Any]) -> Subject:
    """The row of one published configuration: its own spelling of the rope fields around tiny sizes."""
    facts = facts.get(PARTS.get(facts["model_type"], ""), facts)
    full = json.loads(config_from(facts).to_json_string(use_diff=False))
    if "text_config" in full and "text_config" not in facts:  # Qwen2-VL's files hold the text's fields at the top
        full |= {key: value for key, value in full.pop("text_config").items() if key != "architectures"}
    full["model_type"] = facts["model_type"]
    raw = tiny_fields(_as_spelled(full, facts), scaled=False)
    return Subject(name, family, raw, _with_wide_windows(full, tiny_fields(full, scaled=True)))


def _with_wide_windows(full: dict[str, Any], small: dict[str, Any]) -> dict[str, Any]:
    """A local window that is as long as the context is none."""
    for key, value in full.items():
        if isinstance(value, dict) and "model_type" in value:
            _with_wide_windows(value, small[key])
        elif key in WINDOWS and isinstance(value, int) and value >= full.get("max_position_embeddings", value + 1):
            small[key] = LENGTH
    return small


def _as_spelled(full: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    spelled = {key: value for key, value in full.items() if key not in SPELLINGS}
    spelled |= {key: copy.deepcopy(facts[key]) for key in SPELLINGS if key in facts}
    for key, given in facts.items():
        value = full.get(key)
        if isinstance(value, dict) and isinstance(given, dict) and "model_type" in value:
            spelled[key] = _as_spelled(value, given)
        elif key not in full or (isinstance(given, list) and isinstance(value, list) and len(given) == len(value)):
            spelled[key] = copy.deepcopy(given)  # names and words that older readers know
    return spelled


def _old_spelling(raw: dict[str, Any]) -> dict[str, Any]:
    """The file as transformers 4 wrote it, where that says the same to transformers 5."""
    old = copy.deepcopy(raw)
    text = old.get("text_config", old)
    parameters = text.get("rope_parameters")
    if not isinstance(parameters, dict) or not parameters.keys() <= PLAIN or parameters.get("rope_type") != "default":
        return raw
    del text["rope_parameters"]
    text |= {key: value for key, value in parameters.items() if key != "rope_type"}
    read = config_from(old).get_text_config(decoder=True).rope_parameters
    return old if read == config_from(raw).get_text_config(decoder=True).rope_parameters else raw
