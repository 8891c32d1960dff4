"""What the evaluations share: lengths, and the settings that give their numbers a meaning."""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import Any

import torch

logger = logging.getLogger(__name__)

_NUMBERS_A_TENSOR = 64


def describe_weights(model: Any) -> str:
    """Return a short digest of a model's weights, to tell apart two models of one name.

    Of every saved tensor, buffers included, it takes the name, the number type, the shape, 64 numbers spread over it,
    and the sum of all its bits read as integers, which is exact on every device: a change of one number shows. Rows
    that change places show only if one of the 64 numbers is among them.

    Args:
        model ([`PreTrainedModel`]):
            Any model; tensors on the `meta` device or without elements count by shape.

    Returns:
        `str`: 16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, weight in model.state_dict().items():
        if not isinstance(weight, torch.Tensor):
            continue
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        if weight.numel() and not weight.is_meta:
            flat = weight.detach().reshape(-1)
            step = max(1, len(flat) // _NUMBERS_A_TENSOR)
            spread = flat[::step][:_NUMBERS_A_TENSOR].cpu().contiguous()
            digest.update(spread.view(torch.uint8).numpy().tobytes())
            digest.update(str(_sum_of_bits(flat)).encode())
    return digest.hexdigest()[:16]


def _sum_of_bits(flat: torch.Tensor) -> int:
    """Return the sum of a tensor's bits, read as 64-bit integers that wrap: without a copy, in any order the same."""
    numbers = flat.view(torch.uint8)
    whole = len(numbers) // 8 * 8
    if numbers.storage_offset() % 8:
        numbers = numbers.clone()
    return int(numbers[:whole].view(torch.int64).sum()) + int(numbers[whole:].sum(dtype=torch.int64))


def as_lengths(values: Iterable[Any]) -> tuple[int, ...]:
    """Return token counts in the form that grids and suites keep.

    Raises:
        TypeError: for a number or a string instead of a sequence, or values that are no whole numbers.
    """
    found = tuple(values) if isinstance(values, Iterable) and not isinstance(values, str) else None
    if found is None or any(isinstance(value, str) or value != int(value) for value in found):
        raise TypeError(f"context_lengths is a sequence of whole numbers, as in (4096, 32768); got {values!r}")
    return tuple(int(value) for value in found)


def refuse_differences(pairs: list[tuple[str, Any, Any]], what: str) -> None:
    """Raise `ValueError`, saying `what` is wrong, for (name, value there, value now) that differ."""
    differing = [f"{name} was {before!r} and is {now!r}" for name, before, now in pairs if before != now]
    if differing:
        raise ValueError(f"{what}: {'; '.join(differing)}. Give another file, or delete this one to start over")


def model_settings(model: Any) -> dict[str, Any]:
    """Return what every report says about its model: `max_position_embeddings` and `model`, its name."""
    return {
        "max_position_embeddings": getattr(
            model.config.get_text_config(decoder=True), "max_position_embeddings", None
        ),
        "model": getattr(model.config, "name_or_path", "") or type(model).__name__,
    }


def window_settings(model: Any, context_lengths: Sequence[int], marked: str) -> dict[str, Any]:
    """Return [`model_settings`] with a digest of the `weights`; warn of lengths beyond the model's window.

    Args:
        model ([`PreTrainedModel`]):
            The model that answers.
        context_lengths (`Sequence[int]`):
            Lengths that are measured, in tokens.
        marked (`str`):
            What the report marks at lengths beyond the window, such as "cells".
    """
    known = model_settings(model)
    window = known["max_position_embeddings"]
    beyond = [length for length in context_lengths if window is not None and length > window]
    if beyond:
        logger.warning(
            "lengths %s exceed the model's max_position_embeddings of %s; their %s are marked", beyond, window, marked
        )
    return {**known, "weights": describe_weights(model)}
