"""One question of a long-context task, cut to a number of tokens."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from ..reading.prompts import PromptEncoder

Match = Literal["all", "any"]


@dataclass(frozen=True)
class TaskDraft:
    """A question before it is measured.

    Args:
        prompt (`str`):
            Instruction, context and question.
        expected (`tuple[str, ...]`):
            The answers.
        answer_prefix (`str`, *optional*, defaults to `""`):
            Beginning of the answer, given to the model.
        detail (`dict`, *optional*):
            What a reader of a wrong answer wants to know, such as depths.
    """

    prompt: str
    expected: tuple[str, ...]
    answer_prefix: str = ""
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskSample:
    """A question ready for the model.

    Args:
        text (`str`):
            What the model reads, template included.
        input_ids (`list[int]`):
            The tokenizer's ids of it.
        expected (`tuple[str, ...]`):
            The answers.
        match (`str`):
            `"all"` scores the share of the answers that were given, `"any"` whether one of them was.
        detail (`dict`):
            As in [`TaskDraft`].
    """

    text: str
    input_ids: list[int]
    expected: tuple[str, ...]
    match: Match
    detail: dict[str, Any]


@runtime_checkable
class LongContextTask(Protocol):
    """A family of questions about long contexts. Stateless: everything random comes from the generator it is given.

    Attributes:
        name (`str`):
            Name in reports.
        max_new_tokens (`int`):
            Tokens that the model may generate for an answer; they count as part of the length.
    """

    name: str
    max_new_tokens: int

    def sample(self, encoder: PromptEncoder, context_length: int, generator: np.random.Generator) -> TaskSample:
        """Return a question whose prompt and generated tokens together stay within `context_length`, as near as the
        family can.

        Raises:
            ValueError: if not even the smallest question fits.
        """
        ...


class UnitTask(ABC):
    """A task whose context is a number of pieces: sentences, documents, words. The number follows from the length.

    Attributes:
        name (`str`):
            Name in reports.
        max_new_tokens (`int`):
            Tokens that the model may generate for an answer.
        match (`str`):
            `"all"` or `"any"`, see [`TaskSample`].
        minimum_units (`int`):
            The smallest number of pieces.
    """

    name: str
    max_new_tokens: int
    match: Match = "all"
    minimum_units: int = 1

    @abstractmethod
    def draft(self, units: int, generator: np.random.Generator) -> TaskDraft:
        """Return a question whose context has `units` pieces. The same generator state must give the same question,
        and its length must grow with `units`.
        """

    def sample(self, encoder: PromptEncoder, context_length: int, generator: np.random.Generator) -> TaskSample:
        """Return the longest question that fits. As in RULER (2404.06654), prompt and generated tokens together stay
        within the length.

        Args:
            encoder ([`PromptEncoder`]):
                Tokenizer and template.
            context_length (`int`):
                Most tokens of prompt and answer together.
            generator (`np.random.Generator`):
                Source of all randomness.

        Raises:
            ValueError: if not even the smallest question fits; the message names the minimum length.
        """
        room = context_length - self.max_new_tokens
        seed = int(generator.integers(2**63))

        def measure(units: int) -> tuple[TaskDraft, str, list[int]]:
            draft = self.draft(units, np.random.default_rng(seed))
            text = encoder.wrap(draft.prompt, draft.answer_prefix)
            return draft, text, encoder.ids(text)

        length = len(measure(self.minimum_units)[2])
        if length > room:
            raise ValueError(
                f"a context_length of {context_length} tokens is too short for the task {self.name!r}: its smallest "
                f"prompt has {length} tokens and its answer {self.max_new_tokens}, so the minimum is "
                f"{length + self.max_new_tokens}"
            )
        units = _largest(lambda count: len(measure(count)[2]), self.minimum_units, length, room)
        draft, text, ids = measure(units)
        return TaskSample(text, ids, draft.expected, self.match, draft.detail)


def _largest(length_of: Callable[[int], int], smallest: int, length: int, room: int) -> int:
    """Return the largest count whose length is within `room`; lengths grow about linearly, so the mean slope leads."""
    low, step, high, first = smallest, max(8, smallest), None, length
    while high is None or high - low > 1:
        trial = low + step if high is None else min(low + step, high - 1)
        length = length_of(trial)
        if length <= room:
            # Aim a little below the line: overshooting costs more. Never more than threefold at once, for
            # counts whose first pieces add next to nothing.
            slope = max((length - first) / (trial - smallest), 0.01)
            low, step = trial, max(1, min(int(0.98 * (room - length) / slope), 2 * trial))
        else:
            high, step = trial, max(1, (trial - low) // 2)
    return low
