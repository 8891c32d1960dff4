"""Checks of every extension: no pair turns faster than in the model being extended, and a longer window fits."""

from __future__ import annotations

from typing import Any

import transformers

from .architecture.layout import RopeLayout
from .composition import TOLERANCE, entry_table, faster_pairs, reaches_further
from .existing_scaling import (
    current_entry,
    current_factor,
    effective_entry,
    has_fixed_alpha,
    in_words,
    preferred_method,
    supports_method,
)
from .request import ExtensionRequest

COUPLED_KEYS = ("mscale_all_dim", "llama_4_scaling_beta")
"""Numbers of a `yarn` dictionary by which some attention layers scale their scores: another type would lose them."""


def check_window(layout: RopeLayout, context_length: int) -> None:
    """Refuse a target below the window.

    Args:
        layout ([`RopeLayout`]):
            The model.
        context_length (`int`):
            Target length in tokens.

    Raises:
        ValueError: the target shrinks the window.
    """
    now = layout.config.max_position_embeddings
    if context_length < now:
        raise ValueError(
            f"context_length={context_length} would shrink the window of {now} tokens. Give at least {now}, or start "
            "from the original model."
        )


def misfit(layout: RopeLayout, method: str) -> str | None:
    """Why the layers or the attention of the model cannot follow `method`.

    Args:
        layout ([`RopeLayout`]):
            The model.
        method (`str`):
            A method other than `"auto"`.

    Returns:
        `str`, *optional*: the reason and what to do; `None` if they can.
    """
    name, entry = layout.config.model_type, layout.origin.parameters
    rope_type = entry.get("rope_type", "default")
    if method == "none":
        if rope_type == "dynamic" and not has_fixed_alpha(layout):
            return (
                f"method 'none' is refused for {name!r}: its 'dynamic' frequencies begin to change at the window, so "
                "a longer window alone would make them faster beyond the old one. Use 'ntk' or 'yarn'."
            )
        faster = _faster_beyond_window(layout) if rope_type == "longrope" else 0
        if faster:
            return (
                f"method 'none' is refused for {name!r}: beyond its window its own long_factor begins to count, which "
                f"turns {faster} of {layout.rotary_dim // 2} pairs faster than short_factor. "
                + ("Use 'longrope'." if layout.local_reason is None else "Extend it by hand.")
            )
        return None
    if layout.local_reason is not None:
        return (
            f"method {method!r} would only slow down local layers of this {name!r}: {layout.local_reason}. Use method "
            "'none', which lengthens the window and leaves the rotary embedding alone."
        )
    coupled = [key for key in COUPLED_KEYS if rope_type not in ("default", "dynamic") and entry.get(key)]
    if coupled and method != rope_type:
        return (
            f"{name!r} scales its attention by {coupled[0]}={entry[coupled[0]]}, which belongs to its {rope_type!r} "
            f"dictionary; method {method!r} would lose it. Use {rope_type!r} or 'none'."
        )
    if "long_mscale" in entry and method == "yarn":
        return (
            f"{name!r} multiplies cosine and sine by its own long_mscale, so the warmer attention of 'yarn' would be "
            "lost. Use 'longrope', the type in force, which keeps it."
        )
    if rope_type == "proportional" and not supports_method(layout, method):
        return (
            f"{name!r} turns only a part of its pairs (rope type 'proportional'), which method {method!r} cannot be "
            "written into. Use 'ntk', 'abf' or 'linear'."
        )
    return None


def _faster_beyond_window(layout: RopeLayout) -> int:
    """Pairs that `longrope` turns faster at inputs beyond the window than at any within it."""
    origin = layout.origin
    if origin.window > origin.original_length:
        return 0  # inputs within the window meet both lists
    lists = zip(origin.parameters["short_factor"], origin.parameters["long_factor"], strict=True)
    return sum(long < short * (1 - TOLERANCE) for short, long in lists)


def check_invariant(layout: RopeLayout, request: ExtensionRequest, parameters: dict[str, Any]) -> None:
    """Refuse what the model was not trained for.

    Args:
        layout ([`RopeLayout`]):
            The model before the change.
        request ([`ExtensionRequest`]):
            What was asked for, its method resolved.
        parameters (`dict`):
            The rotary dictionary that is about to be written.

    Raises:
        ValueError: a pair would turn faster than it does, the factor in force would shrink, or a longer window would
            reach no further.
    """
    after, _ = entry_table(parameters, layout.rotary_dim, request.context_length)
    entries, window = [effective_entry(layout)], layout.origin.window
    if layout.origin.recorded:
        entries.append(current_entry(layout))
        window = max(window, layout.config.max_position_embeddings)
    in_force = in_words(layout.parameters)
    tables = [entry_table(entry, layout.rotary_dim, window)[0] for entry in entries]
    for before in tables:
        faster = faster_pairs(before, after)
        if faster:
            times = float((after / before)[faster].max())
            raise ValueError(
                f"method {request.method!r} would turn {len(faster)} of {len(after)} pairs up to {times:.3g} times "
                f"faster than in the model being extended, whose scaling in force is {in_force}: angles that it was "
                f"trained with would change. {_remedy(layout, request)}"
            )
    written = parameters.get("factor")
    if written is not None and written < max(map(current_factor, entries)) * (1 - TOLERANCE):
        raise ValueError(
            f"factor={written:g} is below the factor in force, {in_force}, which never shrinks: numbers that follow "
            "from it, such as the attention factor, would shrink with it. Leave factor out, or give a larger one."
        )
    if request.context_length > window and not reaches_further(tables[-1], after):
        raise ValueError(
            f"method {request.method!r} would leave the slowest pair as it is ({in_force}), so no layer would reach "
            f"further than the window of {window} tokens. Give a larger factor or rope_theta, use 'linear', 'ntk' or "
            "'abf', or use 'none' to lengthen the window alone."
        )


def _remedy(layout: RopeLayout, request: ExtensionRequest) -> str:
    method = preferred_method(layout)
    given = (request.rope_theta, request.factor, request.rope_factors)
    if method == request.method and all(number is None for number in given):
        return "Start from the original model, or use 'none' to lengthen the window alone."
    larger = ", larger numbers" if any(number is not None for number in given) else ""
    return f"Use method {method!r} without further numbers{larger}, or start from the original model."


def check_range(layout: RopeLayout, parameters: dict[str, Any]) -> None:
    """Refuse numbers that float32, in which transformers computes the table, cannot represent.

    Raises:
        ValueError: a pair would not rotate or turn infinitely fast.
    """
    table, _ = entry_table(parameters, layout.rotary_dim, layout.origin.window)
    turning = table if parameters["rope_type"] != "proportional" else table[table > 0]
    if not bool((turning.isfinite() & (turning > 0.0)).all()) or not len(turning):
        raise ValueError(
            f"rope_theta={parameters['rope_theta']:.6g} with factor={parameters.get('factor', 1.0):.6g} and these "
            "rope_factors leaves the range of float32: some pairs would not rotate or turn infinitely fast. Give "
            "numbers nearer to 1."
        )


def check_nested_longrope() -> None:
    """Refuse `longrope` on one of several layer types where the installed transformers fails on it.

    Raises:
        ValueError: transformers is older than 5.21.
    """
    # transformers up to 5.20 leaves a variable unset there; this check can go when 5.21 is the oldest supported
    if tuple(int(part) for part in transformers.__version__.split(".")[:2]) < (5, 21):
        raise ValueError(
            f"transformers {transformers.__version__} fails on the second long input of a model with longrope on one "
            "of its layer types. Install at least 5.21, or use another method."
        )
