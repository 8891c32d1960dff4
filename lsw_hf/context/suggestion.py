"""Which extension method to take for a model and a target length, and why."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from transformers import PreTrainedConfig

from ..reports import markdown_table
from .architecture.facts import beyond_rope
from .architecture.layout import RopeLayout, find_layout
from .architecture.origin import doubtful_window
from .composition import abf_rope_theta, entry_table
from .existing_scaling import (
    effective_entry,
    has_fixed_alpha,
    in_words,
    preferred_method,
    resolved,
    stretch,
    supports_method,
)
from .guarantees import check_window, misfit
from .parameters import extended_parameters
from .request import ExtensionRequest
from .transformers4.config_files import refuse_contradictory_file

Training = Literal["none", "short", "long"]

COMPARED = ("none", "linear", "ntk", "abf", "yarn", "llama3", "longrope")
NUM_DISTANCES = 32_768
EVIDENCE = {
    "none": "positions beyond the window were never seen; perplexity explodes (2306.15595)",
    "linear": "every pair slowed alike, nearby tokens blur; about 1000 steps of tuning (2306.15595)",
    "ntk": "fastest pair kept; usable without training, undertuned for training (2309.00071, section 3.1)",
    "abf": "above the NTK base wins once trained: ProLong 64K average 48.7 at 4e6, 54.6 at 8e6 (2410.02660)",
    "yarn": "best without or with few steps: 600 steps for 32x (2309.00071); short inputs change a little",
    "llama3": "bands by wavelength; used by Llama 3.1 after long training (8x)",
    "longrope": "one factor a pair, searched (2402.13753); stretched here by YaRN's bands, our choice",
}
READERS = {
    "none": "all",
    "linear": "transformers, vLLM, llama.cpp, CTranslate2",
    "ntk": "all (a plain base)",
    "abf": "all (a plain base)",
    "yarn": "transformers, vLLM, llama.cpp; not CTranslate2",
    "llama3": "transformers, vLLM, llama.cpp; CTranslate2 reads it wrongly",
    "longrope": "transformers, vLLM",
}


@dataclass(frozen=True)
class ContextCandidate:
    """One method, applied to the model asked about.

    Args:
        method (`str`):
            Its name in [`extend_context`].
        rope_type (`str`):
            Type that it would write.
        rope_theta (`float`):
            Base that it would write.
        factor (`float`):
            Factor that it would write; 1 for types without one.
        attention_factor (`float`):
            Factor of cosine and sine.
        longest_wavelength (`float`):
            Tokens that the slowest pair needs for a turn.
        unseen_pairs (`int`):
            Pairs that would reach angles at the target length that they never reached in the window: those that
            complete no turn in it and get further round now. Models read such angles badly without training.
        blurred_pairs (`int`):
            Pairs that complete a turn in the window, whose every angle the model therefore knows, and that the method
            slows down all the same.
        evidence (`str`):
            What was published about it.
        readers (`str`):
            Programs that read it correctly.
    """

    method: str
    rope_type: str
    rope_theta: float
    factor: float
    attention_factor: float
    longest_wavelength: float
    unseen_pairs: int
    blurred_pairs: int
    evidence: str
    readers: str


@dataclass(frozen=True)
class ContextSuggestion:
    """The candidates for one model and target, and the one to take.

    Args:
        model_type (`str`):
            Architecture.
        window (`int`):
            Tokens that the scaling in force was made for.
        context_length (`int`):
            Target length in tokens.
        num_pairs (`int`):
            Rotated pairs of dimensions of a head.
        turning_pairs (`int`):
            Those of them that complete a turn in the window.
        rope_theta_lower_bound (`float`):
            Smallest base at which attention can still prefer equal content at every distance up to the target.
        candidates (`tuple[ContextCandidate, ...]`):
            All compared methods that the architecture can express.
        recommended (`str`):
            The method to take.
        reason (`str`):
            Why.
        in_force (`str`):
            What the makers left in force, in words.
        facts (`tuple[str, ...]`):
            What beyond RoPE decides how well a model extends, as facts about this one; no verdict.
    """

    model_type: str
    window: int
    context_length: int
    num_pairs: int
    turning_pairs: int
    rope_theta_lower_bound: float
    candidates: tuple[ContextCandidate, ...]
    recommended: str
    reason: str
    in_force: str
    facts: tuple[str, ...]

    def to_markdown(self) -> str:
        """Return the table, the bound and the recommendation as Markdown."""
        ratio = f"{self.context_length / self.window:.3g}x"
        if self.context_length <= self.window:
            ratio = "within what it was made for"
        lines = [
            f"{self.model_type}: {self.window:,} -> {self.context_length:,} tokens ({ratio}), "
            f"{self.turning_pairs} of {self.num_pairs} pairs "
            f"complete a turn in the window. In force: {self.in_force}.",
            "",
            self._table(),
        ]
        bound = f"Base lower bound at {self.context_length:,} tokens: {self.rope_theta_lower_bound:.3g} (2405.14591)."
        lines += ["", bound, f"Recommended: **{self.recommended}**. {self.reason}"]
        lines += ["", "What beyond RoPE decides how well a model extends (OlmPool, April 2026):"]
        return "\n".join([*lines, *(f"- {fact}" for fact in self.facts)])

    def _table(self) -> str:
        header = ("method", "writes", "base", "factor", "attention", "longest wave", "unseen", "blurred")
        rows = [
            (
                f"**{row.method}**" if row.method == self.recommended else row.method,
                row.rope_type,
                f"{row.rope_theta:.4g}",
                f"{row.factor:.4g}",
                f"{row.attention_factor:.4g}",
                f"{row.longest_wavelength:,.0f}",
                row.unseen_pairs,
                row.blurred_pairs,
                row.evidence,
                row.readers,
            )
            for row in self.candidates
        ]
        return markdown_table((*header, "evidence", "read by"), rows, align="llrrrrrrll")


def suggest_context(
    config: PreTrainedConfig,
    context_length: int,
    *,
    training: Training = "short",
    original_context_length: int | None = None,
) -> ContextSuggestion:
    """Compare the extension methods for one model and one target length, and recommends one.

    Args:
        config (`PreTrainedConfig`):
            Configuration of a causal language model with rotary embeddings.
        context_length (`int`):
            Target length in tokens.
        training (`str`, *optional*, defaults to `"short"`):
            What follows the extension: `"none"`, `"short"` (up to about a thousand steps, adapters, skipped positions)
            or `"long"` (continual pretraining over billions of tokens at the target length).
        original_context_length (`int`, *optional*):
            As in [`extend_config`].

    Returns:
        `ContextSuggestion`: print its `to_markdown()`.

    Raises:
        ValueError: as in [`extend_config`], or `training` is unknown.
    """
    if training not in ("none", "short", "long"):
        raise ValueError(f"training must be 'none', 'short' or 'long', got {training!r}.")
    ExtensionRequest(context_length)  # the same check of the length
    layout = find_layout(copy.deepcopy(config), original_context_length)
    refuse_contradictory_file(config)
    check_window(layout, context_length)
    candidates = tuple(_candidates(layout, context_length))
    start = effective_entry(layout)
    before, _ = entry_table(start, layout.rotary_dim, layout.origin.window)
    method, reason = _recommend(layout, context_length, training)
    possible = [row.method for row in candidates]
    if method not in possible:
        in_force = f"What is in force ({in_words(layout.origin.parameters)}) leaves {method!r} nothing to do."
        method, reason = next((name for name in ("ntk", "abf", "linear") if name in possible), "none"), in_force
    doubt = doubtful_window(layout.config, layout.origin, layout.origin.parameters)
    facts = ((f"The window is in doubt: {doubt}.",) if doubt is not None else ()) + beyond_rope(layout)
    return ContextSuggestion(
        model_type=layout.config.model_type,
        window=layout.origin.window,
        context_length=context_length,
        num_pairs=layout.rotary_dim // 2,
        turning_pairs=int((before * layout.origin.window >= 2 * math.pi).sum()),
        rope_theta_lower_bound=rope_theta_lower_bound(context_length, layout.rotary_dim),
        candidates=candidates,
        recommended=method,
        reason=reason,
        in_force=in_words(layout.origin.parameters),
        facts=facts,
    )


def rope_theta_lower_bound(context_length: int, rotary_dim: int) -> float:
    """Smallest base for which `sum_i cos(m * base^(-2i/d))` is not negative at any distance `m` up to
    `context_length`.

    Below it, attention scores random content higher than equal content at some distance (2405.14591). Found by
    bisection of the exponent to 1 %; above 32,768 tokens the distances are sampled evenly, so the bound is then an
    estimate from below.

    Args:
        context_length (`int`):
            Largest distance in tokens.
        rotary_dim (`int`):
            Number of rotated dimensions.

    Returns:
        `float`: the base; infinite if none up to 1e15 suffices (heads with very few pairs).
    """
    step = max(1, context_length // NUM_DISTANCES)
    distances = torch.arange(0, context_length + 1, step, dtype=torch.float64)

    def suffices(exponent: float) -> bool:
        total = torch.zeros_like(distances)
        for pair in range(rotary_dim // 2):
            total += torch.cos(distances * 10.0 ** (-exponent * 2 * pair / rotary_dim))
        return bool((total >= 0).all())

    low, high = 1.0, 15.0
    if not suffices(high):
        return math.inf
    while high - low > math.log10(1.01):
        middle = (low + high) / 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return 10.0**high


def _candidates(layout: RopeLayout, context_length: int) -> Iterator[ContextCandidate]:
    """Every compared method that this model takes, the longest window of `none` included."""
    for method in COMPARED:
        if method == "longrope" and layout.origin.parameters.get("rope_type") != "longrope":
            continue  # needs factors that only a search gives
        if method != "none" and (layout.local_reason is not None or not supports_method(layout, method)):
            continue
        request = ExtensionRequest(context_length, method)
        if misfit(layout, method) is None and resolved(layout, request) == request:
            candidate = _candidate(layout, request)
            if candidate is not None:
                yield candidate


def _candidate(layout: RopeLayout, request: ExtensionRequest) -> ContextCandidate | None:
    """One row of the table; `None` for a method that this model refuses."""
    try:
        parameters = extended_parameters(layout, request)
    except ValueError:
        return None
    window = layout.origin.window
    before, _ = entry_table(effective_entry(layout), layout.rotary_dim, window)
    entry = effective_entry(layout) if request.method == "none" else parameters
    after, attention_factor = entry_table(entry, layout.rotary_dim, request.context_length)
    # largest angle ever seen, or a whole turn: beyond a turn every angle is known
    known = (before * (window - 1)).clamp(max=2 * math.pi)
    reached = (after * (request.context_length - 1)).clamp(max=2 * math.pi)
    turned = before * window >= 2 * math.pi
    local = layout.local_reason is not None
    return ContextCandidate(
        method=request.method,
        rope_type=parameters["rope_type"],
        rope_theta=float(parameters["rope_theta"]),
        factor=float(parameters.get("factor") or 1.0),
        attention_factor=attention_factor,
        longest_wavelength=2 * math.pi / after[after > 0].min().item(),
        unseen_pairs=0 if local else int((reached > known * (1 + 1e-3)).sum()),
        blurred_pairs=int((turned & (after < before * (1 - 1e-3))).sum()),
        evidence="only local layers rotate, and no distance in them grows" if local else EVIDENCE[request.method],
        readers=READERS["longrope" if parameters["rope_type"] == "longrope" else request.method],
    )


def _recommend(layout: RopeLayout, context_length: int, training: Training) -> tuple[str, str]:
    """Our choice, from the evidence column; what the makers trained with goes before it."""
    ratio = stretch(layout, context_length)
    if ratio == 1.0:
        return "none", f"What is in force was made for {layout.origin.window:,} tokens."
    if layout.local_reason is not None:
        return "none", f"Scaling would change nothing for the better: {layout.local_reason}."
    preferred = preferred_method(layout)
    in_force = layout.origin.parameters.get("rope_type", "default")
    if preferred == in_force:
        return preferred, (
            f"The makers trained with it ({in_words(layout.origin.parameters)}): its factor grows and everything "
            "else they set stays, so no pair meets a scaling that it does not know."
        )
    if has_fixed_alpha(layout):
        return preferred, "The makers scaled the base by a fixed alpha; a larger base builds on it."
    if in_force == "proportional":
        return preferred, "Only some pairs turn (rope type 'proportional'), and a larger base slows just these."
    if preferred != "yarn" and training != "long":
        only = "This architecture's configuration has a plain base and no scaling, so 'yarn' cannot be written"
        if supports_method(layout, "yarn"):
            only = "Every pair turns often enough in the window for 'yarn' to change none"
        if training == "none":
            return "ntk", f"{only}; without training the NTK base loses least of the rest."
        return "abf", f"{only}; with training a base above the NTK value does best of the rest."
    if training == "long":
        theta = f"Twice the NTK base (here {abf_rope_theta(1.0, ratio, 128):.3g} times the base for heads of 128)"
        return "abf", (
            f"{theta} is a plain base that every program reads, and long training at the target length profits from "
            "it most. Try half and double of it if you can afford to."
        )
    if training == "short":
        return "yarn", (
            f"It needs the fewest steps. Try factor={2 * ratio:.4g}, twice the ratio, as well as the default "
            f"{ratio:.4g}; this project's tiny recipe trains with it."
        )
    return "yarn", (
        "Without training it loses least; keep the original files for short inputs, whose answers change a little "
        "under a static factor."
    )
