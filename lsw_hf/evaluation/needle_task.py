"""What a needle test is made of: filler sentences, facts hidden among them, and the question about a fact."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from .prose import FAMILY_NAMES, GIVEN_NAMES, neutral_sentences


@dataclass(frozen=True)
class NeedleFact:
    """
    One fact that can be hidden in a haystack and asked for.

    Args:
        text (`str`): The sentence that is hidden.
        question (`str`): What is asked at the end of the prompt. Must single out this fact among all facts of a
        haystack.
        answer (`str`): What the model has to say.
        answer_prefix (`str`, *optional*, defaults to `""`):
            Beginning of the answer, given to the model as the last words of the prompt.
    """

    text: str
    question: str
    answer: str
    answer_prefix: str = ""


@runtime_checkable
class NeedleTask(Protocol):
    """
    The world of a needle test. A task is stateless: everything it draws comes from the generator it is given.

    Attributes:
        name (`str`): Name in the report.
        separator (`str`): What stands between two sentences of a haystack, usually one space.
        max_new_tokens (`int`): Tokens the model may generate for an answer, unless the grid says otherwise.
        chance (`float` or `None`): Accuracy of guessing, in [0, 1], where the task knows it.
    """

    name: str
    separator: str
    max_new_tokens: int
    chance: float | None

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        """Endless filler sentences that answer no question of the task."""
        ...

    def facts(self, generator: np.random.Generator, count: int) -> list[NeedleFact]:
        """
        Return `count` facts with distinct questions, in random order; raise `ValueError` if there are not so many.
        """
        ...

    def prompt(self, haystack: str, question: str) -> str:
        """The words around the haystack. Prompts that begin with the haystack can share its computation."""
        ...


class NumberNeedleTask:
    """
    The built-in task: seven-digit locker numbers of named people, hidden in neutral prose written for this purpose.

    All facts have the same form, so that a distractor fact can only be told from the needle by the name. The digits
    are uniform in 1,000,000..9,999,999, which makes guessing hopeless (chance 1e-7, reported as 0).
    """

    name = "number"
    separator = " "
    max_new_tokens = 16
    chance: float | None = 0.0

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        """Endless neutral English sentences without digits or personal names."""
        return neutral_sentences(generator)

    def facts(self, generator: np.random.Generator, count: int) -> list[NeedleFact]:
        """Return `count` locker facts about `count` different people."""
        available = len(GIVEN_NAMES) * len(FAMILY_NAMES)
        if count > available:
            raise ValueError(
                f"{count} facts were asked for, but the number task has only {available} distinct people; "
                "lower `distractors_per_64_tokens` or set `max_distractors`"
            )
        people = generator.choice(available, size=count, replace=False)
        numbers = generator.integers(1_000_000, 10_000_000, size=count)
        facts = []
        for person, number in zip(people.tolist(), numbers.tolist(), strict=True):
            given, family = divmod(person, len(FAMILY_NAMES))
            owner = f"The locker number of {GIVEN_NAMES[given]} {FAMILY_NAMES[family]} is"
            question = f"What is the locker number of {GIVEN_NAMES[given]} {FAMILY_NAMES[family]}?"
            facts.append(NeedleFact(f"{owner} {number}.", question, str(number), owner))
        return facts

    def prompt(self, haystack: str, question: str) -> str:
        """Instruction, haystack, question."""
        return f"Read the text and answer the question about it.\n\n{haystack}\n\nQuestion: {question}\nAnswer:"
