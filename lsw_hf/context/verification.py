"""Proof that the context window in a saved folder is the one that ran."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_MAPPING,
    AutoModel,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from .architecture.facts import extension_notes
from .architecture.layout import find_layout, rope_entry
from .architecture.origin import edited_record
from .architecture.text_part import config_chain
from .live_rotary import (
    compare_states,
    reaching_state,
    rebuild,
    rebuilt,
    rotary_modules,
    rotary_states,
    transformers_model,
)
from .record import RECORD_FILE, read_record, record_problems
from .saved_model import load_config
from .transformers4.config_files import compare_spellings


@dataclass(frozen=True)
class ContextReport:
    """What a model's context window is, where it is written, and whether the two agree.

    Args:
        rope_type (`str`):
            Type in force in the configuration.
        rope_theta (`float`):
            Base.
        factor (`float`):
            Factor; 1 for unscaled types.
        attention_factor (`float`):
            Factor of cosine and sine.
        context_length (`int`):
            `max_position_embeddings`, in tokens.
        original_length (`int`):
            Tokens at pretraining; 0 if unknown.
        longest_wavelength (`float`):
            Tokens that the slowest pair that turns needs for a full turn; infinite if none does.
        difference (`float`):
            Largest relative difference between the frequencies compared.
        problems (`tuple[str, ...]`):
            What is wrong; empty if all that was compared agrees.
        notes (`tuple[str, ...]`):
            What some readers will not understand, though nothing is wrong.
    """

    rope_type: str
    rope_theta: float
    factor: float
    attention_factor: float
    context_length: int
    original_length: int
    longest_wavelength: float
    difference: float
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """`bool`: whether nothing is wrong."""
        return not self.problems

    def to_markdown(self) -> str:
        """Return the report as a Markdown list."""
        lines = [
            f"- window: {self.context_length:,} tokens"
            + (f", {self.original_length:,} at pretraining" if self.original_length else ""),
            f"- rotary: {self.rope_type}, base {self.rope_theta:.6g}, factor {self.factor:.6g}, attention factor "
            f"{self.attention_factor:.6g}; the slowest pair turns once in {self.longest_wavelength:,.0f} tokens",
            *(f"- problem: {problem}" for problem in self.problems),
            *(f"- note: {note}" for note in self.notes),
        ]
        return "\n".join(lines)


def verify_context(
    path_or_id: str | os.PathLike[str] | None = None,
    model: nn.Module | None = None,
    *,
    raise_on_mismatch: bool = True,
    trust_remote_code: bool = False,
) -> ContextReport:
    """Recomputes inverse frequencies and attention factor from what is saved and compares them with the live ones.

    With a path alone, the file's own fields are checked against each other. With a model alone, the model's tables
    are compared with what its configuration, which is what a save would write, says. With both, the tables are also
    compared with the saved folder, and so are the lengths.

    Args:
        path_or_id (`str` or `os.PathLike`, *optional*):
            A saved folder or Hub id, or a folder with an adapter and its `lsw_context.json`.
        model (`nn.Module`, *optional*):
            A live causal language model, bare or wrapped by PEFT.
        raise_on_mismatch (`bool`, *optional*, defaults to `True`):
            Raise on any problem; otherwise the report lists them.
        trust_remote_code (`bool`, *optional*, defaults to `False`):
            Passed to `AutoConfig`.

    Returns:
        `ContextReport`

    Raises:
        ValueError: nothing to verify was given, the folder or id contains no model, the model has no rotary embedding,
            or (by default) something differs.
        TypeError: `model` is not a transformers model.
    """
    if path_or_id is None and model is None:
        raise ValueError("verify_context needs a path_or_id, a model, or both.")
    problems: list[str] = []
    notes: list[str] = []
    saved = None
    live = transformers_model(model) if model is not None else None
    record = _adapter_record(path_or_id)
    if record is not None:
        if live is None:
            raise ValueError(f"{path_or_id} contains an adapter: pass the model it is attached to as well.")
        problems += record_problems(record, live)
    elif path_or_id is not None:
        saved = load_config(path_or_id, trust_remote_code=trust_remote_code)
        raw, _ = PreTrainedConfig.get_config_dict(path_or_id)
        contradictions, unread = compare_spellings(raw, saved)
        problems += contradictions
        notes += unread
    probed = live if live is not None else _skeleton(saved, trust_remote_code)
    config = probed.config
    text = config.get_text_config(decoder=True)
    modules = rotary_modules(probed)
    if not modules:
        find_layout(config)  # says what the model has instead
        raise ValueError(f"{text.model_type!r} has no rotary module with an `inv_freq` buffer to verify.")
    worst = 0.0
    if edited_record(text) is not None:
        problems.append(str(edited_record(text)))
    if live is not None:
        worst = _compare(modules, text, "its configuration", problems)
    if live is not None and saved is not None:
        worst = max(worst, _compare(modules, saved.get_text_config(decoder=True), f"{path_or_id}", problems))
        _check_length(text, saved.get_text_config(decoder=True), problems)
    notes += extension_notes(text)
    report = _report(text, modules, worst, problems, notes)
    if raise_on_mismatch and problems:
        remedy = (
            "Correct config.json, or delete one of its two spellings."
            if live is None
            else "Change a model with `extend_context`, which rebuilds its tables; repair tables damaged by a cast "
            "with `restore_rotary(model)`."
        )
        raise ValueError("what is saved is not what runs:\n- " + "\n- ".join(problems) + f"\n{remedy}")
    return report


def _adapter_record(path_or_id: str | os.PathLike[str] | None) -> dict[str, Any] | None:
    """Return the record of an adapter's folder; `None` for a model's folder, whose `config.json` is what counts."""
    if path_or_id is None or (Path(path_or_id) / "config.json").is_file():
        return None
    record = read_record(path_or_id)
    if record is None and (Path(path_or_id) / "adapter_config.json").is_file():
        raise ValueError(
            f"{path_or_id} contains an adapter without {RECORD_FILE}: nothing says which context window it was "
            "trained with. `save_adapter` and `RopeAdapterCallback` write that file."
        )
    return record


def restore_rotary(model: nn.Module) -> nn.Module:
    """Rebuilds every rotary table of `model` from its configuration, in float32 and in place.

    Repairs a model cast as a whole (`model.to(torch.bfloat16)`, `model.half()`), which rounds its frequencies, and
    makes a configuration edited after loading take effect.

    Args:
        model (`nn.Module`):
            A live causal language model, bare or wrapped by PEFT.

    Returns:
        `nn.Module`: the same object.

    Raises:
        TypeError: `model` is not a transformers model.
    """
    base = transformers_model(model)
    text = base.config.get_text_config(decoder=True)
    for module in rotary_modules(base).values():
        rebuild(module, text)
    return model


def _skeleton(config: PreTrainedConfig, trust_remote_code: bool) -> PreTrainedModel:
    """Return the model without memory: only the classes of its rotary modules are wanted."""
    with torch.device("meta"):
        if hasattr(config, "auto_map") or type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
            return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        # of a model that also sees or hears the smallest part with the text in it that has a class of its own
        for part in reversed(config_chain(config)):
            if type(part) in MODEL_FOR_CAUSAL_LM_MAPPING:
                return AutoModelForCausalLM.from_config(part)
            if type(part) in MODEL_MAPPING:
                return AutoModel.from_config(part)
    raise ValueError(
        f"no model class of transformers builds {config.model_type!r}, so its rotary tables cannot be recomputed from "
        "the files alone. Load the model, extend it live with `extend_context`, or verify it with model=, and save it."
    )


def _compare(modules: dict[str, nn.Module], config: PreTrainedConfig, where: str, problems: list[str]) -> float:
    worst = 0.0
    for name, module in modules.items():
        expected = {state.layer_type: state for state in rotary_states(rebuilt(module, config), name)}
        for state in rotary_states(module, name):
            difference, found = compare_states(state, expected.get(state.layer_type), where)
            worst = max(worst, difference)
            problems += found
    return worst


def _check_length(live: PreTrainedConfig, saved: PreTrainedConfig, problems: list[str]) -> None:
    for name in ("max_position_embeddings", "attention_temperature_length"):
        here, there = getattr(live, name, None), getattr(saved, name, None)
        if here != there:
            problems.append(f"{name} is {here} live and {there} saved")


def _report(
    config: PreTrainedConfig, modules: dict[str, nn.Module], difference: float, problems: list[str], notes: list[str]
) -> ContextReport:
    module = next(iter(modules.values()))
    state = reaching_state(rotary_states(rebuilt(module, config)))
    entry = rope_entry(config, state.layer_type)
    record = getattr(config, "lsw_context", None) or {}
    original = entry.get("original_max_position_embeddings") or record.get("original_max_position_embeddings", 0)
    return ContextReport(
        rope_type=entry.get("rope_type", "default"),
        rope_theta=float(entry["rope_theta"]),
        factor=float(entry.get("factor") or _longrope_factor(entry, config)),
        attention_factor=state.attention_factor,
        context_length=config.max_position_embeddings,
        original_length=original,
        longest_wavelength=state.longest_wavelength,
        difference=difference,
        problems=tuple(problems),
        notes=tuple(notes),
    )


def _longrope_factor(entry: dict[str, Any], config: PreTrainedConfig) -> float:
    """Return what transformers derives where a `longrope` dictionary gives no factor; 1 for every other type."""
    if entry.get("rope_type") != "longrope":
        return 1.0
    return config.max_position_embeddings / entry["original_max_position_embeddings"]
