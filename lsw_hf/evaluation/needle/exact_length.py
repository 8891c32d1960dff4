"""Filler by the token: whole sentences up to a size, and words that add an exact number of tokens."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from .task import NeedleEncoder

_VARIANTS = 6
_NEIGHBORS = 3


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

    def take(self, tokens: int) -> list[tuple[str, int]]:
        """Whole sentences of at most `tokens` tokens together, with their sizes; what is missing is less than a
        sentence.

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
        """Words that add exactly `tokens` tokens when they follow a sentence; `variant` picks other words.

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
        """Words that make a stretch of text longer by exactly `change` tokens, or as near as words of that size come.

        Args:
            present (`str`):
                The stretch as it is now, with some text on both sides.
            placed (`Callable[[str], str]`):
                Gives the same stretch with other words in the changed place.
            size (`int`):
                Tokens that the place should hold, about; at least 1.
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
