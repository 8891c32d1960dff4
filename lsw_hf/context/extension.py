"""Giving a model a longer context window: the configuration, and the live model."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from .architecture.layout import RopeLayout, find_layout, inner_base
from .architecture.origin import RECORD_KEY, doubtful_window, length_is_open
from .architecture.text_part import config_chain
from .composition import entry_table, faster_pairs, reaches_further
from .existing_scaling import current_entry, effective_entry, resolved
from .live_rotary import edited_tables, rebuild, rebuilt, rotary_modules, rotary_states, transformers_model
from .parameters import extended_parameters
from .request import AUTO, ExtensionRequest
from .transformers4.config_files import keep_legacy_rope, refuse_contradictory_file

logger = logging.getLogger(__name__)
Model = TypeVar("Model", bound=nn.Module)


def extend_config(
    config: PreTrainedConfig,
    *,
    context_length: int,
    method: str = AUTO,
    rope_theta: float | None = None,
    factor: float | None = None,
    attention_factor: float | None = None,
    rope_factors: Sequence[float] | None = None,
    original_context_length: int | None = None,
) -> PreTrainedConfig:
    """Copy a configuration and write a longer context window into the copy.

    `rope_parameters` becomes complete (type, base, factor, original length, attention factor),
    `max_position_embeddings` becomes `context_length`, and whatever is saved from the copy carries the identical
    numbers in the spelling of transformers 4 as well. Scaling that the makers trained with is part of the model:
    every method builds on the existing table (`composition.py` has the formulas), and no pair ever turns faster
    than before. A configuration that we already extended is extended again from where its *makers* left it, so the
    call is idempotent. The starting point is recorded under `lsw_context`.

    Args:
        config (`PreTrainedConfig`):
            Configuration of a causal language model with rotary embeddings.
        context_length (`int`):
            Target length in tokens; at least the present `max_position_embeddings`.
        method (`str`, *optional*, defaults to `"auto"`):
            - `"auto"`: the type in force where the makers scaled the model, `"yarn"` where they did not
              (`"ntk"` where YaRN would change no pair, or cannot be written), `"none"` where only local layers
              rotate; the same method again where we extended it before.
            - `"linear"`: position interpolation (2306.15595), every frequency divided by the factor.
            - `"ntk"`: a larger base by the NTK-aware formula; the fastest pair stays, the slowest is divided by it.
            - `"abf"`: adjusted base (2309.16039): `rope_theta` if given, else twice the NTK base.
            - `"yarn"`: frequencies divided by bands and a warmer attention (2309.00071).
            - `"llama3"`: Llama 3.1's bands.
            - `"longrope"`: one factor per pair of dimensions (2402.13753), given in `rope_factors`; without them, on
              a model that has the type, its factors (the slower of each pair's two) stretched by YaRN's bands.
            - `"none"`: only the length; the model extrapolates.

            A method of the type in force scales its factor and keeps every other number the makers set; on top of
            another type it is written as `longrope` factors.
        rope_theta (`float`, *optional*):
            New base, above 1. Not for `"ntk"` and `"none"`.
        factor (`float`, *optional*):
            Scaling factor to write, at least 1 and at least the one in force; on top of another type, how far to
            stretch beyond the window. Defaults to the factor in force times `context_length` over the window.
        attention_factor (`float`, *optional*):
            Multiplier of cosine and sine for `"yarn"` and `"longrope"`; defaults to the makers' own number, else to
            the paper's formula.
        rope_factors (`Sequence[float]`, *optional*):
            For `"longrope"`: `rotary_dim / 2` positive numbers, counted from the plain base.
        original_context_length (`int`, *optional*):
            Length in tokens at pretraining, where the configuration does not tell. Of a `linear` scaling in force the
            window itself, if it was left as it was before the scaling, which then was made for its factor times this.

    Returns:
        `PreTrainedConfig`: an extended copy of the same class.

    Raises:
        ValueError: the model has no rotary embedding, the target shrinks the window, the method is unknown or refused,
            an argument does not belong to the method, fields of the configuration contradict each other, a pair would
            turn faster than it does, or nothing would reach further.
        TypeError: `context_length` is not an int, or a number is not a number.
    """
    request = ExtensionRequest(context_length, method, rope_theta, factor, attention_factor, rope_factors)
    extended = copy.deepcopy(config)
    layout = find_layout(extended, original_context_length)
    refuse_contradictory_file(extended)
    request = resolved(layout, request)
    before = layout.config.max_position_embeddings
    write_extension(layout, request)
    _refuse_forced_window(layout.config)
    _follow_around(extended, before)
    _announce(find_layout(config, original_context_length), request, method)
    keep_legacy_rope(extended)
    return extended


def extend_context(
    model: Model,
    *,
    context_length: int,
    method: str = AUTO,
    rope_theta: float | None = None,
    factor: float | None = None,
    attention_factor: float | None = None,
    rope_factors: Sequence[float] | None = None,
    original_context_length: int | None = None,
) -> Model:
    """Give a live model a longer context window, in place: its configuration, rotary tables and generation defaults.

    The tables are rebuilt in float32 where the old ones were (device, device map, `meta`), so a model in bfloat16 is
    safe, and one damaged by `model.to(torch.bfloat16)` is repaired. PEFT-wrapped models are extended inside.

    Args:
        model (`nn.Module`):
            A transformers causal language model, stock or ours, bare or wrapped by PEFT.
        context_length, method, rope_theta, factor, attention_factor, rope_factors, original_context_length:
            As in [`extend_config`].

    Returns:
        `nn.Module`: the same object.

    Raises:
        ValueError: as in [`extend_config`], or if the model has no rotary module of a known kind, or if its
            configuration was edited after it was built, so that its tables are others (the message says which).
        TypeError: as in [`extend_config`].

    Example:

    ```python
    >>> model = extend_context(model, context_length=131_072, method="yarn")
    >>> model.config.rope_parameters["factor"], model.config.max_position_embeddings
    (32.0, 131072)
    ```
    """
    request = ExtensionRequest(context_length, method, rope_theta, factor, attention_factor, rope_factors)
    base = transformers_model(model)
    layout = find_layout(base.config, original_context_length)
    refuse_contradictory_file(base.config)
    rotary = rotary_modules(base)
    if not rotary:
        raise ValueError(
            f"{type(base).__name__} ({layout.config.model_type!r}) has no module named *RotaryEmbedding with an "
            "`inv_freq` buffer built from its configuration, so a live change cannot reach it."
        )
    _refuse_edited(edited_tables(rotary, layout.config))
    request = resolved(layout, request)
    _refuse_scaled_scores(base, layout, request)
    trial = find_layout(copy.deepcopy(base.config), original_context_length)
    write_extension(trial, request)
    # a class that cannot express the change, or computes another one, stops here, before anything has changed
    _refuse_forced_window(trial.config)
    _check_live(rotary, layout, trial)
    before = layout.config.max_position_embeddings
    _announce(layout, request, method)
    write_extension(layout, request)
    _follow_around(base.config, before)
    keep_legacy_rope(base.config)
    for module in rotary.values():
        rebuild(module, layout.config)
    generation = getattr(base, "generation_config", None)
    if generation is not None and generation.max_length == before:
        generation.max_length = context_length
    return model


def extend_tokenizer(tokenizer: PreTrainedTokenizerBase, context_length: int) -> PreTrainedTokenizerBase:
    """Set the tokenizer's `model_max_length` to the extended window, in place, so that it does not warn or truncate.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The model's tokenizer.
        context_length (`int`):
            Length in tokens.

    Returns:
        `PreTrainedTokenizerBase`: the same object.

    Raises:
        TypeError: `tokenizer` is no tokenizer, or `context_length` not an int.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise TypeError(f"tokenizer must be a transformers tokenizer, got {type(tokenizer).__name__}.")
    ExtensionRequest(context_length)  # the same check of the length
    tokenizer.model_max_length = context_length
    return tokenizer


def write_extension(layout: RopeLayout, request: ExtensionRequest) -> None:
    """Write `request` into the configuration of `layout`, in place; live tables do not change."""
    config, origin = layout.config, layout.origin
    request = resolved(layout, request)
    parameters = extended_parameters(layout, request)
    record: dict[str, Any] = {
        "method": request.method,
        "max_position_embeddings": request.context_length,
        "window": origin.window,
        "original_max_position_embeddings": origin.original_length,
        "original_rope_parameters": origin.parameters,
    }
    if request.method == "none" and layout.local_reason is not None:
        record["reason"] = layout.local_reason
    if layout.layer_type is None:
        config.rope_parameters = parameters
    else:
        config.rope_parameters = {**config.rope_parameters, layout.layer_type: parameters}
    config.max_position_embeddings = request.context_length
    if vars(config).get("head_dim", 0) is None:
        # transformers' yarn and longrope read an attribute that is None as the size of a head
        config.head_dim = config.hidden_size // config.num_attention_heads
    if vars(config).get("rope_theta") is not None:
        config.rope_theta = parameters["rope_theta"]  # a few classes of transformers 5 keep this field
    if inner_base(config) is not None:
        if isinstance(config.attn_config, dict):
            config.attn_config["rope_theta"] = parameters["rope_theta"]
        else:
            config.attn_config.rope_theta = parameters["rope_theta"]
    if getattr(config, "max_sequence_length", None):
        # Vicuna's files say the window after scaling here, which may be above the target
        config.max_sequence_length = max(config.max_sequence_length, request.context_length)
    if hasattr(config, "original_max_position_embeddings"):
        # Phi-3 keeps it here too, and gives this one priority over the dictionary
        config.original_max_position_embeddings = origin.original_length
    if getattr(config, "attention_temperature_slope", 0.0) and config.attention_temperature_length is None:
        # left open it means the window, which has just grown
        config.attention_temperature_length = origin.original_length
    setattr(config, RECORD_KEY, record)


def _refuse_forced_window(config: PreTrainedConfig) -> None:
    """Check that no class sets the window itself when it is read (Zamba2's `use_long_context`)."""
    try:
        again = type(config).from_dict(config.to_dict()).max_position_embeddings
    except (ValueError, TypeError):
        return  # a class that does not read what it writes (DBRX's in transformers 5.17) sets nothing
    if again != config.max_position_embeddings:
        raise ValueError(
            f"the configuration class of {config.model_type!r} sets the window to {again} tokens whenever it is read, "
            f"so {config.max_position_embeddings} would be lost on a save. Switch off what does that "
            f"(use_long_context=false for Zamba2), write max_position_embeddings={again} instead, and extend then."
        )


def _follow_around(config: PreTrainedConfig, before: int) -> None:
    """Return the configurations around the text part that repeat its window: some readers look there."""
    *around, text = config_chain(config)
    for outer in around:
        if vars(outer).get("max_position_embeddings") == before:
            outer.max_position_embeddings = text.max_position_embeddings


def _check_live(rotary: dict[str, nn.Module], layout: RopeLayout, trial: RopeLayout) -> None:
    """Check the invariant again on the tables that the model's own classes compute: they have the last word."""
    reached = trial.parameters.get("rope_type") == "dynamic"  # as it was
    if not reached:
        before = current_entry(layout) if layout.origin.recorded else effective_entry(layout)
        entries = (before, trial.parameters)
        tables = [entry_table(entry, layout.rotary_dim, trial.config.max_position_embeddings)[0] for entry in entries]
        reached = not reaches_further(*tables)  # a table that is meant to stay has nothing to show
    for name, module in rotary.items():
        after = {state.layer_type: state.inv_freq for state in rotary_states(rebuilt(module, trial.config), name)}
        for state in rotary_states(rebuilt(module, layout.config), name):
            table = after[state.layer_type]
            local = state.layer_type != layout.layer_type
            if faster_pairs(state.inv_freq, table) or (local and not torch.equal(table, state.inv_freq)):
                raise ValueError(
                    f"{state.label} of this {layout.config.model_type!r} would "
                    f"{'change, though it serves local layers' if local else 'turn faster than it does'}: its class "
                    "reads the configuration in a way that no rule here knows. Use method 'none', or extend it by "
                    "hand."
                )
            reached |= not local and reaches_further(state.inv_freq, table)
    if not reached:
        raise ValueError(
            f"no rotary module of this {layout.config.model_type!r} would follow the change of its configuration, so "
            "no layer would reach further. Use method 'none', or extend it by hand."
        )


def _refuse_scaled_scores(model: nn.Module, layout: RopeLayout, request: ExtensionRequest) -> None:
    """DeepSeek and similar models multiply their scores, once, when built, by a number that follows the factor."""
    if not layout.parameters.get("mscale_all_dim") or request.method == "none":
        return
    for name, module in model.named_modules():
        size, scaling = getattr(module, "qk_head_dim", None), getattr(module, "scaling", None)
        if isinstance(size, int) and isinstance(scaling, float) and not math.isclose(scaling, size**-0.5):
            raise ValueError(
                f"{name} of this live {layout.config.model_type!r} took its scale from mscale_all_dim when it was "
                "built, and would not follow. Extend the saved folder with `extend_checkpoint` (`lsw-hf extend`), or "
                "the configuration with `extend_config`, and load the model from it."
            )


def _refuse_edited(problems: list[str]) -> None:
    if problems:
        raise ValueError(
            "the configuration was edited after the model was built, and what runs is something else:\n- "
            + "\n- ".join(problems)
            + "\nUndo the edit, or make it take effect by `restore_rotary(model)`, and extend then."
        )


def _announce(layout: RopeLayout, request: ExtensionRequest, asked: str) -> None:
    config, origin = layout.config, layout.origin
    if request.method == "none" and asked not in ("none", AUTO):
        logger.warning(
            "method %r has nothing to do: the scaling in force was made for %d tokens. Only the window is written "
            "(method 'none').",
            asked,
            origin.window,
        )
    if origin.recorded:
        logger.warning(
            "this %s was already extended to %d tokens; the extension to %d counts again from the %d tokens that its "
            "makers' scaling was made for.",
            config.model_type,
            config.max_position_embeddings,
            request.context_length,
            origin.window,
        )
    elif origin.window > config.max_position_embeddings:
        advice = (
            f" If its weights were pretrained at another length than {origin.original_length} tokens, pass it as "
            "original_context_length (--original-context-length)."
        )
        logger.warning(
            "the %s scaling of this %s was made for %d tokens already, so nothing up to there is scaled again.%s",
            origin.parameters.get("rope_type"),
            config.model_type,
            origin.window,
            advice if length_is_open(config, origin.parameters) else "",
        )
    doubt = doubtful_window(config, origin, origin.parameters)
    if doubt is not None:
        logger.warning("this %s leaves its window in doubt: %s.", config.model_type, doubt)
    reason = layout.local_reason
    if reason is not None and request.context_length > origin.window and request.method == "none":
        logger.warning("method 'none' for this %s: %s.", config.model_type, reason)
