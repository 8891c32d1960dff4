"""What a haystack contains: facts at chosen depths among filler sentences; `exact_length` cuts it to the token."""

from dataclasses import replace

import numpy as np

from .exact_length import ExactPrompts, FillerStock
from .task import CrowdedHaystackError, HaystackPlan, NeedleEncoder, NeedleFact, NeedleQuestion

_LAYOUT_ATTEMPTS = 50


def build_questions(
    encoder: NeedleEncoder, plan: HaystackPlan, generator: np.random.Generator
) -> list[NeedleQuestion]:
    """Build one haystack and the questions about its needles.

    Usually all needles are in one text. Where the plan says `moving`, each is in a prompt of its own, all made of the
    same text, at the sentence border nearest to its depth:

    ```text
    depth 0.2   f1 N f2 f3 f4 f5 cut question        N: the needle, another fact at every depth
    depth 0.6   f1 f2 f3 N f4 f5 cut question        f: filler and distractors, the same at every depth
    depth 1.0   f1 f2 f3 f4 f5 cut N question        cut: words that make the length exact
    ```

    Every prompt has exactly `plan.prompt_length` tokens. Filler is cut to fit: the first filler sentence of a
    haystack may begin in the middle, like an excerpt; where questions differ in length, filler words are added to
    the shorter ones.

    Args:
        encoder ([`NeedleEncoder`]):
            Tokenizer, template and task.
        plan ([`HaystackPlan`]):
            Length, depths and density.
        generator (`np.random.Generator`):
            Source of all randomness.

    Returns:
        `list[NeedleQuestion]`: One for each needle depth, in the order of `plan.needle_depths`.

    Raises:
        ValueError: if prompt and facts alone are longer than `prompt_length` (names the minimum), if the tokenizer
            does not know the facts' words, or if the filler cannot be cut to the exact length.
        [`CrowdedHaystackError`]: if a needle cannot be placed within the tolerance.
    """
    return HaystackBuilder(encoder, plan, generator).build()


def check_plan(encoder: NeedleEncoder, plan: HaystackPlan) -> None:
    """Refuse, without building it, a haystack that is too short for its facts.

    Raises:
        ValueError: as in [`build_questions`], if the plan has no room, or the task too few facts or unknown words.
    """
    HaystackBuilder(encoder, plan, np.random.default_rng(0)).draw_facts()


class HaystackBuilder:
    """State of one construction, from the arguments of [`build_questions`]: facts, and the filler drawn so far."""

    def __init__(self, encoder: NeedleEncoder, plan: HaystackPlan, generator: np.random.Generator) -> None:
        self.encoder, self.plan, self.generator = encoder, plan, generator
        self.filler = FillerStock(encoder, generator)

    def build(self) -> list[NeedleQuestion]:
        """Draw everything and write the prompts."""
        facts, room = self.draw_facts()
        if self.plan.moving:
            return self._move_needles(facts, room)
        sizes = self.encoder.sizes([fact.text for fact in facts])
        pieces, places = self._lay_out(facts, sizes, room)
        return ExactPrompts(self.encoder, self.plan, self.filler).write(facts, pieces, places)

    def draw_facts(self) -> tuple[list[NeedleFact], int]:
        """Return the facts, needles first, then distractors, and the tokens that are left for filler."""
        plan, task = self.plan, self.encoder.task
        needles = len(plan.needle_depths)
        together = 1 if plan.moving else needles
        probe = task.facts(np.random.default_rng(0), 1)[0]
        empty = len(self.encoder.ids(self.encoder.text("", probe)))
        wanted = round(plan.facts_per_64_tokens * max(plan.prompt_length - empty, 0) / 64)
        distractors = max(wanted - together, 0)
        if plan.max_distractors is not None:
            distractors = min(distractors, plan.max_distractors)
        facts = task.facts(self.generator, needles + distractors)
        self._check_known(facts[0])
        overhead = max(len(self.encoder.ids(self.encoder.text("", fact))) for fact in facts[:needles])
        sizes = self.encoder.sizes([fact.text for fact in facts])
        taken = sum(sizes[needles:]) + (max(sizes[:needles]) if plan.moving else sum(sizes[:needles]))
        room = plan.prompt_length - overhead - taken
        if room < 0:
            raise ValueError(
                f"a context_length of {plan.prompt_length} tokens is too short: the prompt without filler takes "
                f"{overhead} and its {together + distractors} facts take {taken} tokens, so the minimum is "
                f"{overhead + taken}"
            )
        return facts, room

    def _check_known(self, fact: NeedleFact) -> None:
        """Refuse facts of unknown tokens: they could be neither found nor told apart."""
        text = f"{fact.text} {fact.question} {fact.answer}"
        if self.encoder.unknown_words(text):
            raise ValueError(
                f"the tokenizer does not know all words of the task {self.encoder.task.name!r}, as in {text!r}: "
                "choose a task in the words of this model"
            )

    def _lay_out(self, facts: list[NeedleFact], sizes: list[int], room: int) -> tuple[list[str], list[int]]:
        """Return the haystack's pieces in order, and each fact's index among them; retried until the needles fit."""
        filler = self.filler.whole_sentences(room)
        cut = room - sum(size for _, size in filler)
        fillers = ([(self.filler.of_size(cut), cut)] if cut else []) + filler
        haystack = room + sum(sizes)
        worst = 0.0
        for attempt in range(_LAYOUT_ATTEMPTS):
            # Crowded cells: each failure aims nearer to the middle of the cells.
            targets = self._draw_targets(len(facts), self.plan.tolerance * (1 - attempt / (_LAYOUT_ATTEMPTS - 1)))
            order = np.argsort(targets, kind="stable").tolist()
            starts = [targets[index] * (haystack - sizes[index]) for index in order]
            sequence = interleave([sizes[index] for index in order], starts, [size for _, size in fillers])
            pieces: list[str] = []
            places, reached, position = [0] * len(facts), [0.0] * len(facts), 0
            for kind, index in sequence:
                if kind == "fact":
                    fact = order[index]
                    places[fact] = len(pieces)
                    reached[fact] = position / max(haystack - sizes[fact], 1)
                    position += sizes[fact]
                    pieces.append(facts[fact].text)
                else:
                    position += fillers[index][1]
                    pieces.append(fillers[index][0])
            gaps = [abs(depth - cell) for depth, cell in zip(reached, self.plan.needle_depths, strict=False)]
            if self.plan.tolerance == 0 or max(gaps) <= self.plan.tolerance:
                return pieces, places
            worst = max(gaps)
        raise CrowdedHaystackError(
            f"{len(self.plan.needle_depths)} needles do not fit into their depth cells at {self.plan.prompt_length} "
            f"tokens: one is {worst:.3f} away, allowed is {self.plan.tolerance:.3f}"
        )

    def _draw_targets(self, count: int, reach: float) -> list[float]:
        """Depth aimed at by each fact: needles in their cells, distractors spread evenly (jittered strata)."""
        plan = self.plan
        strata = [(index + float(self.generator.random())) / count for index in range(count)]
        targets = []
        for cell in plan.needle_depths:
            low, high = max(cell - reach, 0.0), min(cell + reach, 1.0)
            target = low + (high - low) * float(self.generator.random())
            # The needle takes the place of the nearest distractor, so that the density stays even.
            strata.pop(min(range(len(strata)), key=lambda index: abs(strata[index] - target)))
            targets.append(target)
        return targets + [strata[index] for index in self.generator.permutation(len(strata)).tolist()]

    def _move_needles(self, facts: list[NeedleFact], room: int) -> list[NeedleQuestion]:
        """Hide each needle in the same text: up to a needle, all prompts with a deeper one are alike."""
        encoder, plan = self.encoder, self.plan
        needles, distractors = facts[: len(plan.needle_depths)], facts[len(plan.needle_depths) :]
        trunk = self._trunk(distractors, room)
        sizes, lengths = encoder.sizes([fact.text for fact in facts]), [size for _, size, _ in trunk]
        questions = []
        for needle, size, depth in zip(needles, sizes, plan.needle_depths, strict=False):
            overhead = len(encoder.ids(encoder.text("", needle)))
            cut = max(plan.prompt_length - overhead - size - sum(lengths), 0)
            closing = [(self.filler.of_size(cut), cut, None)] if cut else []
            total = sum(lengths) + cut
            order = interleave([size], [depth * total], [*lengths, *([cut] if cut else [])])
            pieces: list[str] = []
            places: dict[int, int] = {}
            for kind, index in order:
                content, _, distractor = (needle.text, size, 0) if kind == "fact" else [*trunk, *closing][index]
                if distractor is not None:
                    places[distractor] = len(pieces)
                pieces.append(content)
            prompts = ExactPrompts(encoder, replace(plan, needle_depths=(depth,)), self.filler)
            others = [*distractors, *(other for other in needles if other is not needle)]
            questions += prompts.write([needle, *others], pieces, [places[index] for index in sorted(places)])
        return questions

    def _trunk(self, distractors: list[NeedleFact], room: int) -> list[tuple[str, int, int | None]]:
        """Return the text without a needle: pieces with their sizes; distractors also have a number, from 1."""
        fillers = self.filler.whole_sentences(room)
        sizes = self.encoder.sizes([fact.text for fact in distractors])
        places = [(index + float(self.generator.random())) / len(sizes) for index in range(len(sizes))]
        total = sum(size for _, size in fillers) + sum(sizes)
        starts = [place * (total - size) for place, size in zip(places, sizes, strict=True)]
        order = interleave(sizes, starts, [size for _, size in fillers])
        return [
            (distractors[index].text, sizes[index], index + 1) if kind == "fact" else (*fillers[index], None)
            for kind, index in order
        ]


def interleave(sizes: list[int], starts: list[float], fillers: list[int]) -> list[tuple[str, int]]:
    """Order facts and filler pieces so that each fact begins at the border nearest to where it should.

    Args:
        sizes (`list[int]`):
            Tokens of each fact.
        starts (`list[float]`):
            Token at which each fact should begin, ascending.
        fillers (`list[int]`):
            Tokens of each filler piece; all are used, in order.

    Returns:
        `list[tuple[str, int]]`: `("fact", index)` or `("filler", index)`, in order.
    """
    sequence: list[tuple[str, int]] = []
    position = used = 0
    for index, (size, start) in enumerate(zip(sizes, starts, strict=True)):
        while used < len(fillers) and position + fillers[used] / 2 <= start:
            sequence.append(("filler", used))
            position += fillers[used]
            used += 1
        sequence.append(("fact", index))
        position += size
    return sequence + [("filler", index) for index in range(used, len(fillers))]
