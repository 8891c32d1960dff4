"""Evolutionary search for one rotary factor per pair of dimensions, on the user's own text."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..models.rope_longskywork import longrope_attention_factor
from ..progress import progress_bar
from .architecture.layout import RopeLayout, find_layout
from .composition import entry_table, factors_of
from .existing_scaling import effective_entry
from .extension import write_extension
from .live_rotary import rebuild, rotary_modules, transformers_model, unwrapped
from .parameters import extended_parameters
from .request import ExtensionRequest

SCORED_TOKENS = 1024
HEADROOM = 1.25
MUTATION_SCALE = 0.15
STARTS = ("linear", "ntk", "yarn")
LEAST_STRETCH = 1.01
"""How much slower than in force the slowest pair must turn at least: a candidate that reaches no further is none."""


@dataclass(frozen=True)
class RopeSearchResult:
    """What the search found.

    Args:
        rope_factors (`tuple[float, ...]`):
            One factor per rotated pair, each at least 1: `rope_factors` of [`extend_context`] with
            `method="longrope"`. They never fall from pair to pair, unless those that the makers left in force do.
        attention_factor (`float`):
            The multiplier of cosine and sine that every candidate was scored with.
        loss (`float`):
            Mean loss in nats per token over the scored tokens.
        start_losses (`dict[str, float]`):
            The same for the known methods the search started from.
        history (`tuple[float, ...]`):
            Best loss after each evaluation.
    """

    rope_factors: tuple[float, ...]
    attention_factor: float
    loss: float
    start_losses: dict[str, float]
    history: tuple[float, ...]


def search_rope_factors(
    model: nn.Module,
    batches: Iterable[Mapping[str, torch.Tensor]],
    *,
    context_length: int,
    budget: int = 64,
    population_size: int = 8,
    attention_factor: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> RopeSearchResult:
    """Search the factors that lose least on long texts, in the manner of LongRoPE (2402.13753, section 3.2).

    Starts from position interpolation, the NTK base and YaRN written as factors, then alternates mutation and
    crossover among the best, keeping the factors from falling with the pair's index as the paper does. Different, by
    our choice: a mutation scales a run of neighboring pairs, and no first tokens are exempt from it, so that the
    result is one static table. Extend with the result through `method="longrope"`: transformers and vLLM read that
    type, llama.cpp does not.

    Args:
        model (`nn.Module`):
            A live causal language model; left exactly as it was.
        batches (`Iterable[Mapping[str, torch.Tensor]]`):
            `input_ids` of shape `(batch, length)`, optionally `attention_mask` and `labels` (-100 is not scored), on
            any device, with lengths near `context_length`. The last 1,024 tokens of each row are scored: they see the
            longest context, and the logits of a long row would not fit in memory.
        context_length (`int`):
            Target length in tokens.
        budget (`int`, *optional*, defaults to 64):
            Number of passes over `batches`; at least 3.
        population_size (`int`, *optional*, defaults to 8):
            Candidates that survive a generation; at least 2.
        attention_factor (`float`, *optional*):
            Multiplier of cosine and sine; defaults to LongRoPE's formula.
        seed (`int`, *optional*, defaults to 0):
            The search is a function of it.
        progress (`bool`, *optional*, defaults to `True`):
            Show a progress bar with the best loss.

    Returns:
        `RopeSearchResult`

    Raises:
        ValueError: no batches or nothing to score, a budget or population that is too small, or a model that
            [`extend_context`] would refuse.
    """
    batches = list(batches)
    if not batches:
        raise ValueError("search_rope_factors needs at least one batch of long texts, got none.")
    if budget < len(STARTS):
        raise ValueError(f"budget must be at least {len(STARTS)}, the number of starting points, got {budget}.")
    if population_size < 2:
        raise ValueError(f"population_size must be at least 2, got {population_size}.")
    _check_batches(batches)
    layout = find_layout(transformers_model(model).config)
    start = effective_entry(layout)
    ratio = context_length / layout.origin.window
    makers = start.get("attention_factor") if start["rope_type"] == "longrope" else None
    attention = (
        attention_factor
        or makers
        or longrope_attention_factor(start.get("factor", 1.0) * ratio, layout.origin.original_length)
    )
    starts = _starts(layout, context_length)
    lowest = _lowest(layout)
    highest = HEADROOM * ratio * max(lowest)
    scored: dict[tuple[float, ...], float] = {}
    history: list[float] = []
    with _scratch(model), progress_bar(budget, "rope factors", unit="passes", show=progress) as bar:
        for candidate in _candidates(starts, scored, population_size, (lowest, highest), random.Random(seed)):
            if candidate not in scored:
                request = ExtensionRequest(context_length, "longrope", None, None, attention, candidate)
                scored[candidate] = _score(model, layout, request, batches)
                history.append(min(scored.values()))
                bar.update()
                bar.set_postfix(loss=f"{history[-1]:.4f}")
            if len(scored) >= budget:
                break
    best = min(scored, key=lambda candidate: scored[candidate])
    losses = {name: scored[candidate] for name, candidate in starts.items()}
    return RopeSearchResult(best, attention, scored[best], losses, tuple(history))


def _check_batches(batches: list[Mapping]) -> None:
    for number, batch in enumerate(batches):
        ids = batch.get("input_ids") if isinstance(batch, Mapping) else None
        if not isinstance(ids, torch.Tensor) or ids.dim() != 2 or ids.shape[1] < 2:
            found = list(batch) if isinstance(batch, Mapping) else type(batch).__name__
            shape = f" of shape {tuple(ids.shape)}" if isinstance(ids, torch.Tensor) else ""
            raise ValueError(
                f"batch {number} must contain input_ids, a tensor of shape (rows, tokens) with at least 2 tokens, got "
                f"{found}{shape}."
            )


def _starts(layout: RopeLayout, context_length: int) -> dict[str, tuple[float, ...]]:
    """Return the known methods on top of what is in force, as factors of the plain base."""
    found = {}
    for method in STARTS:
        try:
            parameters = extended_parameters(layout, ExtensionRequest(context_length, method))
        except ValueError:  # one start that this model refuses does not end the search
            continue
        after, _ = entry_table(parameters, layout.rotary_dim, context_length)
        factors = factors_of(after, effective_entry(layout)["rope_theta"])
        found[method] = tuple(max(1.0, factor) for factor in factors)
    if not found:
        extended_parameters(layout, ExtensionRequest(context_length, STARTS[0]))  # says why
    return found


def _lowest(layout: RopeLayout) -> tuple[float, ...]:
    """Return the smallest factor of each pair: no pair turns faster than in force, and the slowest one turns
    slower.
    """
    start = effective_entry(layout)
    table, _ = entry_table(start, layout.rotary_dim, layout.origin.window)
    lowest = [max(1.0, factor) for factor in factors_of(table, start["rope_theta"])]
    return (*lowest[:-1], lowest[-1] * LEAST_STRETCH)


def _candidates(
    starts: Mapping[str, tuple[float, ...]],
    scored: Mapping[tuple[float, ...], float],
    population_size: int,
    bounds: tuple[tuple[float, ...], float],
    random_state: random.Random,
) -> Iterator[tuple[float, ...]]:
    """Yield the starting points, then children of the best so far, for ever; `scored` grows between two of them."""
    yield from starts.values()
    while True:
        best = sorted(scored, key=lambda candidate: scored[candidate])[:population_size]
        mother, father = random_state.choice(best), random_state.choice(best)
        child = [random_state.choice(pair) for pair in zip(mother, father, strict=True)]
        if mother == father or random_state.random() < 0.5:
            child = _mutated(list(mother), random_state)
        yield _ordered(child, *bounds)


def _mutated(factors: list[float], random_state: random.Random) -> list[float]:
    first, last = sorted((random_state.randrange(len(factors)), random_state.randrange(len(factors))))
    change = math.exp(random_state.gauss(0.0, MUTATION_SCALE))
    return [value * change if first <= index <= last else value for index, value in enumerate(factors)]


def _ordered(factors: Sequence[float], lowest: Sequence[float], highest: float) -> tuple[float, ...]:
    """Factors within the bounds that never fall: a slower pair is never stretched less than a faster one."""
    ordered, floor = [], 1.0
    for value, least in zip(factors, lowest, strict=True):
        floor = min(max(floor, value, least), max(highest, least))
        ordered.append(floor)
    return tuple(ordered)


@contextmanager
def _scratch(model: nn.Module) -> Iterator[None]:
    """Let the configuration and tables of `model` be changed inside, and restore them at the end."""
    base = unwrapped(model)
    config = base.config.get_text_config(decoder=True)
    kept, training = dict(vars(config)), model.training
    kept["rope_parameters"] = copy.deepcopy(config.rope_parameters)
    model.eval()
    try:
        yield
    finally:
        vars(config).clear()
        vars(config).update(kept)
        for module in rotary_modules(base).values():
            rebuild(module, config)
        model.train(training)


@torch.no_grad()
def _score(model: Any, layout: RopeLayout, request: ExtensionRequest, batches: list[Mapping]) -> float:
    write_extension(layout, request)
    for module in rotary_modules(unwrapped(model)).values():
        rebuild(module, layout.config)
    device = model.get_input_embeddings().weight.device
    total, count = 0.0, 0
    for batch in batches:
        given = {key: batch[key].to(device) for key in ("input_ids", "attention_mask") if key in batch}
        labels = batch.get("labels", batch["input_ids"]).to(device)
        kept = min(SCORED_TOKENS, labels.shape[1] - 1)
        logits = model(**given, use_cache=False, logits_to_keep=kept + 1).logits[:, :-1]
        targets = labels[:, -kept:]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        total, count = total + loss.item(), count + int((targets != -100).sum())
    if not count:
        raise ValueError("no token of the batches is scored: rows need two tokens, and labels other than -100.")
    return total / count
