"""Which weights a report is about: a folder's name stays when a model is trained on."""

import hashlib
from typing import Any

import torch

_NUMBERS_A_TENSOR = 64


def describe_weights(model: Any) -> str:
    """
    A short digest of a model's weights, to tell apart two models of one name.

    Of every parameter it takes the name, the number type, the shape, and 64 numbers spread over it (our choice:
    training changes nearly all of them).

    Args:
        model ([`PreTrainedModel`]): Any model; parameters on the `meta` device or without elements count by shape.

    Returns:
        `str`: 16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}".encode())
        if parameter.numel() and not parameter.is_meta:
            flat = parameter.detach().reshape(-1)
            step = max(1, len(flat) // _NUMBERS_A_TENSOR)
            digest.update(flat[::step][:_NUMBERS_A_TENSOR].to("cpu", torch.float32).numpy().tobytes())
    return digest.hexdigest()[:16]
