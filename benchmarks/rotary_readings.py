"""What the rotary modules of a live model do, read from the cosines and sines that they hand out.

No buffer is trusted: position 1 is asked for, and the angle of its cosine and sine is the frequency of the pair. A
third position tells the module how long the context is, which some types of RoPE depend on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

TOLERANCE = 1e-6
LOCAL_KEYS = ("sliding_attention", "chunked_attention", "hybrid_sliding")


@dataclass(frozen=True)
class Reading:
    """
    One rotary table as it was used.

    Args:
        frequencies (`torch.Tensor`):
            Radians a token, one for each entry of a head that the module gives.
        factor (`float`):
            Length of cosine and sine as a vector: the attention factor.
        local (`bool`):
            Whether the table serves layers with a local window only.
    """

    frequencies: torch.Tensor
    factor: float
    local: bool = False


@dataclass(frozen=True)
class RotaryCall:
    """One call of a rotary module, to be repeated with another configuration."""

    label: str
    module: nn.Module
    args: tuple
    kwargs: dict[str, Any]


def rotary_calls(model: PreTrainedModel, length: int) -> list[RotaryCall]:
    """The calls of rotary modules in one pass over the positions 0, 1 and `length - 1`."""
    names = {module: name for name, module in model.named_modules() if "RotaryEmbedding" in type(module).__name__}
    calls: list[RotaryCall] = []

    def keep(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        told = [value for value in (*args, *kwargs.values()) if isinstance(value, str)]
        label = f"{names[module]}[{told[0]}]" if told else names[module]
        calls.append(RotaryCall(label, module, args, dict(kwargs)))

    hooks = [module.register_forward_pre_hook(keep, with_kwargs=True) for module in names]
    ids = torch.tensor([[5, 6, 7]])
    try:
        with torch.no_grad():
            model(
                input_ids=ids,
                position_ids=torch.tensor([[0, 1, length - 1]]),
                attention_mask=torch.ones_like(ids),
                use_cache=False,
            )
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def read_tables(model: PreTrainedModel, length: int, local: bool = False) -> dict[str, Reading]:
    """
    The tables that `model` uses when the context is `length` tokens long.

    Args:
        local (`bool`, *optional*, defaults to `False`):
            Whether every layer that rotates is local.
    """
    return _readings([(call, call.module) for call in rotary_calls(model, length)], local)


def tables_of(calls: list[RotaryCall], config: PreTrainedConfig, local: bool = False) -> dict[str, Reading]:
    """The tables of `config`, from fresh modules of the classes that made `calls`."""
    with torch.device("cpu"):
        fresh = [(call, type(call.module)(_part(config, call.module))) for call in calls]
    return _readings(fresh, local)


def _part(config: PreTrainedConfig, module: nn.Module) -> PreTrainedConfig:
    wanted = getattr(getattr(module, "config", None), "model_type", None)
    parts = [config, config.get_text_config(decoder=True)]
    parts += [value for value in vars(config).values() if isinstance(value, PreTrainedConfig)]
    return next((part for part in parts if part.model_type == wanted), parts[1])


def _readings(calls: list[tuple[RotaryCall, nn.Module]], local: bool) -> dict[str, Reading]:
    found: dict[str, Reading] = {}
    for call, module in calls:
        positions = call.kwargs.get("position_ids", call.args[1] if len(call.args) > 1 else None)
        if call.label in found or not isinstance(positions, torch.Tensor):
            continue
        row = positions.reshape(-1, positions.shape[-1])[0]
        if not bool((row == 1).any()):
            continue
        with torch.no_grad():
            given = module.forward(*call.args, **call.kwargs)
        here = local or any(call.label.endswith(f"[{key}]") for key in LOCAL_KEYS)
        found[call.label] = _reading(given, int((row == 1).nonzero()[0]), here)
    return found


def _reading(given: Any, index: int, local: bool) -> Reading:
    cosine, sine = (given.real, given.imag) if isinstance(given, torch.Tensor) else (given[0], given[1])
    cosine, sine = (part.reshape(-1, *part.shape[-2:])[0, index].double() for part in (cosine, sine))
    return Reading(torch.atan2(sine, cosine), float(torch.hypot(sine, cosine).max()), local)


def broken_rules(before: dict[str, Reading], after: dict[str, Reading], *, grows: bool, same: bool) -> list[str]:
    """
    What an extension did that none may, in words.

    Args:
        before (`dict[str, Reading]`):
            Tables of the model that was extended, at its window.
        after (`dict[str, Reading]`):
            Tables of the extended model.
        grows (`bool`):
            Whether every table that is not local must reach further than before.
        same (`bool`):
            Whether nothing may have changed.
    """
    problems = [f"{label}: no such table any more" for label in before if label not in after]
    for label, old in before.items():
        if label in after:
            problems += [f"{label}: {problem}" for problem in _broken(old, after[label], grows, same or old.local)]
    return problems


def _broken(old: Reading, new: Reading, grows: bool, same: bool) -> list[str]:
    if old.frequencies.shape != new.frequencies.shape:
        return [f"{new.frequencies.numel()} entries instead of {old.frequencies.numel()}"]
    ratio = new.frequencies / old.frequencies.clamp_min(1e-300)
    faster = (new.frequencies > old.frequencies * (1 + TOLERANCE)) & (new.frequencies > 0)
    problems = []
    if faster.any():
        most = float(ratio[faster].max())
        problems.append(f"{int(faster.sum())} of {faster.numel()} turn faster, up to {min(most, math.inf):.3g} times")
    changed = (new.frequencies - old.frequencies).abs() > TOLERANCE * old.frequencies
    if same and (bool(changed.any()) or abs(new.factor - old.factor) > TOLERANCE):
        problems.append(f"must stay, {int(changed.sum())} changed, factor {old.factor:.6g} -> {new.factor:.6g}")
    slowest = [float(table.frequencies[table.frequencies > 0].min()) for table in (old, new)]
    if grows and not old.local and not slowest[1] < slowest[0] * (1 - TOLERANCE):
        problems.append("does not reach further")
    return problems
