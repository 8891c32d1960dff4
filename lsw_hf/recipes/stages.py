"""The four stages of LongSkywork, and the training arguments of each: defaults, where they come from, and checks."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from transformers import HfArgumentParser
from trl import ModelConfig

from ..training.continual_pretraining import ContinualPretrainingConfig, ContinualPretrainingTrainer
from ..training.long_sft import LongSFTConfig, LongSFTTrainer
from ..training.skip_align import SkipAlignConfig, SkipAlignTrainer

# Options of a stage that belong to TRL's ModelConfig and not to its training arguments.
PEFT_OPTIONS = tuple(
    field.name for field in fields(ModelConfig) if field.name.startswith("lora_") or field.name.startswith("use_")
)
# The recipe decides these itself; a user who sets them would break resuming.
_COUNTS = (
    "max_steps",
    "max_length",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "documents_per_window",
    "save_total_limit",
)
# A count, or a share of all steps.
_INTERVALS = ("save_steps", "logging_steps")
# What a run could not be resumed with, and what to set instead.
_UNRESUMABLE = {
    "save_strategy": ("no", "set save_steps to a large number to save rarely"),
    "save_only_model": (True, "a checkpoint without the optimizer's state cannot be continued"),
    "ignore_data_skip": (True, "a resumed stage would see its first rows twice"),
}
# What would change nothing, or stop a stage when its turn comes.
_WITHOUT_EFFECT = {
    "num_train_epochs": "max_steps says how long a stage is",
    "eval_strategy": "a stage has no rows for evaluation; the needle grid measures before and after",
    "do_eval": "a stage has no rows for evaluation; the needle grid measures before and after",
}
_RESERVED = ("output_dir", "seed", "data_seed", "resume_from_checkpoint", "push_to_hub", "do_train")


@dataclass(frozen=True)
class Stage:
    """One stage: its name, its trainer, what it learns from, and what its defaults rest on.

    Args:
        name (`str`):
            Name in settings and on disk.
        number (`int`):
            Place in the recipe, from 1.
        data (`str`):
            What it trains on, for the plan.
        config_class (`type`):
            Training arguments.
        trainer_class (`type`):
            Trainer.
    """

    name: str
    number: int
    data: str
    config_class: type
    trainer_class: type

    @property
    def folder(self) -> str:
        """Name of the stage's folder in the run directory."""
        return f"{self.number}_{self.name}"


STAGES = {
    stage.name: stage
    for stage in (
        Stage("pretraining", 1, "documents, whole", ContinualPretrainingConfig, ContinualPretrainingTrainer),
        Stage(
            "continual_pretraining",
            2,
            "documents, chunk-interleaved (CIP)",
            ContinualPretrainingConfig,
            ContinualPretrainingTrainer,
        ),
        Stage("sft", 3, "instructions, skipped positions (SkipAlign)", SkipAlignConfig, SkipAlignTrainer),
        Stage("long_sft", 4, "synthetic lengthy tables (SynL)", LongSFTConfig, LongSFTTrainer),
    )
}
# What `lsw-hf train` runs unless told otherwise: a given model has been pretrained already.
DEFAULT_STAGES = ("continual_pretraining", "sft", "long_sft")


def default_options(name: str, context_length: int, original_length: int) -> dict[str, tuple[Any, str]]:
    """Training arguments of a stage before the user's own.

    Args:
        name (`str`):
            Name of the stage.
        context_length (`int`):
            Target length in tokens.
        original_length (`int`):
            The model's window before the extension, in tokens.

    Returns:
        `dict[str, tuple[Any, str]]`: value and source by the option's TRL name.
    """
    ours = "our choice"
    if name == "pretraining":
        return {
            "max_length": (original_length, "the model's window"),
            "max_steps": (1_000, ours),
            "learning_rate": (6e-4, "Skywork-13B (2310.19341)"),
            "documents_per_window": (1, "plain concatenation"),
            "chunks_per_document": (1, "plain concatenation"),
        }
    if name == "continual_pretraining":
        return {
            "max_length": (context_length, "the target"),
            "max_steps": (400, "YaRN (2309.00071)"),
            "learning_rate": (1e-5, "ProLong (2410.02660)"),
            "documents_per_window": (4, ours),
            "chunks_per_document": (2, "CIP-2, LongSkywork (2406.00605)"),
        }
    if name == "sft":
        return {
            "max_length": (original_length, "the original window, as in SkipAlign (2405.03939)"),
            "max_steps": (1_000, ours),
            "learning_rate": (2e-5, "TRL"),
            "skip_probability": (1.0, "our choice, from benchmarks/skip_strategies.py"),
        }
    if name == "long_sft":
        return {"max_steps": (200, "LongSkywork (2406.00605)"), "learning_rate": (1e-5, ours)}
    raise ValueError(_unknown("stage", name, list(STAGES)))


def stage_options(name: str, given: Mapping[str, Any], context_length: int, original_length: int) -> dict[str, Any]:
    """Return the options of a stage: defaults overlaid with what the user gave.

    Args:
        name (`str`):
            Name of the stage.
        given (`Mapping`):
            Options by their TRL or transformers name; strings are converted to the option's type.
        context_length (`int`), original_length (`int`):
            As in [`default_options`].

    Returns:
        `dict`: all options that differ from the config class's own defaults.

    Raises:
        ValueError: for an unknown stage or option (with the nearest known one), or one that the recipe sets itself.
    """
    defaults = {key: value for key, (value, _) in default_options(name, context_length, original_length).items()}
    known = {field.name for field in fields(STAGES[name].config_class) if field.init} | set(PEFT_OPTIONS)
    for key in given:
        if key in _RESERVED:
            raise ValueError(f"{name}.{key} is set by the recipe itself and cannot be given.")
        if key in _WITHOUT_EFFECT:
            raise ValueError(f"{name}.{key} cannot be set: {_WITHOUT_EFFECT[key]}. Leave it out.")
        if key not in known:
            raise ValueError(_unknown(f"option of stage {name}", key, sorted(known)))
    options = {**defaults, **_typed(STAGES[name].config_class, given)}
    _check_numbers(name, options)
    for key, (refused, remedy) in _UNRESUMABLE.items():
        if options.get(key) == refused:
            raise ValueError(f"{name}.{key}={refused!r} would make the run impossible to resume: {remedy}.")
    limit = original_length if name == "pretraining" else context_length
    if (options.get("max_length") or 0) > limit:
        meaning = "the window that the model is pretrained in" if name == "pretraining" else "the target"
        raise ValueError(f"{name}.max_length is {options['max_length']}, longer than {meaning}, {limit} tokens.")
    return options


def check_stage_names(names: list[str] | tuple[str, ...]) -> None:
    """Raise `ValueError` for an empty list, a repeated name, or one that is no stage (naming the nearest)."""
    if not names:
        raise ValueError(f"No stage is selected; choose from {', '.join(STAGES)}.")
    for name in names:
        if name not in STAGES:
            raise ValueError(_unknown("stage", name, list(STAGES)))
    if len(set(names)) < len(names):
        raise ValueError(f"A stage is named twice: {', '.join(names)}.")


def _check_numbers(name: str, options: Mapping[str, Any]) -> None:
    for key in _COUNTS:
        value = options.get(key, 1)
        if key == "max_length" and value is None and name == "long_sft":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}.{key} must be a whole number of at least 1, got {value!r}.")
    for key in _INTERVALS:
        value = options.get(key, 1)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not (0 < value < 1 or (value >= 1 and value == int(value))):
            raise ValueError(
                f"{name}.{key} must be a number of steps, or a share of them between 0 and 1, got {value!r}."
            )
    rate = options["learning_rate"]
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < float("inf"):
        raise ValueError(f"{name}.learning_rate must be positive, got {rate!r}.")


def _unknown(what: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(known)}."
    return f"Unknown {what}: {name!r}.{hint}"


def _typed(config_class: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Convert strings and tuples of them, which come from the command line (strings from YAML too, for numbers such as
    1e-5), to the options' types.
    """
    texts = {key: value for key, value in given.items() if isinstance(value, (str, tuple))}
    if not texts:
        return dict(given)
    parser = HfArgumentParser([config_class, ModelConfig], exit_on_error=False)
    arguments = [
        part for key, value in texts.items() for part in (f"--{key}", *([value] if isinstance(value, str) else value))
    ]
    try:
        namespace, unread = parser.parse_known_args(["--output_dir", ".", *arguments])
    except (argparse.ArgumentError, ValueError, TypeError) as error:
        raise ValueError(f"Cannot read the options {texts}: {error}.") from error
    if unread:
        raise ValueError(f"Cannot read the options {texts}: {' '.join(unread)} is one value too many.")
    return {**given, **{key: getattr(namespace, key) for key in texts}}
