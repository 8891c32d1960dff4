"""Adapters (LoRA and others) that remember the context window they were trained with."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftConfig, PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel, TrainerCallback

from ..checkpoint import download_model
from ..live_rotary import unwrapped
from ..record import RECORD_FILE, apply_record, read_record, write_record
from ..verification import verify_context
from .attaching import check_answers, check_base, check_saveable, live_answers
from .merging import check_target, merged_model, save_merged


def save_adapter(model: PeftModel, folder: str | os.PathLike[str], **save_options: Any) -> None:
    """Save an adapter together with the context window of its base, and with what the two answer.

    A saved adapter says nothing about the rotary embedding of the model it was trained on, so loading it by PEFT alone
    attaches it to the base as published. This writes `lsw_context.json` next to it, which [`load_adapter`] reads and
    everything else ignores. The file also contains the live answers to a few fixed tokens, which prove a later load;
    where the model cannot be asked (offloaded, sharded or quantized weights, an adapter that is switched off), a
    warning says so.

    Args:
        model (`PeftModel`):
            The live, trained model.
        folder (`str` or `os.PathLike`):
            Where to.
        save_options:
            Passed to `PeftModel.save_pretrained`.

    Raises:
        ValueError: the live tables differ from the live configuration, or nobody could load the adapter rightly:
            PEFT keeps none of its weights, or it was started in a way that changed the base and cannot be repeated.
        TypeError: `model` is not a PEFT model.
    """
    _check_peft(model, "Save a whole model by save_pretrained.")
    verify_context(model=model)
    adapters = save_options.get("selected_adapters") or list(model.peft_config)
    converted = save_options.get("path_initial_model_for_weight_conversion") is not None
    for adapter in adapters:
        check_saveable(model, adapter, converted=converted)
    answers = {adapter: live_answers(model, adapter) for adapter in adapters}
    model.save_pretrained(folder, **save_options)
    _write_records(model, folder, adapters, answers)


def _check_peft(model: Any, otherwise: str) -> None:
    if not isinstance(model, PeftModel):
        raise TypeError(
            f"model must be a PeftModel, got {type(model).__name__}: `get_peft_model` and `load_adapter` return one. "
            f"{otherwise}"
        )


def _write_records(
    model: nn.Module | None,
    folder: str | os.PathLike[str],
    adapters: Sequence[str] | None = None,
    answers: Mapping[str, dict[str, Any] | None] | None = None,
) -> None:
    """Write the record into `folder`, and where PEFT puts adapters that have a name."""
    inner: Any = getattr(model, "module", model)  # of DistributedDataParallel
    named = {*(adapters or getattr(inner, "peft_config", {}))} - {"default"}
    for name in ("default", *sorted(named)):
        path = Path(folder) if name == "default" else Path(folder) / name
        write_record(unwrapped(model), path, (answers or {}).get(name))


def load_adapter(
    folder: str | os.PathLike[str],
    base_model: PreTrainedModel | None = None,
    *,
    is_trainable: bool = False,
    **load_options: Any,
) -> PeftModel:
    """Load an adapter onto its base model with the context window it was trained with.

    The loaded model answers a few fixed tokens as the saved one did, or it is refused. Records of older releases and
    of [`RopeAdapterCallback`] contain no answers; then the rotary tables and the vocabulary alone are compared.

    Args:
        folder (`str` or `os.PathLike`):
            Folder written by [`save_adapter`], or by a trainer that ran with [`RopeAdapterCallback`], or the Hub id
            of one. An adapter that was given a name is in the subfolder of that name.
        base_model (`PreTrainedModel`, *optional*):
            The base, extended or not; changed in place. Loaded from the name in the adapter if left out.
        is_trainable (`bool`, *optional*, defaults to `False`):
            As in `PeftModel.from_pretrained`.
        load_options:
            Passed to `AutoModelForCausalLM.from_pretrained` when the base is loaded here.

    Returns:
        `PeftModel`

    Raises:
        ValueError: there is no such folder or id, it has no record, the record does not fit the base (the message
            says which field), the base carries an adapter already or has another vocabulary, the loaded model answers
            otherwise than the saved one, or `load_options` are given for a base that is not loaded here.
    """
    if not Path(folder).is_dir():
        folder = download_model(str(folder))
    record = read_record(folder)
    if record is None:
        raise ValueError(
            f"{folder} has no {RECORD_FILE}: nothing says which context window the adapter was trained with. If you "
            "know it, apply `extend_context` to the base with the same arguments, attach the adapter by "
            "`PeftModel.from_pretrained`, and write it again with `save_adapter`."
        )
    if base_model is None:
        name = PeftConfig.from_pretrained(folder).base_model_name_or_path
        base_model = AutoModelForCausalLM.from_pretrained(name, **load_options)
    elif load_options:
        raise ValueError(f"{', '.join(sorted(load_options))} only apply to a base loaded here; base_model was given.")
    check_base(base_model, record)
    apply_record(record, base_model)
    model = PeftModel.from_pretrained(base_model, folder, is_trainable=is_trainable)
    verify_context(folder, model)
    check_answers(model, record, folder)
    return model


def merge_adapter(model: PeftModel, folder: str | os.PathLike[str] | None = None) -> PreTrainedModel:
    """Merge an adapter into its base, keeping the context window, and save the result if a folder is given.

    Proved by what the model answers to a few fixed tokens: live, merged in memory, and read back from the folder must
    agree, up to the rounding of the number type. Otherwise the merge is refused, nothing is left on disk, and `model`
    is as it was unless the message says otherwise. While it merges, the host keeps a copy of the weights under the
    adapter; while it reads back, a second model.

    An adapter on one of two tied embeddings gives a merged model whose embeddings are untied.

    Args:
        model (`PeftModel`):
            Live model, as returned by [`load_adapter`]; it is used up by a merge that succeeds.
        folder (`str` or `os.PathLike`, *optional*):
            Where to save the merged model: new, or an empty folder. It appears whole or not at all.

    Returns:
        `PreTrainedModel`: the merged model, a stock model if the base was one.

    Raises:
        ValueError: the folder is not empty, the adapter cannot be merged (the message says why, and what to do
            instead), or the live tables differ from the configuration or from what was saved.
        TypeError: `model` is not a PEFT model.
    """
    _check_peft(model, "To this class there is no adapter to merge.")
    if folder is not None:
        check_target(Path(folder))
    verify_context(model=model)
    merged = merged_model(model)
    if folder is not None:
        save_merged(merged, Path(folder))
    return merged


class RopeAdapterCallback(TrainerCallback):
    """Make every checkpoint of a plain PEFT or TRL training run remember the context window.

    `Trainer(..., callbacks=[RopeAdapterCallback()])`. Training does not start if the live tables differ from the
    configuration. A record is written into each checkpoint, and at the end into `output_dir`, where `save_model` puts
    the final adapter.
    """

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any
    ) -> None:
        """Refuse to train a model whose tables are not those of its configuration."""
        verify_context(model=model)

    def on_save(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any) -> None:
        """Write the record into the checkpoint just saved."""
        if state.is_world_process_zero:
            _write_records(model, Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any) -> None:
        """Write the record where the final adapter will be saved."""
        if state.is_world_process_zero:
            _write_records(model, args.output_dir)
