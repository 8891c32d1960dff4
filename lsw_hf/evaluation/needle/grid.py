"""The needle grid: does a model find a fact at a given depth of a text of a given length?"""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
import transformers

from ...progress import progress_bar
from ..reading.prompts import PromptStyle
from ..reading.reader import GreedyReader, ReadingOptions
from ..scoring import SCORING_MODES, ScoringMode
from ..setting import as_lengths, window_settings
from .examiner import Examiner, Verdict
from .haystack import build_questions, check_plan
from .report import CheckpointedNeedleReport, NeedleReport, NeedleSample
from .task import (
    CrowdedHaystackError,
    HaystackPlan,
    NeedleEncoder,
    NeedleQuestion,
    NeedleTask,
    ProseNeedleTask,
)


@dataclass(frozen=True)
class NeedleGrid:
    """Lengths, depths and sample counts of a needle evaluation.

    Args:
        context_lengths (`tuple[int, ...]`):
            Tokens of the whole prompt, exact: special tokens, template, haystack, needle and question; the answer is
            not counted.
        depths (`tuple[float, ...]`, *optional*, defaults to `(0.1, 0.3, 0.5, 0.7, 0.9)`):
            Depth cells in [0, 1]: 0 is the first place of the haystack, 1 the last.
        num_samples (`int`, *optional*, defaults to 10):
            Questions a cell.
        questions_per_haystack (`int`, *optional*, defaults to 1):
            Most independent questions about one haystack. With 1 the haystack has one needle at the cell's depth
            (at the nearest sentence border). With more, one computation of a haystack serves several needles, each
            within 0.1 (or half the distance between two depths) of its cell's depth; a question never sees another
            one. That is a different test: the haystack has the other needles too. Where the density of facts is
            set, the number is lowered at lengths that have fewer facts; crowded needles are divided among haystacks.
        shared_haystack (`bool`, *optional*, defaults to `True`):
            For one question a haystack: the depths of a sample hide their needles, each a fact of its own, in the same
            text, in one prompt each. The text before a needle is then read once for all deeper ones. Texts of
            different samples differ, so that the samples of a cell stay independent, as their intervals ask for;
            depths are compared on equal texts. `False` draws a text for every question.
        distractors_per_64_tokens (`float`, *optional*, defaults to 0.0):
            Facts of the same form in every 64 tokens, needles included.
        max_distractors (`int`, *optional*):
            Upper bound on the distractor facts of one haystack.
        max_new_tokens (`int`, *optional*):
            Tokens generated for an answer; defaults to what the task needs.
        scoring (`str`, *optional*, defaults to `"contains"`):
            `"contains"`, `"exact"` or `"normalized"` judge the generated text, see [`is_correct`]; `"likelihood"`
            generates nothing and asks whether the right answer is likelier, per token, than up to seven answers of
            other facts.
        seed (`int`, *optional*, defaults to 0):
            Text number i of length n depends on (seed, n, i) only.

    Raises:
        ValueError: for empty or repeated lengths or depths, depths outside [0, 1] and counts below 1.
    """

    context_lengths: tuple[int, ...]
    depths: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9)
    num_samples: int = 10
    questions_per_haystack: int = 1
    shared_haystack: bool = True
    distractors_per_64_tokens: float = 0.0
    max_distractors: int | None = None
    max_new_tokens: int | None = None
    scoring: ScoringMode = "contains"
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "context_lengths", as_lengths(self.context_lengths))
        object.__setattr__(self, "depths", tuple(float(depth) for depth in self.depths))
        for name in ("context_lengths", "depths"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"{name} is empty: a grid needs at least one length and one depth")
            if len(set(values)) < len(values):
                raise ValueError(f"{name} names a value twice: {values}")
        if min(self.context_lengths) < 1:
            raise ValueError(f"context_lengths are token counts of at least 1; got {self.context_lengths}")
        if not all(0.0 <= depth <= 1.0 for depth in self.depths):
            raise ValueError(f"depths lie between 0 (beginning) and 1 (end); got {self.depths}")
        for name in ("num_samples", "questions_per_haystack", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        if not 0.0 <= self.distractors_per_64_tokens <= 64.0:
            raise ValueError(f"distractors_per_64_tokens must lie in [0, 64]; got {self.distractors_per_64_tokens}")
        if self.max_distractors is not None and self.max_distractors < 0:
            raise ValueError(f"max_distractors must be at least 0; got {self.max_distractors}")
        if self.scoring not in SCORING_MODES:
            raise ValueError(f"scoring must be one of {', '.join(SCORING_MODES)}; got {self.scoring!r}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0; got {self.seed}")

    @property
    def tolerance(self) -> float:
        """How far a needle may be from its cell's depth where several share a haystack."""
        gaps = [high - low for low, high in zip(sorted(self.depths), sorted(self.depths)[1:], strict=False)]
        return min([0.1, *(gap / 2 for gap in gaps)])

    def questions_at(self, context_length: int) -> int:
        """Questions that share a haystack of this length."""
        total = len(self.depths) * self.num_samples
        facts = total
        if self.distractors_per_64_tokens > 0:
            facts = max(1, int(self.distractors_per_64_tokens * context_length / 64))
        return min(self.questions_per_haystack, facts, total)

    def moves_at(self, context_length: int) -> bool:
        """Whether one needle moves through the depths of a text, at this length."""
        return self.shared_haystack and len(self.depths) > 1 and self.questions_at(context_length) == 1

    def plans(self, context_length: int) -> list[HaystackPlan]:
        """Return what each text of one length contains: every cell gets `num_samples` needles, spread over them."""
        moving = self.moves_at(context_length)
        shared = len(self.depths) if moving else self.questions_at(context_length)
        depths = sorted(self.depths) if moving else self.depths
        needles = [depth for _ in range(self.num_samples) for depth in depths]
        return [
            HaystackPlan(
                prompt_length=context_length,
                needle_depths=tuple(needles[start : start + shared]),
                tolerance=0.0 if moving or shared == 1 else self.tolerance,
                facts_per_64_tokens=self.distractors_per_64_tokens,
                max_distractors=self.max_distractors,
                candidates=self.scoring == "likelihood",
                moving=moving,
            )
            for start in range(0, len(needles), shared)
        ]


def iterate_haystacks(encoder: NeedleEncoder, grid: NeedleGrid, context_length: int) -> Iterator[list[NeedleQuestion]]:
    """Build the haystacks of one length, one after the other; each item is the questions about one text.

    Where the needles of one haystack crowd each other out of their depth cells, they are divided among more haystacks.
    """
    for index, plan in enumerate(grid.plans(context_length)):
        yield from _divided(encoder, plan, [grid.seed, context_length, index])


def _divided(encoder: NeedleEncoder, plan: HaystackPlan, seed: list[int]) -> Iterator[list[NeedleQuestion]]:
    try:
        yield build_questions(encoder, plan, np.random.default_rng(seed))
    except CrowdedHaystackError:
        half = len(plan.needle_depths) // 2
        if half == 0:
            # Alone it is at the sentence border nearest to its depth, as near as this text allows.
            yield build_questions(encoder, replace(plan, tolerance=0.0), np.random.default_rng(seed))
            return
        for part, depths in enumerate((plan.needle_depths[:half], plan.needle_depths[half:])):
            yield from _divided(encoder, replace(plan, needle_depths=depths), [*seed, part])


def evaluate_needle(
    model: Any,
    tokenizer: Any,
    grid: NeedleGrid,
    task: NeedleTask | None = None,
    *,
    prompt_style: PromptStyle = "auto",
    reading: ReadingOptions | None = None,
    resume_from: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> NeedleReport:
    """Ask the model for facts hidden in long texts, and count the right answers by length and depth.

    The common prefix of the questions about one haystack is computed once; each question continues from that cache in
    a row of its own. Where one needle moves through a text, each prompt continues from the words that it shares with
    the deeper ones. Models that do not give the same logits that way (seen on a few tokens) read every prompt alone.
    Verdicts equal those of generating greedily from every prompt alone. An answer is right if the expected answer
    is in the first `max_new_tokens` greedily generated tokens.

    Args:
        model ([`PreTrainedModel`]):
            A causal LM; evaluated in eval mode, and returned to its mode.
        tokenizer ([`PreTrainedTokenizerBase`]):
            Its tokenizer.
        grid ([`NeedleGrid`]):
            What to measure.
        task ([`NeedleTask`], *optional*):
            Where filler and facts come from; defaults to [`ProseNeedleTask`].
        prompt_style (`str`, *optional*, defaults to `"auto"`):
            `"plain"`, `"chat"`, or chat if there is a template.
        reading ([`ReadingOptions`], *optional*):
            Memory for questions, and reading in pieces.
        resume_from (`str` or `os.PathLike`, *optional*):
            File for the report so far: written at least every minute while evaluating. If it exists, what it
            contains is not asked again.
        progress (`bool`, *optional*, defaults to `True`):
            Show a bar with the remaining time on a terminal.

    Returns:
        [`NeedleReport`]

    Raises:
        ValueError: if a length has no room for prompt and facts, the model's logits are not finite, the tokenizer
            and the prompt style do not go together, or the file to resume from is of another grid, task or model.
    """
    task = ProseNeedleTask() if task is None else task
    encoder = NeedleEncoder(tokenizer, task, prompt_style)
    for length in grid.context_lengths:
        check_plan(encoder, grid.plans(length)[0])
    reader = GreedyReader(model, max_new_tokens=grid.max_new_tokens or task.max_new_tokens, options=reading)
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(grid).items()}
    settings = _settings(model, encoder, grid, reader.max_new_tokens)
    report = CheckpointedNeedleReport(NeedleReport(fields, (), settings), resume_from)
    was_training = model.training
    model.eval()
    try:
        _examine_grid(Examiner(reader, encoder, grid.scoring), grid, report, progress)
    finally:
        model.train(was_training)
    return report.finished()


def _settings(model: Any, encoder: NeedleEncoder, grid: NeedleGrid, max_new_tokens: int) -> dict[str, Any]:
    """Return the circumstances that give the numbers their meaning."""
    task = encoder.task
    return {
        "task": task.name,
        "filler": getattr(getattr(task, "filler", None), "name", None),
        "filler_repeats_at": _repeating_lengths(encoder, grid),
        "chance": task.chance if grid.scoring != "likelihood" else None,
        "prompt_style": encoder.style,
        "questions_per_haystack": {str(length): grid.questions_at(length) for length in grid.context_lengths},
        "max_new_tokens": max_new_tokens,
        **window_settings(model, grid.context_lengths, "cells"),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }


def _examine_grid(examiner: Examiner, grid: NeedleGrid, report: CheckpointedNeedleReport, progress: bool) -> None:
    """Examine all cells, length by length, haystack by haystack, except what the report contains."""
    with _progress_bar(grid, progress) as bar:
        for length in grid.context_lengths:
            alone = grid.questions_at(length) == 1 and not grid.moves_at(length)
            size = examiner.batch_size(length) if alone else 1
            haystacks = enumerate(iterate_haystacks(examiner.encoder, grid, length))
            while batch := list(islice(haystacks, size)):
                new = [(index, questions) for index, questions in batch if not report.contains(length, index)]
                verdicts = examiner.examine([questions for _, questions in new]) if new else []
                for (index, questions), found in zip(new, verdicts, strict=True):
                    report.add([_sample(length, index, *pair) for pair in zip(questions, found, strict=True)])
                bar.set_postfix_str(f"{length:,} tokens, accuracy {report.accuracy:.3f}", refresh=False)
                bar.update(sum(_cost(length, len(questions)) for _, questions in batch))


def _repeating_lengths(encoder: NeedleEncoder, grid: NeedleGrid) -> list[int]:
    """Lengths that the user's texts do not fill once."""
    sentences = getattr(getattr(encoder.task, "filler", None), "all_sentences", None)
    if sentences is None:
        return []
    tokens, longest = 0, max(grid.context_lengths)
    for start in range(0, len(sentences), 1024):
        tokens += sum(encoder.sizes(sentences[start : start + 1024]))
        if tokens >= longest:
            return []
    return [length for length in grid.context_lengths if length > tokens]


def _sample(length: int, haystack: int, question: NeedleQuestion, verdict: Verdict) -> NeedleSample:
    """One line of the report."""
    return NeedleSample(
        context_length=length,
        cell_depth=question.cell_depth,
        depth=question.depth,
        haystack=haystack,
        question=question.fact.question,
        expected=question.fact.answer,
        answered=verdict.answered,
        correct=verdict.correct,
        margin=verdict.margin,
    )


def _cost(length: int, questions: int) -> float:
    """Work of one haystack, up to a constant: linear layers and the quadratic part of attention, then the
    questions.
    """
    return length * (1 + length / 8192) + questions * (64 + length / 16)


def _progress_bar(grid: NeedleGrid, progress: bool) -> Any:
    """Return a bar over the expected work, so that the remaining time is right for short and long contexts alike."""
    costs: dict[int, float] = defaultdict(float)
    for length in grid.context_lengths:
        for plan in grid.plans(length):
            costs[length] += _cost(length, len(plan.needle_depths))
    return progress_bar(sum(costs.values()), "needle", show=progress)
