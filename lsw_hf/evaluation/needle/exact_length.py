"""Prompts of an exact length: filler is fitted until the tokenizer counts as many tokens as the plan asks for."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from ..reading.prompts import PromptEncoder
from .task import HaystackPlan, NeedleEncoder, NeedleFact, NeedleQuestion

_VARIANTS = 6
_NEIGHBORS = 3
_FITTING_ROUNDS = 40
# Characters on one side of a place that can change how its words are cut into tokens.
_SURROUNDING = 200
_CANDIDATES = 8
# Characters of the shared prefix that are read again with each ending: many words, so that no tokenizer looks further.
_REREAD = 400


class FillerStock:
    """Sentences of a task with their sizes in tokens, and parts of them of any size.

    Args:
        encoder ([`NeedleEncoder`]):
            Tokenizer and task.
        generator (`np.random.Generator`):
            Where the task draws its sentences from.
    """

    def __init__(self, encoder: NeedleEncoder, generator: np.random.Generator) -> None:
        self.encoder = encoder
        self.sentences: Iterator[str] = encoder.task.sentences(generator)
        self._parts: dict[int, list[str]] = {}

    def whole_sentences(self, tokens: int) -> list[tuple[str, int]]:
        """Return sentences of at most `tokens` tokens together, with their sizes; the rest is less than a sentence.

        Raises:
            ValueError: if the task's sentences end.
        """
        taken: list[tuple[str, int]] = []
        while tokens > 0:
            sentences = list(islice(self.sentences, 64 + tokens // 8))
            if not sentences:
                raise ValueError(f"the task {self.encoder.task.name!r} ran out of filler sentences")
            for sentence, size in zip(sentences, self.encoder.sizes(sentences), strict=True):
                if size > tokens:
                    return taken
                taken.append((sentence, size))
                tokens -= size
        return taken

    def of_size(self, tokens: int, variant: int = 0) -> str:
        """Return words that add exactly `tokens` tokens after a sentence; `variant` picks other words.

        Raises:
            ValueError: if this tokenizer has no words of that size.
        """
        parts: list[str] = []
        while tokens > 0:
            exact = [size for size in self._by_size() if size == tokens or tokens - size in self._by_size()]
            size = max((size for size in exact or self._by_size() if size <= tokens), default=0)
            if size == 0:
                raise ValueError(f"no words of filler have exactly {tokens} tokens with this tokenizer")
            parts.append(self._by_size()[size][variant % len(self._by_size()[size])])
            tokens -= size
        return self.encoder.task.separator.join(parts)

    def fitting(self, present: str, placed: Callable[[str], str], size: int, change: int, variant: int = 0) -> str:
        """Return words that lengthen a stretch of text by exactly `change` tokens, or as nearly as possible.

        Args:
            present (`str`):
                The stretch as it is now, with some text on both sides.
            placed (`Callable[[str], str]`):
                Gives the same stretch with other words in the changed place.
            size (`int`):
                About how many tokens the place should contain; at least 1.
            change (`int`):
                Tokens by which the stretch should grow; negative to shrink.
            variant (`int`, *optional*, defaults to 0):
                Prefers other words of the same size.
        """
        sizes = [near for step in range(_NEIGHBORS + 1) for near in (size - step, size + step) if near > 0]
        found = [self.of_size(near, variant + other) for near in dict.fromkeys(sizes) for other in range(_VARIANTS)]
        choices = list(dict.fromkeys(found))
        texts = [present, *map(placed, choices)]
        now, *counts = (len(ids) for ids in self.encoder.tokenizer(texts, add_special_tokens=False)["input_ids"])
        return choices[min(range(len(choices)), key=lambda index: abs(counts[index] - now - change))]

    def _by_size(self) -> dict[int, list[str]]:
        """Return ends of sentences and single words, gathered by their size in tokens."""
        if not self._parts:
            for sentence in islice(self.sentences, 64):
                words: Sequence[str] = sentence.split(" ")
                glue = " "
                if len(words) == 1:
                    words, glue = list(sentence), ""
                # Single words too: an end of a sentence with its full stop is seldom one token.
                parts = [glue.join(words[index:]) for index in range(len(words))] + list(words)
                for part, size in zip(parts, self.encoder.sizes(parts), strict=True):
                    if size > 0 and part not in self._parts.setdefault(size, []):
                        self._parts[size] = [*self._parts[size], part][:_VARIANTS]
            self._parts = {size: parts for size, parts in self._parts.items() if parts}
        return self._parts


class TokenizedPrefix:
    """Token ids of many prompts with one long prefix, which is tokenized once for all of them.

    Tokenizers look at words and their neighbors, so an ending can only change the last tokens before it. Each ending
    is tokenized together with the last words of the prefix; where these words get other tokens than they have in the
    prefix, the whole prompt is tokenized instead. So the ids are always those of the whole prompt.

    Args:
        encoder ([`PromptEncoder`]):
            The tokenizer.
        text (`str`):
            The common beginning of wrapped prompts.
    """

    def __init__(self, encoder: PromptEncoder, text: str) -> None:
        self.encoder, self.text = encoder, text
        border = text.find(" ", max(len(text) - _REREAD, 0))
        self._reread = text[border:] if 0 < border < len(text) - 1 else ""
        self._ids = encoder.ids(text) if self._reread else []
        self._reread_ids = self._bare(self._reread)
        # The first token may differ from that in the text, where something precedes it.
        kept = len(self._reread_ids) - 1
        self._usable = kept >= 8 and self._ids[-kept:] == self._reread_ids[1:]

    def ids(self, ending: str) -> list[int]:
        """Return the token ids of the prefix and this ending."""
        if self._usable:
            joined = self._bare(self._reread + ending)
            settled = len(self._reread_ids) - 4
            if joined[:settled] == self._reread_ids[:settled]:
                return self._ids[: len(self._ids) - len(self._reread_ids) + 1] + joined[1:]
        return self.encoder.ids(self.text + ending)

    def _bare(self, text: str) -> list[int]:
        return list(self.encoder.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


class ExactPrompts:
    """Writes the prompts about one haystack with exactly the tokens that the plan asks for.

    Args:
        encoder ([`NeedleEncoder`]):
            Tokenizer, template and task.
        plan ([`HaystackPlan`]):
            Length and depths.
        filler ([`FillerStock`]):
            Words to fill gaps with.
    """

    def __init__(self, encoder: NeedleEncoder, plan: HaystackPlan, filler: FillerStock) -> None:
        self.encoder, self.plan, self.filler = encoder, plan, filler

    def write(self, facts: list[NeedleFact], pieces: list[str], places: list[int]) -> list[NeedleQuestion]:
        """Make the prompts exact and measure them.

        Args:
            facts (`list[NeedleFact]`):
                Needles first; all others only lend their answers as candidates.
            pieces (`list[str]`):
                The haystack in order, about as long as it has to be.
            places (`list[int]`):
                Index of each placed fact among the pieces, needles first.
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

    def _fit(self, pieces: list[str], longest: NeedleFact, facts: set[int]) -> tuple[list[str], str]:
        """Change single pieces of filler until the longest prompt has exactly the wanted number of tokens."""
        separator = self.encoder.task.separator
        pieces = pieces if len(pieces) > len(facts) else [*pieces, ""]
        places = [index for index in range(len(pieces)) if index not in facts]
        if self.plan.moving:
            # At the end: the text before the needle stays the same for all depths.
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
        """Return words for the place `index` that change the length by `change` tokens between its neighbors."""

        def stretch(words: str) -> str:
            before, after = pieces[:index], [piece for piece in pieces[index + 1 : index + 4] if piece]
            joined = self.encoder.task.separator.join(filter(None, [*before[-3:], words, *after]))
            return joined if any(before) else head + joined

        return self.filler.fitting(stretch(pieces[index]), stretch, size, change, attempt)

    def _candidates(self, fact: NeedleFact, facts: list[NeedleFact]) -> tuple[str, ...]:
        """Return the answer of `fact`, then other answers; a haystack of few facts borrows some from outside."""
        if not self.plan.candidates:
            return ()
        others = [other.answer for other in facts if other is not fact]
        if len(others) < _CANDIDATES - 1:
            spare = self.encoder.task.facts(np.random.default_rng(len(facts)), 4 * _CANDIDATES)
            others += [other.answer for other in spare]
        return (fact.answer, *(answer for answer in dict.fromkeys(others) if answer != fact.answer))[:_CANDIDATES]

    def _close_all(self, haystack: str, needles: list[NeedleFact]) -> list[tuple[str, list[int]] | None]:
        """Return prompt and ids of every question about one haystack, `None` where the question is too long."""
        prompt = self.encoder.text(haystack, needles[0])
        prefix = TokenizedPrefix(self.encoder, prompt[: prompt.index(haystack) + len(haystack)])
        return [self._close(haystack, prefix, fact) for fact in needles]

    def _close(self, haystack: str, prefix: TokenizedPrefix, fact: NeedleFact) -> tuple[str, list[int]] | None:
        """Return the prompt about `fact` and its ids. Where its question is shorter than the longest, filler words
        are added to the haystack; `None` if it is too long.
        """
        task, target = self.encoder.task, self.plan.prompt_length
        prompt = self.encoder.text(haystack, fact)
        ids = self._ids(prompt, prefix)
        missing = target - len(ids)
        end, tail = haystack[-_SURROUNDING:], prompt[prompt.index(haystack) + len(haystack) :]

        def stretch(words: str) -> str:
            return task.separator.join(filter(None, [end, words])) + tail

        if missing <= 0:
            return (prompt, ids) if missing == 0 else None
        for attempt in range(_FITTING_ROUNDS):
            closing = self.filler.fitting(stretch(""), stretch, missing, missing, attempt)
            closed = self.encoder.text(haystack + task.separator + closing, fact)
            ids = self._ids(closed, prefix)
            if len(ids) == target:
                return closed, ids
        raise ValueError(
            f"a question could not be filled up to a prompt of exactly {target} tokens: {fact.question!r}"
        )

    def _ids(self, prompt: str, prefix: TokenizedPrefix) -> list[int]:
        """Return the ids of a prompt; templates that put the question before the haystack share no prefix."""
        shares = prompt.startswith(prefix.text)
        return prefix.ids(prompt[len(prefix.text) :]) if shares else self.encoder.ids(prompt)

    def _measure(self, pieces: list[str], haystack: str, longest: NeedleFact, places: list[int]) -> list[float]:
        """Return the depth of each needle by tokens, from the tokenizer's own offsets where it has them."""
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
