"""What a question about a table is, and which kinds there are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .retrieval import RETRIEVAL
from .schema import Table
from .templates import TEMPLATES

Family = Literal["retrieval", "reasoning", "global"]


@dataclass(frozen=True)
class Question:
    """
    A question with its answer.

    Attributes:
        text, answer (`str`): as they stand in the row.
        family, type (`str`): what kind of question it is.
        evidence (`tuple[int, ...]`): rows of the table the answer comes from; empty when it takes the whole table.
        template (`int`): which paraphrase was used.
    """

    text: str
    answer: str
    family: Family
    type: str
    evidence: tuple[int, ...]
    template: int

    def depths(self, num_rows: int) -> list[float]:
        """Relative place of each evidence row, 0 for the first row and 1 for the last."""
        return [row / max(num_rows - 1, 1) for row in self.evidence]


QUESTION_TYPES: dict[str, tuple[Family, Callable]] = {
    name: ("retrieval", builder) for name, builder in RETRIEVAL.items()
}
"""Every question type: its family and the function that finds slots and evidence in a table."""


def ask(
    table: Table,
    question_type: str,
    generator: np.random.Generator,
    templates: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> Question | None:
    """
    One question of a type about a table, or `None` if this table cannot carry it (too few columns of a kind).

    Args:
        table ([`Table`]): what is asked about.
        question_type (`str`): a key of `QUESTION_TYPES`.
        generator (`np.random.Generator`): chooses rows, columns and the paraphrase.
        templates (`dict`, *optional*): `(question, answer)` texts with slots by type, instead of the built-in
            paraphrases.
    """
    family, builder = QUESTION_TYPES[question_type]
    found = builder(table, generator)
    if found is None:
        return None
    slots, evidence = found
    own = templates is not None and question_type in templates
    choices = templates[question_type] if own else TEMPLATES[table.schema.language][question_type]
    template = int(generator.integers(len(choices)))
    question, answer = choices[template]
    return Question(question.format(**slots), answer.format(**slots), family, question_type, tuple(evidence), template)
