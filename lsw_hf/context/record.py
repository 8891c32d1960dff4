"""The rotary change of a model as a small file, for artifacts whose own files have no place for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from ..files import read_json_object, write_json
from .architecture.origin import RECORD_KEY
from .live_rotary import RotaryState, compare_states, rebuild, rotary_modules, rotary_states
from .transformers4.config_files import keep_legacy_rope

RECORD_FILE = "lsw_context.json"
FORMAT = 1
NEEDED = {"model_type": str, "max_position_embeddings": int, "rope_parameters": dict, "tables": list}
TEMPERATURE = "attention_temperature_length"
"""Tokens from which the attention of our own class grows warmer; other classes do not have the field."""

ANSWERS = "answers"
"""Where a record keeps what the live model answered; older records have none."""
VOCABULARY = "vocab_size"


def context_record(model: PreTrainedModel) -> dict[str, Any]:
    """Everything that is needed to give an unextended copy of `model` the same context window, and to prove it.

    Args:
        model (`PreTrainedModel`):
            A bare transformers model.

    Returns:
        `dict`: JSON-ready; configuration fields, and every live table as numbers.
    """
    config = model.config.get_text_config(decoder=True)
    tables = [
        {
            "module": state.module,
            "layer_type": state.layer_type,
            "inv_freq": state.inv_freq.float().cpu().tolist(),
            "attention_factor": state.attention_factor,
        }
        for name, module in rotary_modules(model).items()
        for state in rotary_states(module, name)
    ]
    record = {
        "format": FORMAT,
        "model_type": config.model_type,
        VOCABULARY: config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "rope_parameters": config.rope_parameters,
        RECORD_KEY: getattr(config, RECORD_KEY, None),
        "tables": tables,
    }
    return record | ({TEMPERATURE: getattr(config, TEMPERATURE)} if hasattr(config, TEMPERATURE) else {})


def write_record(
    model: PreTrainedModel, folder: str | os.PathLike[str], answers: dict[str, Any] | None = None
) -> None:
    """Write [`context_record`] of `model` into `folder`, which is made if need be, whole or not at all.

    Args:
        model (`PreTrainedModel`):
            A bare transformers model.
        folder (`str` or `os.PathLike`):
            Where to.
        answers (`dict`, *optional*):
            What the model, its adapter on, answers to fixed tokens, to prove a later load.
    """
    record = context_record(model) | ({} if answers is None else {ANSWERS: answers})
    write_json(Path(folder) / RECORD_FILE, record)


def read_record(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return the record in `folder`, or `None` if there is none."""
    path = Path(folder) / RECORD_FILE
    if not path.is_file():
        return None
    record = read_json_object(path)
    if record.get("format") != FORMAT:
        raise ValueError(f"{path} has format {record.get('format')}; this version reads {FORMAT}. Upgrade lsw-hf.")
    lacking = [key for key, kind in NEEDED.items() if not isinstance(record.get(key), kind)]
    if lacking:
        raise ValueError(f"{path} was edited or cut off: it lacks {', '.join(lacking)}. Save the adapter again.")
    return record


def record_problems(record: dict[str, Any], model: PreTrainedModel) -> list[str]:
    """Return what differs between a record and a live model, in words; empty if nothing does."""
    config = model.config.get_text_config(decoder=True)
    problems = []
    if record["model_type"] != config.model_type:
        return [f"the record is of a {record['model_type']!r} and the model is a {config.model_type!r}"]
    if record["max_position_embeddings"] != config.max_position_embeddings:
        problems.append(
            f"max_position_embeddings is {config.max_position_embeddings} live and "
            f"{record['max_position_embeddings']} in the record"
        )
    if TEMPERATURE in record and record[TEMPERATURE] != getattr(config, TEMPERATURE, None):
        here = getattr(config, TEMPERATURE, None)
        problems.append(f"{TEMPERATURE} is {here} live and {record[TEMPERATURE]} in the record")
    live = {
        _key(state): state for name, module in rotary_modules(model).items() for state in rotary_states(module, name)
    }
    for table in record["tables"]:
        frequencies = torch.tensor(table["inv_freq"])
        expected = RotaryState(table["module"], table["layer_type"], frequencies, table["attention_factor"])
        found = live.get(_key(expected))
        if found is None:
            problems.append(f"{expected.label} of the record is not in the model")
        else:
            problems += compare_states(found, expected, "the record")[1]
    return problems


def _key(state: RotaryState) -> tuple[str, str | None]:
    """Return what stays the same when a model is wrapped: the last part of the module's name, and the layer type."""
    return state.module.rpartition(".")[2], state.layer_type


def apply_record(record: dict[str, Any], model: PreTrainedModel) -> None:
    """Give `model` the context window of `record`, in place, and prove it.

    Raises:
        ValueError: `model` is another architecture, starts from other rotary parameters than the recorded model did,
            or ends with other tables.
    """
    if not record_problems(record, model):
        return
    config = model.config.get_text_config(decoder=True)
    change = record.get(RECORD_KEY)
    if change is not None:
        _check_start(change, config)
    config.rope_parameters = record["rope_parameters"]
    config.max_position_embeddings = record["max_position_embeddings"]
    if TEMPERATURE in record:
        setattr(config, TEMPERATURE, record[TEMPERATURE])
    if vars(config).get("rope_theta") is not None:
        config.rope_theta = record["rope_parameters"].get("rope_theta")  # a few classes keep this field
    if change is not None:
        setattr(config, RECORD_KEY, change)
        if hasattr(config, "original_max_position_embeddings"):
            config.original_max_position_embeddings = change["original_max_position_embeddings"]
    if vars(config).get("head_dim", 0) is None:
        config.head_dim = config.hidden_size // config.num_attention_heads
    keep_legacy_rope(model.config)
    for module in rotary_modules(model).values():
        rebuild(module, config)
    problems = record_problems(record, model)
    if problems:
        raise ValueError("the recorded context window does not fit this base model:\n- " + "\n- ".join(problems))


def _check_start(change: dict[str, Any], config: PreTrainedConfig) -> None:
    own = getattr(config, RECORD_KEY, None)
    entries = [own["original_rope_parameters"]] if own else _entries(config.rope_parameters)
    if change["original_rope_parameters"] not in entries:
        raise ValueError(
            f"the base model starts from rope_parameters={entries[0] if len(entries) == 1 else entries}, but the "
            f"record was made on one that starts from {change['original_rope_parameters']}: it is another base."
        )


def _entries(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    nested = [value for value in parameters.values() if isinstance(value, dict)]
    return nested or [parameters]
