"""One needle at each depth of one text in turn: the prompts of a sample begin alike, up to the needle."""

from dataclasses import replace

import numpy as np

from .haystack import HaystackBuilder, HaystackPlan, NeedleQuestion
from .layout import interleave
from .task import NeedleEncoder, NeedleFact


def build_moving(encoder: NeedleEncoder, plan: HaystackPlan, generator: np.random.Generator) -> list[NeedleQuestion]:
    """Build a text, and for each depth a prompt with one needle at the sentence border nearest to it.

    ```text
    depth 0.2   f1 N f2 f3 f4 f5 cut question        N: the needle, another fact at every depth
    depth 0.6   f1 f2 f3 N f4 f5 cut question        f: filler and distractors, the same at every depth
    depth 1.0   f1 f2 f3 f4 f5 cut N question        cut: words that make the length exact
    ```

    Args:
        encoder ([`NeedleEncoder`]):
            Tokenizer, template and task.
        plan ([`HaystackPlan`]):
            Length, depths and density; `moving` is set.
        generator (`np.random.Generator`):
            Source of all randomness.

    Returns:
        `list[NeedleQuestion]`: One for each needle depth, in the order of `plan.needle_depths`.

    Raises:
        ValueError: as in [`build_questions`].
    """
    text = HaystackBuilder(encoder, plan, generator)
    facts, room = text.draw_facts()
    needles, distractors = facts[: len(plan.needle_depths)], facts[len(plan.needle_depths) :]
    trunk = _trunk(text, distractors, room)
    sizes, lengths = encoder.sizes([fact.text for fact in facts]), [size for _, size, _ in trunk]
    questions = []
    for needle, size, depth in zip(needles, sizes, plan.needle_depths, strict=False):
        overhead = len(encoder.ids(encoder.text("", needle)))
        cut = max(plan.prompt_length - overhead - size - sum(lengths), 0)
        closing = [(text.filler.of_size(cut), cut, None)] if cut else []
        total = sum(lengths) + cut
        order = interleave([size], [depth * total], [*lengths, *([cut] if cut else [])])
        pieces: list[str] = []
        places: dict[int, int] = {}
        for kind, index in order:
            content, _, distractor = (needle.text, size, 0) if kind == "fact" else [*trunk, *closing][index]
            if distractor is not None:
                places[distractor] = len(pieces)
            pieces.append(content)
        builder = HaystackBuilder(encoder, replace(plan, needle_depths=(depth,)), generator)
        builder.filler = text.filler
        others = [*distractors, *(other for other in needles if other is not needle)]
        questions += builder.write([needle, *others], pieces, [places[index] for index in sorted(places)])
    return questions


def _trunk(text: HaystackBuilder, distractors: list[NeedleFact], room: int) -> list[tuple[str, int, int | None]]:
    """Return the text without a needle: pieces with their sizes, and for a distractor its number, counted from 1."""
    fillers = text.filler.take(room)
    sizes = text.encoder.sizes([fact.text for fact in distractors])
    places = [(index + float(text.generator.random())) / len(sizes) for index in range(len(sizes))]
    total = sum(size for _, size in fillers) + sum(sizes)
    starts = [place * (total - size) for place, size in zip(places, sizes, strict=True)]
    order = interleave(sizes, starts, [size for _, size in fillers])
    return [
        (distractors[index].text, sizes[index], index + 1) if kind == "fact" else (*fillers[index], None)
        for kind, index in order
    ]
