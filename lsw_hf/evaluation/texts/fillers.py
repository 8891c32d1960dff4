"""Where the text around the needles comes from: our prose, the user's own texts, or one repeated noise."""

import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from .prose import neutral_sentences
from .prose_zh import neutral_sentences_zh

Language = Literal["en", "zh"]

# A sentence ends at its mark (Latin marks only before a space: 3.14 is no border) or at the end of a line.
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
_LONGEST_SENTENCE = 300


@runtime_checkable
class FillerSource(Protocol):
    """Endless filler sentences.

    Attributes:
        name (`str`):
            Name in the report.
    """

    name: str

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        """Endless sentences; everything random comes from `generator`."""
        ...


class ProseFiller:
    """Neutral sentences written for this purpose, without numbers and personal names.

    Args:
        language (`str`, *optional*, defaults to `"en"`):
            `"en"` or `"zh"`.
    """

    def __init__(self, language: Language = "en") -> None:
        if language not in ("en", "zh"):
            raise ValueError(f"language must be 'en' or 'zh'; got {language!r}")
        self.name = f"prose-{language}"
        self._draw = neutral_sentences if language == "en" else neutral_sentences_zh

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        """Endless random sentences."""
        return self._draw(generator)


class NoiseFiller:
    """The same few sentences over and over, as in the first passkey tests: the easiest haystack there is.

    Args:
        text (`str`, *optional*):
            Sentences to repeat; defaults to three short ones.
    """

    name = "noise"

    def __init__(self, text: str = "The grass is green. The sky is blue. The road goes on and on.") -> None:
        self._sentences = split_sentences(text)
        if not self._sentences:
            raise ValueError("the text of a NoiseFiller is empty")

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        """Return the sentences in order, endlessly."""
        return chain.from_iterable(repeat(self._sentences))


class TextFiller:
    """The user's own texts, read as one long text from a random sentence on. A haystack that is longer than all texts
    together starts over at the beginning; the report says for which lengths this happened.

    Args:
        texts (`Iterable[str]`):
            Texts, or the `text` column of a dataset.
        name (`str`, *optional*, defaults to `"texts"`):
            Name in the report.

    Raises:
        ValueError: if the texts have no sentence.
    """

    def __init__(self, texts: Iterable[str], name: str = "texts") -> None:
        self.name = name
        self.all_sentences = [sentence for text in texts for sentence in split_sentences(text)]
        if not self.all_sentences:
            raise ValueError(f"the haystack texts ({name}) contain no sentence: they are empty or only spaces")

    @classmethod
    def from_files(cls, *paths: str | os.PathLike[str]) -> "TextFiller":
        """Read UTF-8 text files, in the order given.

        Raises:
            ValueError: if a file is missing or not UTF-8; the message names it.
        """
        texts = []
        for path in map(Path, paths):
            try:
                texts.append(path.read_text(encoding="utf-8"))
            except FileNotFoundError as error:
                raise ValueError(f"haystack file not found: {path}") from error
            except UnicodeDecodeError as error:
                raise ValueError(f"haystack file {path} is not UTF-8 text (byte {error.start})") from error
        return cls(texts, name=" ".join(Path(path).name for path in paths))

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        """Yield the sentences in order from a random one on, starting over at the end."""
        start = int(generator.integers(len(self.all_sentences)))
        yield from self.all_sentences[start:]
        while True:
            yield from self.all_sentences


def split_sentences(text: str) -> list[str]:
    """Sentences of a text without the spaces between them; a sentence of over 300 characters is cut at spaces."""
    sentences = []
    for sentence in _SENTENCE_END.split(text):
        words = sentence.split()
        while words:
            piece = [words.pop(0)]
            length = len(piece[0])
            while words and length + 1 + len(words[0]) <= _LONGEST_SENTENCE:
                length += 1 + len(words[0])
                piece.append(words.pop(0))
            sentences.append(" ".join(piece))
    return sentences
