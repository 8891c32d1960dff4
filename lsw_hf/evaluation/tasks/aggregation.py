"""Aggregation over the whole context (RULER, 2404.06654, section 3): the most common and the most frequent words."""

import numpy as np

from ..reading.prompts import PromptEncoder
from ..texts.prose import WORDS
from .sample import TaskDraft, TaskSample, UnitTask

_SHORT_CONTEXT = 4096
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va")
# Two readings of one list of nouns, so that there are enough words for long contexts.
_VOCABULARY = tuple(f"{first}{second}" for first in WORDS for second in ("", *WORDS))


class CommonWordsTask(UnitTask):
    """A numbered list in which some words occur often and all others seldom; the question asks for the common ones.

    Args:
        num_words (`int`, *optional*, defaults to 10):
            Common words.
        common_count (`int`, *optional*, defaults to 30):
            How often each common word occurs.
        uncommon_count (`int`, *optional*, defaults to 3):
            How often each other word occurs. Below 4,096 tokens, where
            the common words alone would fill the context, a third of both counts is used (our choice).
    """

    name = "common_words"
    max_new_tokens = 120

    def __init__(self, num_words: int = 10, common_count: int = 30, uncommon_count: int = 3) -> None:
        if min(num_words, uncommon_count) < 1 or common_count <= uncommon_count:
            raise ValueError(
                "num_words and uncommon_count must be at least 1 and common_count above uncommon_count; "
                f"got {num_words}, {uncommon_count}, {common_count}"
            )
        self.num_words, self.common_count, self.uncommon_count = num_words, common_count, uncommon_count
        self.minimum_units = num_words + 1

    def sample(self, encoder: PromptEncoder, context_length: int, generator: np.random.Generator) -> TaskSample:
        """As in [`UnitTask`], with a third of the counts in contexts below 4,096 tokens."""
        counts = (self.common_count // 3, self.uncommon_count // 3)
        if context_length < _SHORT_CONTEXT and counts[0] > counts[1] >= 1:
            return super(CommonWordsTask, CommonWordsTask(self.num_words, *counts)).sample(
                encoder, context_length, generator
            )
        return super().sample(encoder, context_length, generator)

    def draft(self, units: int, generator: np.random.Generator) -> TaskDraft:
        """Return a list over `units` different words."""
        if units > len(_VOCABULARY):
            raise ValueError(
                f"the common-words task has {len(_VOCABULARY)} words, but {units} are needed to fill this length; "
                "raise uncommon_count"
            )
        words = [_VOCABULARY[index] for index in generator.permutation(len(_VOCABULARY))[:units].tolist()]
        common = words[: self.num_words]
        listed = common * self.common_count + words[self.num_words :] * self.uncommon_count
        listed = [listed[index] for index in generator.permutation(len(listed)).tolist()]
        lines = " ".join(f"{number}. {word}" for number, word in enumerate(listed, 1))
        number = self.num_words
        prompt = (
            f"Below is a numbered list of words. Some stand in it often, most seldom.\n\n{lines}\n\n"
            f"Question: Which {number} words stand most often in the list?\nAnswer:"
        )
        return TaskDraft(prompt, tuple(common), f"The {number} words that stand most often in the list are:")


class FrequentWordsTask(UnitTask):
    """Coded text whose word frequencies follow a zeta distribution; asked are the three most frequent words.

    Args:
        alpha (`float`, *optional*, defaults to 2.0):
            Exponent of the distribution, above 1.
        num_answers (`int`, *optional*, defaults to 3):
            Words that are asked for.
    """

    name = "frequent_words"
    max_new_tokens = 50
    minimum_units = 60

    def __init__(self, alpha: float = 2.0, num_answers: int = 3) -> None:
        if alpha <= 1.0 or num_answers < 1:
            raise ValueError(f"alpha must be above 1 and num_answers at least 1; got {alpha}, {num_answers}")
        self.alpha, self.num_answers = alpha, num_answers

    def draft(self, units: int, generator: np.random.Generator) -> TaskDraft:
        """About `units` coded words in random order, dots as noise between them."""
        ranks = np.arange(1, 2001, dtype=float) ** -self.alpha
        counts = np.floor(units * ranks / ranks.sum()).astype(int)
        # The asked words must lead strictly, also where a short text rounds their counts together.
        for index in range(self.num_answers - 1, -1, -1):
            counts[index] = max(counts[index], counts[index + 1] + 1)
        counts = counts[counts > 0]
        words = self._coded(len(counts), generator)
        listed = [word for word, count in zip(words, counts.tolist(), strict=True) for _ in range(count)]
        # Rounding down leaves room for dots: noise that has to be told apart from words.
        listed += ["..."] * max(0, units - len(listed))
        text = " ".join(listed[index] for index in generator.permutation(len(listed)).tolist())
        number = self.num_answers
        prompt = (
            f"Below is a text of coded words; dots mean nothing.\n\n{text}\n\n"
            f"Question: Which {number} coded words occur most often in the text?\nAnswer:"
        )
        return TaskDraft(prompt, tuple(words[:number]), f"The {number} most frequent coded words are:")

    def _coded(self, count: int, generator: np.random.Generator) -> list[str]:
        """Distinct words of three syllables that mean nothing."""
        codes = generator.choice(len(_SYLLABLES) ** 3, size=count, replace=False).tolist()
        return [_SYLLABLES[code // 256] + _SYLLABLES[code // 16 % 16] + _SYLLABLES[code % 16] for code in codes]
