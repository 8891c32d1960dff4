"""The families of questions about a table, and how one is asked.

A new question type is a function in the module of its family, its line in the dictionary at the end of that module,
and its paraphrases in `templates.py` and `templates_zh.py`. A new family is such a module and a line in `_FAMILIES`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..table import Table
from .aggregation import AGGREGATION
from .found import Found
from .reasoning import REASONING
from .retrieval import RETRIEVAL
from .templates import TEMPLATES

Family = Literal["retrieval", "reasoning", "global"]


@dataclass(frozen=True)
class Question:
    """A question with its answer.

    Attributes:
        text, answer (`str`): as they are in the row.
        family, type (`str`): what kind of question it is.
        evidence (`tuple[int, ...]`):
            rows of the table the answer comes from; empty when it takes the whole table.
        linked_evidence (`tuple[int, ...]`):
            rows of the linked table, for two hops.
        template (`int`):
            which paraphrase was used.
    """

    text: str
    answer: str
    family: Family
    type: str
    evidence: tuple[int, ...]
    linked_evidence: tuple[int, ...]
    template: int

    def depths(self, num_rows: int) -> list[float]:
        """Relative place of each evidence row, 0 for the first row and 1 for the last."""
        return [row / max(num_rows - 1, 1) for row in self.evidence]


Builder = Callable[[Table, np.random.Generator], Found | None]
_FAMILIES: dict[Family, Mapping[str, Builder]] = {
    "retrieval": RETRIEVAL,
    "reasoning": REASONING,
    "global": AGGREGATION,
}
QUESTION_TYPES: dict[str, tuple[Family, Builder]] = {
    name: (family, builder) for family, builders in _FAMILIES.items() for name, builder in builders.items()
}
"""Every question type: its family and the function that finds slots and evidence in a table."""


def ask(
    table: Table,
    question_type: str,
    generator: np.random.Generator,
    templates: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> Question | None:
    """Ask one question of a type about a table; `None` if the table does not allow it (too few columns of a kind).

    Args:
        table ([`Table`]):
            what is asked about.
        question_type (`str`):
            a key of `QUESTION_TYPES`.
        generator (`np.random.Generator`):
            chooses rows, columns and the paraphrase.
        templates (`dict`, *optional*):
            `(question, answer)` texts with slots by type, instead of the built-in
            paraphrases.
    """
    family, builder = QUESTION_TYPES[question_type]
    found = builder(table, generator)
    if found is None:
        return None
    own = {} if templates is None else templates
    choices = own.get(question_type, TEMPLATES[table.schema.language][question_type])
    template = int(generator.integers(len(choices)))
    try:
        question, answer = (text.format(**found.slots) for text in choices[template])
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"A template of {question_type!r} uses the slot {error}, which it does not have: choose among "
            f"{sorted(found.slots)}."
        ) from error
    evidence = (tuple(found.evidence), tuple(found.linked_evidence))
    return Question(question, answer, family, question_type, *evidence, template)
