"""Which attention layers of a model rotate, and which see only what is near, found by experiment.

Every attention module runs on the inputs it had in one plain pass, so that a layer cannot inherit a change from the
layers below it: once with other rotary positions, once with another first token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

SOFTMAX = ("Attention", "MLA")
NOT_SOFTMAX = ("Linear", "Lightning", "Delta", "Mamba", "Rotary", "Cross", "Vision", "Audio", "Attentions")
"""Parts of class names with "Attention" that are no softmax attention over the tokens before."""

NUM_TOKENS = 48
"""Longer than every local window of a tiny model."""


class ProbedLayer(NamedTuple):
    """What one attention layer was seen to do, in the order in which the model runs them."""

    name: str
    rotates: bool
    local: bool


class _Call(NamedTuple):
    name: str
    hidden: torch.Tensor
    output: torch.Tensor


def probe_layers(model: PreTrainedModel, num_tokens: int = NUM_TOKENS) -> list[ProbedLayer]:
    """
    Every softmax attention layer of `model`: whether it rotates, and whether its last token cannot see its first.

    Args:
        model (`PreTrainedModel`):
            A tiny model with live random weights, in evaluation mode.
        num_tokens (`int`, *optional*, defaults to 48):
            Tokens of the row; more than the widest local window.
    """
    ids = torch.randint(3, 97, (1, num_tokens), generator=torch.Generator().manual_seed(3))
    plain = _run(model, ids)
    with _other_positions(model):
        turned = _run(model, ids, [call.hidden for call in plain])
    generator = torch.Generator().manual_seed(5)
    moved = []
    for call in plain:
        hidden = call.hidden.clone()
        hidden[:, 0] += hidden.abs().mean() * 3 * torch.randn(hidden[:, 0].shape, generator=generator)
        moved.append(hidden)
    shifted = _run(model, ids, moved)
    return [
        ProbedLayer(
            before.name,
            rotates=_differs(before.output, after.output),
            local=not _differs(before.output[:, -1], other.output[:, -1]),
        )
        for before, after, other in zip(plain, turned, shifted, strict=True)
    ]


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The innermost modules that compute softmax attention, by name."""
    named = {
        name: module
        for name, module in model.named_modules()
        if any(part in type(module).__name__ for part in SOFTMAX)
        and not any(part in type(module).__name__ for part in NOT_SOFTMAX)
    }
    outer = {name for name in named if any(other.startswith(f"{name}.") for other in named)}
    return {name: module for name, module in named.items() if name not in outer}


def _differs(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() > 1e-6 * one.abs().max())


def _run(model: PreTrainedModel, ids: torch.Tensor, hidden: list[torch.Tensor] | None = None) -> list[_Call]:
    """One pass; with `hidden`, each attention call gets its own instead of what the layers below made."""
    calls: list[_Call] = []
    given: list[torch.Tensor] = []

    def before(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        name = next((key for key in ("hidden_states", "hidden_state", "x") if key in kwargs), None)
        mine = args[0] if name is None else kwargs[name]
        mine = mine if hidden is None else hidden[len(given)]
        given.append(mine.detach())
        return ((mine, *args[1:]), kwargs) if name is None else (args, kwargs | {name: mine})

    def after(name: str) -> Callable:
        def keep(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
            first = output if isinstance(output, torch.Tensor) else output[0]
            calls.append(_Call(name, given[len(calls)], first.detach()))

        return keep

    hooks = []
    for name, module in attention_modules(model).items():
        hooks.append(module.register_forward_pre_hook(before, with_kwargs=True))
        hooks.append(module.register_forward_hook(after(name), with_kwargs=True))
    try:
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return calls


@contextmanager
def _other_positions(model: PreTrainedModel) -> Iterator[None]:
    """Every rotary module of `model` is told positions twice as large inside this block."""

    def double(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        if "position_ids" in kwargs:
            return args, kwargs | {"position_ids": 2 * kwargs["position_ids"]}
        return (args[0], 2 * args[1], *args[2:]), kwargs

    named = [module for module in model.modules() if "RotaryEmbedding" in type(module).__name__]
    hooks = [module.register_forward_pre_hook(double, with_kwargs=True) for module in named]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
