"""What a model answers on a few fixed tokens: the proof that two models, or a model and its copy on disk, are one."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..live_rotary import unwrapped

logger = logging.getLogger(__name__)

NUM_TOKENS = 16
NUM_ADAPTER_TOKENS = 8
NUM_COLUMNS = 64
"""Vocabulary entries of each answer that go into a file."""

FLOAT32_BOUND = 1e-4
"""Largest difference of answers in float32 that counts as rounding; PEFT's merges stay below 5e-6 in two layers."""

TF32_EPS = 2.0**-10


@dataclass(frozen=True)
class Probe:
    """The answers of one model on fixed tokens, to compare another with.

    Args:
        tokens (`list[int]`):
            What was asked, one row.
        log_probs (`torch.Tensor` of shape `(tokens, columns)`):
            Log-probabilities after each token, float32, on the CPU.
        columns (`list[int]`, *optional*):
            The vocabulary entries that `log_probs` has, all if left out.
        eps (`float`):
            Relative step of the numbers that the model computed with.
    """

    tokens: list[int]
    log_probs: torch.Tensor
    columns: list[int] | None
    eps: float

    @classmethod
    def take(cls, model: nn.Module) -> Probe:
        """Asks a model that [`unprobeable`] has nothing against."""
        tokens = probe_tokens(model)
        return cls(tokens, _ask(model, tokens), None, _rounding(model))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Probe:
        """Read what [`Probe.to_dict`] made."""
        return cls(data["tokens"], torch.tensor(data["log_probs"]), data["columns"], data["eps"])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with [`NUM_COLUMNS`] entries spread over the vocabulary."""
        width = self.log_probs.shape[-1]
        columns = sorted({index * (width - 1) // (NUM_COLUMNS - 1) for index in range(NUM_COLUMNS)})
        table = self.log_probs[:, columns].tolist()
        return {"tokens": self.tokens, "columns": columns, "log_probs": table, "eps": self.eps}

    def difference(self, model: nn.Module) -> float:
        """How far the answers of `model` are from these, see [`difference`]."""
        found = _ask(model, self.tokens)
        if self.columns is not None:
            if found.shape[-1] <= max(self.columns):
                return math.inf
            found = found[:, self.columns]
        return difference(found, self.log_probs)

    def problem(self, model: nn.Module) -> str | None:
        """Return what is wrong with the answers of `model`, in words; `None` if rounding explains the difference."""
        found = self.difference(model)
        layers = unwrapped(model).config.get_text_config(decoder=True).num_hidden_layers
        allowed = bound(max(self.eps, _rounding(model)), layers)
        if found <= allowed:
            return None
        return f"its answers to {len(self.tokens)} fixed tokens are {found:.2%} off; rounding explains {allowed:.2%}"


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """How far two answers differ: at the worst token, the length of the difference over that of the expected answer.

    Free of the scale of the logits and of a constant added to them; 1 is as far as an answer that knows nothing.

    Args:
        found, expected (`torch.Tensor` of shape `(tokens, columns)`):
            Log-probabilities of the same entries of the vocabulary.

    Returns:
        `float`: infinite where shapes differ or an answer is no number.
    """
    if found.shape != expected.shape or not (found.isfinite().all() and expected.isfinite().all()):
        return math.inf
    distance = (found - expected).norm(dim=-1)
    length = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)
    return (distance / length.clamp_min(1e-30)).max().item()


def bound(eps: float, num_layers: int) -> float:
    """Return the largest [`difference`] that rounding explains.

    Each layer adds two rounded sums to the stream, and such errors grow like the square root of their number:
    `2 * eps * sqrt(2 * num_layers + 2)`, never below [`FLOAT32_BOUND`].

    Args:
        eps (`float`):
            Relative step of the coarser number type of the two models.
        num_layers (`int`):
            Of the model.
    """
    return max(FLOAT32_BOUND, 2 * eps * math.sqrt(2 * num_layers + 2))


def unprobeable(model: nn.Module) -> str | None:
    """Why a model cannot be asked here, in words; `None` if it can."""
    weights = list(model.parameters())
    count = sum(weight.device.type == "meta" for weight in weights)
    if count:
        return f"{count} of its {len(weights)} weights are on the meta device (offloaded, or not loaded)"
    # DTensor of FSDP2 and tensor parallelism, and ZeRO-3 of DeepSpeed
    if any(hasattr(weight, "full_tensor") or hasattr(weight, "ds_id") for weight in weights):
        return "its weights are sharded over several processes"
    return None


def is_quantized(model: nn.Module) -> bool:
    """Whether the base of a model keeps its weights in a quantized form."""
    base = unwrapped(model)
    return bool(getattr(base, "is_quantized", False) or getattr(base, "quantization_method", None))


def probe_tokens(model: nn.Module) -> list[int]:
    """Return the tokens that a model is asked: spread over its vocabulary, with those that its adapter treats apart.

    The same for every call. Tokens that represent an image and the like are left out.
    """
    base = unwrapped(model)
    text = base.config.get_text_config(decoder=True)
    fields = {**base.config.to_dict(), **text.to_dict()}
    special = {
        value
        for key, value in fields.items()
        if key.endswith(("token_id", "token_index")) and value is not None and not isinstance(value, list)
    }
    spread = {index * (text.vocab_size - 1) // (NUM_TOKENS - 1) for index in range(NUM_TOKENS)}
    plain = sorted(spread - special)
    own = [token for token in _adapter_tokens(model) if 0 <= token < text.vocab_size]
    half = len(plain) // 2
    return plain[:half] + own[:NUM_ADAPTER_TOKENS] + plain[half:]


def _adapter_tokens(model: Any) -> Iterator[int]:
    """Tokens whose rows an adapter trains, and those that switch one on."""
    for config in getattr(model, "peft_config", {}).values():
        for name in ("alora_invocation_tokens", "token_indices", "trainable_token_indices"):
            given = getattr(config, name, None) or []
            for tokens in given.values() if isinstance(given, dict) else [given]:
                yield from tokens


def _ask(model: Any, tokens: list[int]) -> torch.Tensor:
    """Log-probabilities after each token; those after virtual tokens of a prompt are left out.

    The forward of the class is called, not that of the instance: a training framework may have put one in its place
    that computes in another number type.
    """
    device = unwrapped(model).get_input_embeddings().weight.device
    ids = torch.tensor([tokens], device=device)
    extra: dict[str, Any] = {}
    configs = getattr(model, "peft_config", {}).values()
    if any(config.peft_type.value in ("POLY", "MULTITASK_PROMPT_TUNING") for config in configs):
        extra["task_ids"] = torch.zeros(1, dtype=torch.long, device=device)
    if "use_cache" in inspect.signature(type(unwrapped(model)).forward).parameters:
        extra["use_cache"] = False
    with _evaluated(model), torch.no_grad(), torch.autocast(device.type, enabled=False):
        logits = type(model).forward(model, input_ids=ids, attention_mask=torch.ones_like(ids), **extra).logits
    return logits[0, -len(tokens) :].float().cpu().log_softmax(-1)


@contextmanager
def _evaluated(model: nn.Module) -> Iterator[None]:
    """Yield evaluation mode, and afterwards every module in the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _rounding(model: nn.Module) -> float:
    """Return the relative step of the numbers that a model computes with."""
    eps = max(torch.finfo(weight.dtype).eps for weight in model.parameters() if weight.is_floating_point())
    cuda = any(weight.device.type == "cuda" for weight in model.parameters())
    return max(eps, TF32_EPS) if cuda and torch.get_float32_matmul_precision() != "highest" else eps
