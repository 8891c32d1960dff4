"""Whether an adapter that is saved can be put onto its base again, and whether that was the right base."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from peft import PeftModel, get_peft_model_state_dict
from peft import __version__ as peft_version
from torch import nn

from ..record import ANSWERS, VOCABULARY
from .merging import adapter_form, tuner_layers
from .probing import Probe, is_quantized, unprobeable

logger = logging.getLogger(__name__)

UNREPEATABLE = ("corda", "loftq", "lora_ga", "pissa_niter")
"""Ways to start LoRA that change the base by what PEFT does not save: drawn numbers, or data that it looked at."""


def check_saveable(model: PeftModel, adapter: str, *, converted: bool = False) -> None:
    """Refuse to save an adapter that nobody could load correctly.

    Either PEFT keeps none of its weights (X-LoRA in 0.21), or the base was changed when the adapter was made, in a way
    that a load cannot repeat. `pissa` and `olora` change the base too, but by its own weights alone, so PEFT repeats
    the change when it loads.

    Args:
        model (`PeftModel`):
            The live model.
        adapter (`str`):
            Name of the adapter.
        converted (`bool`, *optional*, defaults to `False`):
            Whether PEFT turns the adapter into an ordinary LoRA as it saves it.

    Raises:
        ValueError: it is such an adapter.
    """
    config = model.peft_config[adapter]
    start = str(getattr(config, "init_lora_weights", ""))
    if start.startswith(UNREPEATABLE) and not converted:
        raise ValueError(
            f"init_lora_weights={start!r} changed the base model when the adapter was made, and what it did cannot be "
            "repeated, so the saved adapter would belong to a base that nobody has. Save the whole model by "
            "`merge_adapter(model, folder)`; or, if the adapter was saved before training, pass that folder as "
            "path_initial_model_for_weight_conversion, which saves an ordinary LoRA."
        )
    if unprobeable(model) is None and not get_peft_model_state_dict(
        model, adapter_name=adapter, save_embedding_layers=False
    ):
        raise ValueError(
            f"PEFT {peft_version} keeps no weight of a {config.peft_type.value} adapter when it saves one, so a load "
            "would start from new ones. Save its weights by hand (`model.state_dict()`), or train another form."
        )


def live_answers(model: PeftModel, adapter: str) -> dict[str, Any] | None:
    """Return what `model` answers with one of its adapters, for a record; `None`, with a logged reason, if it cannot
    tell.
    """
    reason = _unanswerable(model)
    if reason is None and any(layer.disable_adapters for layer in tuner_layers(model)):
        reason = "the adapter is switched off"
    if reason is None:
        with _only(model, adapter):
            probe = Probe.take(model)
            reason = "it answers the same tokens differently twice" if probe.problem(model) else None
    if reason is not None:
        logger.warning(
            "The answers of adapter %r are not saved, so no load can be held against them: %s.", adapter, reason
        )
        return None
    return probe.to_dict()


def check_base(base_model: Any, record: dict[str, Any]) -> None:
    """Refuse a base that the adapter of `record` cannot go onto, before anything is changed.

    Raises:
        ValueError: it carries an adapter already, or has another vocabulary.
    """
    if isinstance(base_model, PeftModel) or tuner_layers(base_model):
        raise ValueError(
            "base_model carries an adapter already, and a second one would be trained on another model. Take the "
            "first off by `base = model.unload()`, or make it part of the base by `base = merge_adapter(model)`."
        )
    size, wanted = base_model.config.get_text_config(decoder=True).vocab_size, record.get(VOCABULARY)
    if wanted is not None and size != wanted:
        raise ValueError(
            f"the base has a vocabulary of {size} tokens and the adapter was trained with {wanted}. Load the base, "
            f"call `base.resize_token_embeddings({wanted})`, and pass it as base_model."
        )


def check_answers(model: PeftModel, record: dict[str, Any], folder: str | os.PathLike[str]) -> None:
    """Refuse a loaded adapter that answers differently than when it was saved.

    Raises:
        ValueError: it does, by more than the coarser of the two number types explains.
    """
    if record.get(ANSWERS) is None:
        return
    reason = _unanswerable(model)
    if reason is not None:
        logger.warning("That %s answers as it did when it was saved was not checked: %s.", folder, reason)
        return
    problem = Probe.from_dict(record[ANSWERS]).problem(model)
    if problem is not None:
        raise ValueError(
            f"the {adapter_form(model)} adapter in {folder} is not the model that was saved: {problem}. Either the "
            "base has other weights than the one it was trained on (a newer revision, rows added to the embedding, a "
            "base changed in training), or the folder was edited. Pass the right base as base_model; the one at hand "
            "carries the adapter now, so load the base anew in any case."
        )


def _unanswerable(model: nn.Module) -> str | None:
    return unprobeable(model) or ("its base is quantized" if is_quantized(model) else None)


@contextmanager
def _only(model: PeftModel, adapter: str) -> Iterator[None]:
    """One adapter active, and afterwards those that were, with the same weights trainable."""
    active = model.active_adapters
    if active == [adapter]:
        yield
        return
    trainable = [(weight, weight.requires_grad) for weight in model.parameters()]
    single = model.active_adapter
    model.set_adapter(adapter)
    try:
        yield
    finally:
        model.set_adapter(single)
        if active != [single]:
            model.base_model.set_adapter(active)
        for weight, wanted in trainable:
            weight.requires_grad_(wanted)
