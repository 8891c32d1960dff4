"""Merging an adapter into its base: proved by what the model answers, or refused with the base as it was."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel

from ...files import replacing
from ..live_rotary import unwrapped
from ..transformers4.config_files import keep_legacy_rope
from ..verification import verify_context
from .probing import Probe, is_quantized, unprobeable

logger = logging.getLogger(__name__)

FLOAT32_EPS = torch.finfo(torch.float32).eps
PUBLISH = "Publish the adapter itself by `save_adapter`; `load_adapter` puts it onto its base."
INPUT_DEPENDENT = {
    "POLY": "chooses its weights by the task of each input",
    "SHADOW": "runs a second, small model next to the base",
    "XLORA": "mixes its adapters anew for every token",
}
"""Forms that the weights of one model cannot express."""
SETTLED = (
    "All adapters are already merged",
    "Already following adapters were merged",
    "Input and output embeddings are no longer tied",
    "Model with `tie_word_embeddings=True`",
)
"""What PEFT warns of in a merge, and what is proved here instead."""


def adapter_form(model: PeftModel) -> str:
    """Return the PEFT types of the adapters of a model, for messages."""
    return " and ".join(sorted({config.peft_type.value for config in model.peft_config.values()}))


def tuner_layers(model: nn.Module) -> list[Any]:
    """Every layer that PEFT has put in the place of one of the model's own."""
    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


def check_mergeable(model: PeftModel) -> None:
    """Refuse what cannot be merged at all, or not be proved, before anything is changed.

    Raises:
        ValueError: the form of the adapter has no merge, it is switched off or gone, or the base is quantized,
            offloaded or sharded.
    """
    name = adapter_form(model)
    if any(config.is_prompt_learning for config in model.peft_config.values()):
        raise ValueError(
            f"a {name} adapter cannot be merged: it adds virtual tokens to the input and changes no weight. {PUBLISH}"
        )
    for kind in sorted(INPUT_DEPENDENT.keys() & {config.peft_type.value for config in model.peft_config.values()}):
        raise ValueError(f"a {kind} adapter cannot be merged: it {INPUT_DEPENDENT[kind]}. {PUBLISH}")
    if not isinstance(model.base_model, BaseTuner):
        raise ValueError(f"a {name} adapter cannot be merged: PEFT has no merge for this form. {PUBLISH}")
    layers = tuner_layers(model)
    if not layers:
        raise ValueError(
            "the model has no adapter left: it was merged or unloaded before. The merged model is what the first call "
            "returned; `load_adapter` makes another one."
        )
    if any(layer.disable_adapters for layer in layers):
        raise ValueError(
            f"the {name} adapter is switched off, so merging would change what the model answers. Switch it on by "
            "`model.base_model.enable_adapter_layers()`, or drop it by `model.unload()`."
        )
    if is_quantized(model):
        raise ValueError(
            f"the base under this {name} adapter is quantized, and a merge would round the adapter to its few levels. "
            "Load the base without quantization_config, in bfloat16 or float32, attach the adapter by "
            "`load_adapter(folder, base)`, and merge that."
        )
    reason = unprobeable(model)
    if reason is not None:
        raise ValueError(
            f"the merge could not be proved: {reason}. Load base and adapter whole, in one process and without a "
            "device_map that offloads, and merge there."
        )


def merged_model(model: PeftModel) -> PreTrainedModel:
    """Return the base with the active adapters merged, which answers as the live model does.

    Input and output embeddings that share one weight are parted if the adapter changes only one of them, or both in
    different ways; the configuration then says `tie_word_embeddings=False`.

    Raises:
        ValueError: refused. The message says whether `model` is as it was.
    """
    check_mergeable(model)
    name = adapter_form(model)
    inactive = sorted(set(model.peft_config) - set(model.active_adapters))
    if inactive:
        logger.warning("Only %s is merged; the inactive adapters are dropped: %s.", model.active_adapters, inactive)
    probe = Probe.take(model)
    effect = _effect(model, probe)
    before = _Snapshot(model)
    try:
        _merge_in_place(model, probe)
    except (ValueError, RuntimeError, AttributeError, TypeError) as error:
        before.restore()
        usable = "is as it was" if probe.problem(model) is None else "no longer answers as before: load it again"
        raise ValueError(
            f"this {name} adapter cannot be merged: {str(error).rstrip('.')}. {PUBLISH} A form that always merges is "
            f"LoRA on linear layers. The model given {usable}."
        ) from error
    if effect is not None and probe.difference(model) > 0.5 * effect:
        logger.warning(
            "The merge rounds away much of what the adapter adds: answers move by %.2g, and the adapter itself moves "
            "them by %.2g. If that matters, merge in float32 and cast afterwards.",
            probe.difference(model),
            effect,
        )
    with _settled_warnings():
        # none is left to merge; OSF would merge again
        merged = model.merge_and_unload(adapter_names=[])
    merged.tie_weights()  # the configuration may have changed
    problem = probe.problem(merged)
    if problem is not None:
        raise ValueError(
            f"not all of this {name} adapter survived its merge: {problem}. {PUBLISH} The model given is used up: "
            "load it again."
        )
    return merged


def check_target(folder: Path) -> None:
    """Refuse a folder that a merged model could not become, before any work.

    Raises:
        ValueError: it is not empty or not a folder, it is the working folder, or several processes would write it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder {folder} exists and is not an empty folder. Choose another one, or remove it.")
    if folder.absolute() == Path.cwd():
        raise ValueError(f"folder {folder} is the working folder, which cannot be replaced. Name a new one.")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        count = torch.distributed.get_world_size()
        if count > 1:
            raise ValueError(
                f"{count} processes would all write {folder}. Save the adapter, and merge it in one process after the "
                "run: `merge_adapter(load_adapter(adapter), folder)`."
            )


def save_merged(merged: PreTrainedModel, folder: Path) -> None:
    """Save a merged model, read it back, and let the folder appear only if it answers as the model in memory does.

    Raises:
        ValueError: what is read back is another model. Nothing is left on disk.
    """
    with replacing(folder) as partial:
        keep_legacy_rope(merged.config)
        merged.save_pretrained(partial)
        verify_context(str(partial), merged)
        problem = Probe.take(merged).problem(type(merged).from_pretrained(partial, dtype=merged.dtype))
        if problem is not None:
            raise ValueError(
                f"the merged model is right in memory, but read back from its files {problem}. Nothing was kept on "
                "disk, and the model given is used up: load it again, and merge it without a folder to have the "
                "merged model in memory."
            )


def _effect(model: PeftModel, probe: Probe) -> float | None:
    """How far the adapter moves the answers of its base, where the number type is too short to be sure of a merge."""
    if probe.eps <= FLOAT32_EPS:
        return None
    with model.disable_adapter():
        return probe.difference(model)


@contextmanager
def _settled_warnings() -> Iterator[None]:
    """Yield what PEFT says of tied and of merged weights is settled here by proof."""
    with warnings.catch_warnings():
        for start in SETTLED:
            warnings.filterwarnings("ignore", message=start, category=UserWarning)
        yield


class _Snapshot:
    """All that a merge in place may change, kept in the memory of the host."""

    def __init__(self, model: PeftModel) -> None:
        self._layers = [(layer, list(layer.merged_adapters)) for layer in tuner_layers(model)]
        weights = {id(weight): weight for layer, _ in self._layers for weight in layer.parameters()}
        self._weights = [(weight, weight.detach().to("cpu", copy=True)) for weight in weights.values()]
        self._places = [(place, weight) for weight, places in _shared_weights(model) for place in places]
        self._configs = [(config, config.tie_word_embeddings) for config in _tying_configs(model)]

    def restore(self) -> None:
        for (module, key), weight in self._places:
            module._parameters[key] = weight
        for weight, copy in self._weights:
            weight.data.copy_(copy)
        for layer, merged in self._layers:
            layer.merged_adapters = merged
        for config, tied in self._configs:
            config.tie_word_embeddings = tied


def _merge_in_place(model: PeftModel, probe: Probe) -> None:
    """Merge by PEFT, shared embeddings parted before and joined again if they come out equal."""
    parted = []
    for weight, places in _shared_weights(model):
        if len(places) != 2 or not any(isinstance(module, nn.Embedding) for module, _ in places):
            raise ValueError(
                f"{len(places)} layers of the model share one weight (layer_replication), which cannot take what "
                "the adapter adds to each"
            )
        # the embedding keeps the weight, the head gets a copy
        places.sort(key=lambda place: not isinstance(place[0], nn.Embedding))
        (module, key) = places[1]
        module._parameters[key] = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
        parted.append(places)
    with _settled_warnings():
        model.base_model.merge_adapter(safe_merge=True)
    for (first, first_key), (second, second_key) in parted:
        one, other = first.get_parameter(first_key), second.get_parameter(second_key)
        if _equal_but_for_rounding(one, other):
            second._parameters[second_key] = one
        else:
            for config in _tying_configs(model):
                config.tie_word_embeddings = False
            logger.warning(
                "The adapter changes one of two tied embeddings, so the merged model has both, untied: %s more "
                "weights. A server that always ties this architecture would read another model.",
                f"{other.numel():,}",
            )
    problem = probe.problem(model)
    if problem is not None:
        raise ValueError(f"merged by PEFT, {problem}")


def _equal_but_for_rounding(one: torch.Tensor, other: torch.Tensor) -> bool:
    tolerance = 4 * torch.finfo(one.dtype).eps * one.abs().max().item()
    return one.shape == other.shape and (one - other).abs().max().item() <= tolerance


def _shared_weights(model: PeftModel) -> list[tuple[nn.Parameter, list[tuple[nn.Module, str]]]]:
    """Weights under an adapter that several modules own, each with its owners."""
    touched = {id(weight) for layer in tuner_layers(model) for weight in layer.get_base_layer().parameters()}
    owners: dict[int, tuple[nn.Parameter, list[tuple[nn.Module, str]]]] = {}
    for module in model.modules():
        for key, weight in module._parameters.items():
            if id(weight) in touched:
                owners.setdefault(id(weight), (weight, []))[1].append((module, key))
    return [(weight, places) for weight, places in owners.values() if len(places) > 1]


def _tying_configs(model: PeftModel) -> list[Any]:
    config = unwrapped(model).config
    both = {id(config): config, id(config.get_text_config(decoder=True)): config.get_text_config(decoder=True)}
    return [config for config in both.values() if getattr(config, "tie_word_embeddings", None) is not None]
