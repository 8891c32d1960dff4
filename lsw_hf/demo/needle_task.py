"""The needle task of the tiny world."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..evaluation.needle.task import NeedleFact
from .world import DEEDS, FACT_WORD, NAMES, QUESTION_WORD, STOP_WORD, TinyWorld


class TinyNeedleTask:
    """Facts that no training text contains, hidden in the world's scenery: `Yesterday Marlow sang .`, `Recall Marlow`,
    `sang`.

    A [`~lsw_hf.evaluation.needle.task.NeedleTask`]. All facts have the same form, so a distractor fact differs from
    the needle by its name alone; guessing one of the 64 deeds is right in 1.6 % of the cases.
    """

    name = "tiny world"
    separator = " "
    max_new_tokens = 1
    chance: float | None = 1 / len(DEEDS)

    def __init__(self) -> None:
        self.world = TinyWorld(evaluation=True)

    def sentences(self, generator: np.random.Generator) -> Iterator[str]:
        """Endless scenery."""
        while True:
            yield from self.world.filler(256, generator)

    def facts(self, generator: np.random.Generator, count: int) -> list[NeedleFact]:
        """`count` facts about different people, from the held-out pairs only."""
        names, deeds = self.world.facts(count, generator)
        return [
            NeedleFact(
                text=f"{FACT_WORD} {NAMES[name]} {DEEDS[deed]} {STOP_WORD}",
                question=f"{QUESTION_WORD} {NAMES[name]}",
                answer=DEEDS[deed],
            )
            for name, deed in zip(names, deeds, strict=True)
        ]

    def prompt(self, haystack: str, question: str) -> str:
        """Return the haystack followed by the question; the model's next word is its answer."""
        return f"{haystack}{self.separator}{question}"
