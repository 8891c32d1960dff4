"""The rotary modules of a live model: find them, rebuild them, read their state."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from .architecture.layout import LOCAL_LAYER_TYPES
from .composition import TOLERANCE

SUFFIX = "inv_freq"
CASTS = (torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class RotaryState:
    """What one rotary table computes with.

    Args:
        module (`str`):
            Name of the module in the model.
        layer_type (`str`, *optional*):
            The layer type it serves, for models that keep one table per type.
        inv_freq (`torch.Tensor` of shape `(rotary_dim / 2,)`):
            Inverse frequencies in radians per token, as stored (dtype included).
        attention_factor (`float`):
            Multiplier of cosine and sine.
    """

    module: str
    layer_type: str | None
    inv_freq: torch.Tensor
    attention_factor: float

    @property
    def label(self) -> str:
        """`str`: how messages call the table."""
        return f"{self.module}[{self.layer_type}]" if self.layer_type else self.module

    @property
    def longest_wavelength(self) -> float:
        """`float`: tokens that the slowest pair that turns needs for a full turn; infinite if none turns."""
        turning = self.inv_freq[self.inv_freq > 0]
        return 2 * math.pi / turning.min().item() if turning.numel() else math.inf


def reaching_state(states: list[RotaryState]) -> RotaryState:
    """Return the table of the layers that reach furthest: full attention, else any that is not local, else the
    first.
    """

    def local(state: RotaryState) -> int:
        return 0 if state.layer_type == "full_attention" else 1 + (state.layer_type in LOCAL_LAYER_TYPES)

    return min(states, key=local)


def unwrapped(model: Any) -> PreTrainedModel:
    """Return the transformers model inside a PEFT, DDP or compiled wrapper, or `model` itself."""
    if hasattr(model, "get_base_model"):
        return unwrapped(model.get_base_model())
    for inner in ("module", "_orig_mod"):
        if isinstance(getattr(model, inner, None), nn.Module) and not hasattr(model, "config"):
            return unwrapped(getattr(model, inner))
    return model


def transformers_model(model: Any) -> PreTrainedModel:
    """Return the transformers model inside any wrapper.

    Raises:
        TypeError: there is none.
    """
    base = unwrapped(model)
    if not isinstance(getattr(base, "config", None), PreTrainedConfig):
        raise TypeError(
            f"model must be a transformers model with a config, got {type(model).__name__}. Load one with "
            "`AutoModelForCausalLM.from_pretrained(path_or_id)`."
        )
    return base


def rotary_modules(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Every module of `model` that turns positions into cosine and sine from its text configuration.

    Towers for images and sound keep theirs: their positions are not tokens of the context.

    Returns:
        `dict[str, nn.Module]`: by name; empty if the model has none.
    """
    found = {}
    text = model.config.get_text_config(decoder=True)
    for name, module in model.named_modules():
        config = getattr(module, "config", None)
        if "RotaryEmbedding" not in type(module).__name__ or not getattr(config, "rope_parameters", None):
            continue
        if getattr(config, "model_type", None) != text.model_type:
            continue
        if any(key.endswith(SUFFIX) for key in _tables(module)):
            found[name] = module
    return found


def _tables(module: nn.Module) -> dict[str, torch.Tensor]:
    tables = dict(module.named_buffers(recurse=False))
    return {key: value for key, value in tables.items() if key.endswith(SUFFIX)}


def rebuilt(module: nn.Module, config: PreTrainedConfig, device: str = "cpu") -> nn.Module:
    """Return a fresh rotary module of the class of `module`, built from `config` on `device`."""
    with torch.device(device):
        return type(module)(config)


def rebuild(module: nn.Module, config: PreTrainedConfig) -> None:
    """Give `module` the state of a freshly built one of its class, in place.

    In place, so that hooks (device maps, offloading) and references survive. Tables are computed on the CPU, as
    `from_pretrained` does, and moved to where the old ones were; on `meta` they stay there. They are float32 whatever
    the model's dtype is.
    """
    device = next(iter(_tables(module).values())).device
    fresh = rebuilt(module, config, "meta" if device.type == "meta" else "cpu")
    # recomputed lazily by transformers from the old parameters; stale after a change
    for key in [key for key in vars(module) if key.endswith(f"long_{SUFFIX}")]:
        delattr(module, key)
    for key, value in vars(fresh).items():
        if not key.startswith("_") and key != "training":
            setattr(module, key, value.to(device) if isinstance(value, torch.Tensor) else value)
    for key, value in fresh.named_buffers(recurse=False):
        if key in vars(module):
            delattr(module, key)
        module.register_buffer(key, value.to(device), persistent=False)


def rotary_states(module: Any, name: str = "") -> list[RotaryState]:
    """Return the tables of one rotary module, one entry for each layer type.

    For `longrope` the table built at load time is read, because the other one alternates with the input length, and
    so for `dynamic` once an input beyond the window has changed it.
    """
    states = []
    for key, table in _tables(module).items():
        prefix = key[: -len(SUFFIX)]
        if prefix.endswith(("original_", "long_")):
            continue
        stored = getattr(module, f"{prefix}original_{SUFFIX}", table)
        layer_type = prefix[:-1] or None
        # everywhere else the table in use is the truth
        used = stored if _follows_input(module, layer_type) else table
        scaling = getattr(module, f"{prefix}attention_scaling")
        states.append(RotaryState(name, layer_type, used.detach(), float(scaling)))
    return states


def _rope_type(module: Any, layer_type: str | None) -> str:
    return str(module.rope_type if layer_type is None else module.rope_type[layer_type])


def _follows_input(module: Any, layer_type: str | None) -> bool:
    rope_type = _rope_type(module, layer_type)
    if rope_type != "dynamic":
        return rope_type == "longrope"
    longest = getattr(module, f"{layer_type}_max_seq_len_cached", module.max_seq_len_cached)
    return bool(longest > module.original_max_seq_len)


def edited_tables(modules: dict[str, nn.Module], config: PreTrainedConfig) -> list[str]:
    """Where live tables are not those of `config` and no cast to a shorter number type explains it, in words.

    Such a configuration was edited after the model was built. Tables on `meta` are empty, and those of `dynamic`
    follow the input, so neither says anything.
    """
    problems = []
    for name, module in modules.items():
        expected = {state.layer_type: state for state in rotary_states(rebuilt(module, config), name)}
        for state in rotary_states(module, name):
            wanted = expected.get(state.layer_type)
            if state.inv_freq.device.type == "meta" or _rope_type(module, state.layer_type) == "dynamic":
                continue
            live = replace(state, inv_freq=state.inv_freq.float())
            found = [compare_states(live, _cast(wanted, dtype), "its configuration")[1] for dtype in CASTS]
            problems += found[0] if all(found) else []
    return problems


def _cast(state: RotaryState | None, dtype: torch.dtype) -> RotaryState | None:
    return None if state is None else replace(state, inv_freq=state.inv_freq.to(dtype).float())


def compare_states(live: RotaryState, expected: RotaryState | None, where: str) -> tuple[float, list[str]]:
    """Compare a live table with the one that `where` (a configuration, a folder, a record) asks for.

    Returns:
        `tuple[float, list[str]]`: the largest relative difference, and what differs, in words.
    """
    if expected is None or expected.inv_freq.shape != live.inv_freq.shape:
        return math.inf, [f"{live.label} has tables that {where} does not describe"]
    if live.inv_freq.device.type == "meta":
        return math.inf, [
            f"{live.label} is on the meta device, its tables contain nothing to compare; load the weights"
        ]
    problems = []
    if live.inv_freq.dtype != torch.float32:
        problems.append(
            f"{live.label}.inv_freq is {live.inv_freq.dtype}; rounding moves far positions by whole turns. It must "
            "stay float32 when a model is cast"
        )
    mine, theirs = live.inv_freq.double().cpu(), expected.inv_freq.double().cpu()
    # of the larger one, so that a pair that does not rotate in one table only differs by all of it
    relative = (mine - theirs).abs() / torch.maximum(mine.abs(), theirs.abs()).clamp_min(1e-300)
    difference, pair = relative.max().item(), int(relative.argmax())
    # written so that a table of NaN differs too
    if not difference <= TOLERANCE:
        problems.append(
            f"{live.label}.inv_freq differs from {where} by up to {difference:.2e} relative "
            f"(pair {pair}: live {mine[pair]:.6e}, expected {theirs[pair]:.6e})"
        )
    if not abs(live.attention_factor - expected.attention_factor) <= TOLERANCE:
        factors = f"{live.attention_factor} live and {expected.attention_factor} in {where}"
        problems.append(f"{live.label}.attention_scaling is {factors}")
    return difference, problems
