"""Haystacks of an exact length: facts at chosen depths among filler sentences, measured in tokens of the prompt."""

from dataclasses import dataclass

import numpy as np

from .exact_length import FillerStock
from .layout import interleave
from .shared_head import SharedHead
from .task import NeedleEncoder, NeedleFact

_LAYOUT_ATTEMPTS = 50
_FITTING_ROUNDS = 40
# Characters on one side of a place that can change how its words are cut into tokens.
_SURROUNDING = 200
_CANDIDATES = 8


@dataclass(frozen=True)
class NeedleQuestion:
    """One question about one haystack, ready for the model.

    Args:
        fact (`NeedleFact`):
            The fact that is asked for.
        cell_depth (`float`):
            Depth of the grid cell that the question counts for.
        depth (`float`):
            Where the fact stands, measured in tokens: 0 is the first place of the haystack, 1 the last possible one.
        prompt (`str`):
            The whole prompt.
        input_ids (`list[int]`):
            The tokenizer's ids of the prompt; exactly `prompt_length` of them.
        candidates (`tuple[str, ...]`):
            The right answer, then up to 7 wrong ones: answers of other facts, of this haystack as far as it has them.
            Empty unless the plan asks for them.
    """

    fact: NeedleFact
    cell_depth: float
    depth: float
    prompt: str
    input_ids: list[int]
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class HaystackPlan:
    """What one haystack should hold.

    Args:
        prompt_length (`int`):
            Tokens of every prompt about this haystack, special tokens and question included.
        needle_depths (`tuple[float, ...]`):
            Cell depth of each needle, in [0, 1].
        tolerance (`float`):
            How far a needle may stand from its cell depth. 0 places it at the nearest sentence border.
        facts_per_64_tokens (`float`):
            Density of facts, needles included; the needles are always there.
        max_distractors (`int`, *optional*):
            Upper bound on the number of facts that are not needles.
        candidates (`bool`, *optional*, defaults to `False`):
            Whether each question brings wrong answers to weigh.
        moving (`bool`, *optional*, defaults to `False`):
            Whether the needles stand in the text one at a time, each in a prompt of its own; see [`build_moving`].
    """

    prompt_length: int
    needle_depths: tuple[float, ...]
    tolerance: float
    facts_per_64_tokens: float = 0.0
    max_distractors: int | None = None
    candidates: bool = False
    moving: bool = False


class CrowdedHaystackError(ValueError):
    """So many needles that one cannot stand near enough to its depth."""


def build_questions(
    encoder: NeedleEncoder, plan: HaystackPlan, generator: np.random.Generator
) -> list[NeedleQuestion]:
    """Build one haystack and the questions about its needles.

    Every prompt has exactly `plan.prompt_length` tokens. Filler is cut to fit: the first filler sentence of a
    haystack may begin in the middle, like an excerpt; where questions differ in length, words of filler close the
    shorter ones.

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
        [`CrowdedHaystackError`]: if a needle cannot stand within the tolerance.
    """
    return HaystackBuilder(encoder, plan, generator).build()


def check_plan(encoder: NeedleEncoder, plan: HaystackPlan) -> None:
    """Refuse, without building it, a haystack that cannot hold its facts.

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
        sizes = self.encoder.sizes([fact.text for fact in facts])
        return self.write(facts, *self._lay_out(facts, sizes, room))

    def write(self, facts: list[NeedleFact], pieces: list[str], places: list[int]) -> list[NeedleQuestion]:
        """Make the prompts exact and measure them.

        Args:
            facts (`list[NeedleFact]`):
                Needles first; all others only lend their answers as candidates.
            pieces (`list[str]`):
                The haystack in order, about as long as it has to be.
            places (`list[int]`):
                Where facts stand among the pieces, needles first.
        """
        needles = facts[: len(self.plan.needle_depths)]
        longest = max(needles, key=lambda fact: len(self.encoder.ids(self.encoder.text("", fact))))
        pieces, haystack = self._fit(pieces, longest, set(places))
        closed = self._close_all(haystack, needles)
        for _ in needles:
            if None not in closed:
                break
            # Sizes are known to a token only in place: the haystack has to leave room for this question instead.
            longest = needles[closed.index(None)]
            pieces, haystack = self._fit(pieces, longest, set(places))
            closed = self._close_all(haystack, needles)
        if None in closed:
            raise ValueError(f"questions of one haystack could not all be brought to {self.plan.prompt_length} tokens")
        depths = self._measure(pieces, haystack, longest, places)
        return [
            NeedleQuestion(fact, cell_depth, depth, *prompt, self._candidates(fact, facts))
            for fact, cell_depth, depth, prompt in zip(needles, self.plan.needle_depths, depths, closed, strict=True)
            if prompt is not None
        ]

    def draw_facts(self) -> tuple[list[NeedleFact], int]:
        """Needles first, then distractors; and the tokens that are left for filler."""
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
        """Refuse facts of unknown tokens: they could be neither found nor told from another."""
        text = f"{fact.text} {fact.question} {fact.answer}"
        if self.encoder.unknown_words(text):
            raise ValueError(
                f"the tokenizer does not know all words of the task {self.encoder.task.name!r}, as in {text!r}: "
                "choose a task in the words of this model"
            )

    def _lay_out(self, facts: list[NeedleFact], sizes: list[int], room: int) -> tuple[list[str], list[int]]:
        """Pieces of the haystack in order, and for each fact its index among them; retried until the needles fit."""
        filler = self.filler.take(room)
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
            f"tokens: one stands {worst:.3f} away, allowed is {self.plan.tolerance:.3f}"
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

    def _fit(self, pieces: list[str], longest: NeedleFact, facts: set[int]) -> tuple[list[str], str]:
        """Change single pieces of filler until the longest prompt has exactly the wanted number of tokens."""
        separator = self.encoder.task.separator
        pieces = pieces if len(pieces) > len(facts) else [*pieces, ""]
        places = [index for index in range(len(pieces)) if index not in facts]
        if self.plan.moving:
            # At the end: what stands before the needle is the same for all its depths.
            places.reverse()
        for attempt in range(_FITTING_ROUNDS):
            haystack = separator.join(piece for piece in pieces if piece)
            prompt = self.encoder.text(haystack, longest)
            change = self.plan.prompt_length - len(self.encoder.ids(prompt))
            if change == 0:
                return pieces, haystack
            pieces = [*pieces]
            # Where one place does not take the right number of tokens, the next round tries another.
            for index in places[attempt // 4 :] + places[: attempt // 4]:
                size = (self.encoder.sizes([pieces[index]])[0] if pieces[index] else 0) + change
                if size > 0:
                    head = prompt[: prompt.index(haystack)][-_SURROUNDING:]
                    pieces[index] = self._refill(head, pieces, index, size, change, attempt)
                    break
                pieces[index], change = "", size
            else:
                raise ValueError(
                    f"a context_length of {self.plan.prompt_length} tokens is too short for its prompt and facts "
                    f"by {-change} tokens"
                )
        raise ValueError(
            f"the filler could not be cut to a prompt of exactly {self.plan.prompt_length} tokens in "
            f"{_FITTING_ROUNDS} rounds: this tokenizer counts the same sentence differently in different places"
        )

    def _refill(self, head: str, pieces: list[str], index: int, size: int, change: int, attempt: int) -> str:
        """Words for the place `index` that change the length by `change` tokens between its neighbors."""

        def stretch(words: str) -> str:
            before, after = pieces[:index], [piece for piece in pieces[index + 1 : index + 4] if piece]
            joined = self.encoder.task.separator.join(filter(None, [*before[-3:], words, *after]))
            return joined if any(before) else head + joined

        return self.filler.fitting(stretch(pieces[index]), stretch, size, change, attempt)

    def _candidates(self, fact: NeedleFact, facts: list[NeedleFact]) -> tuple[str, ...]:
        """Return the answer of `fact` and of other facts; a haystack with few of them borrows from facts it does not
        hold.
        """
        if not self.plan.candidates:
            return ()
        others = [other.answer for other in facts if other is not fact]
        if len(others) < _CANDIDATES - 1:
            spare = self.encoder.task.facts(np.random.default_rng(len(facts)), 4 * _CANDIDATES)
            others += [other.answer for other in spare]
        return (fact.answer, *(answer for answer in dict.fromkeys(others) if answer != fact.answer))[:_CANDIDATES]

    def _close_all(self, haystack: str, needles: list[NeedleFact]) -> list[tuple[str, list[int]] | None]:
        """Prompt and ids of every question about one haystack, `None` where the question is too long."""
        prompt = self.encoder.text(haystack, needles[0])
        head = SharedHead(self.encoder, prompt[: prompt.index(haystack) + len(haystack)])
        return [self._close(haystack, head, fact) for fact in needles]

    def _close(self, haystack: str, head: SharedHead, fact: NeedleFact) -> tuple[str, list[int]] | None:
        """Return the prompt about `fact` and its ids. Where its question is shorter than the longest, words of filler
        end the haystack; `None` if it is too long.
        """
        task, target = self.encoder.task, self.plan.prompt_length
        prompt = self.encoder.text(haystack, fact)
        ids = self._ids(prompt, head)
        missing = target - len(ids)
        end, tail = haystack[-_SURROUNDING:], prompt[prompt.index(haystack) + len(haystack) :]

        def stretch(words: str) -> str:
            return task.separator.join(filter(None, [end, words])) + tail

        if missing <= 0:
            return (prompt, ids) if missing == 0 else None
        for attempt in range(_FITTING_ROUNDS):
            closing = self.filler.fitting(stretch(""), stretch, missing, missing, attempt)
            closed = self.encoder.text(haystack + task.separator + closing, fact)
            ids = self._ids(closed, head)
            if len(ids) == target:
                return closed, ids
        raise ValueError(
            f"a question could not be filled up to a prompt of exactly {target} tokens: {fact.question!r}"
        )

    def _ids(self, prompt: str, head: SharedHead) -> list[int]:
        """Ids of a prompt; templates that put the question in front of the haystack share no head."""
        shares = prompt.startswith(head.text)
        return head.ids(prompt[len(head.text) :]) if shares else self.encoder.ids(prompt)

    def _measure(self, pieces: list[str], haystack: str, longest: NeedleFact, places: list[int]) -> list[float]:
        """Depth of each needle in tokens, from the tokenizer's own offsets where it has them."""
        separator, needles = len(self.encoder.task.separator), len(self.plan.needle_depths)
        prompt = self.encoder.text(haystack, longest)
        offset = prompt.index(haystack)
        starts, ends, position = {}, {}, offset
        for index, piece in enumerate(pieces):
            if piece:
                starts[index], ends[index] = position, position + len(piece)
                position += len(piece) + separator
        wanted = [offset, offset + len(haystack)]
        for place in places[:needles]:
            wanted += [starts[place], ends[place]]
        found = self.encoder.token_starts(prompt, wanted)
        if found is None:
            sizes = [self.encoder.sizes([piece])[0] if piece else 0 for piece in pieces]
            found = [0, sum(sizes)]
            for place in places[:needles]:
                found += [sum(sizes[:place]), sum(sizes[: place + 1])]
        first, last = found[:2]
        depths = []
        for begin, end in zip(found[2::2], found[3::2], strict=True):
            free = (last - first) - (end - begin)
            depths.append(min(max((begin - first) / free, 0.0), 1.0) if free > 0 else 0.0)
        return depths
