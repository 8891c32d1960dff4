"""From a table and its questions to one training row, measured once and filled up."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .config import RowFormat
from .filler import resize
from .questions import Question
from .rendering import Layout
from .table import Table
from .token_costs import TokenCosts

_PADDING_WORDS = 2


@dataclass(frozen=True)
class SecondTable:
    """A finished second table: its text, what it costs, what both tables are called, whether it stands first."""

    text: str = ""
    tokens: float = 0.0
    titles: tuple[str, str] = ("", "")
    first: bool = False


@dataclass(frozen=True)
class Section:
    """
    Everything around the rows of a table.

    Attributes:
        layout ([`Layout`]): how the table is written.
        before, between, after (`Sequence[str]`): paragraphs before the table, between blocks of its rows, after it.
        second ([`SecondTable`]): the table that joins need, empty for other questions.
    """

    layout: Layout
    before: Sequence[str]
    between: Sequence[str]
    after: Sequence[str]
    second: SecondTable = field(default_factory=SecondTable)

    def text(self, table: Table) -> str:
        """The table with its paragraphs; each block of rows is a table of its own, with head and foot."""
        rows = self.layout.rows(table.cells)
        paragraphs = [text for text in self.between if text][: max(len(rows) - 1, 0)]
        borders = [len(rows) * block // (len(paragraphs) + 1) for block in range(len(paragraphs) + 2)]
        blocks = []
        for block, paragraph in enumerate([*paragraphs, ""]):
            blocks.append(self.layout.head + "".join(rows[borders[block] : borders[block + 1]]) + self.layout.foot)
            blocks.append(paragraph)
        second = self.second
        if not second.text:
            return _stack([*self.before, *blocks, *self.after])
        main, linked = [second.titles[0], *blocks], [second.titles[1], second.text]
        return _stack([*self.before, *(linked + main if second.first else main + linked), *self.after])


@dataclass(frozen=True)
class ComposedRow:
    """A finished row: its dataset columns, the whole text, its tokens, the share of unknown ones."""

    columns: dict[str, Any]
    text: str
    num_tokens: int
    unknown_share: float


def _stack(parts: Sequence[str]) -> str:
    return "\n\n".join(part.rstrip("\n") for part in parts if part)


class Composition:
    """
    Writes rows for one plan and knows what everything but the table costs.

    Args:
        costs ([`TokenCosts`]): the tokenizer.
        row_format (`str`): columns of the row, see [`TableConfig`].
        preamble (`str`): text above everything, may be empty.
        section ([`Section`]): layout and distracting paragraphs.
        words (`Sequence[str]`): words of a last paragraph that fills the row up; none for no such paragraph.
        joiner (`str`): between words.
        num_questions (`int`): turns of the dialogue.
    """

    def __init__(
        self,
        costs: TokenCosts,
        row_format: RowFormat,
        preamble: str,
        section: Section,
        words: Sequence[str],
        joiner: str,
        num_questions: int,
    ) -> None:
        self.costs = costs
        self.row_format = row_format
        self.preamble = preamble
        self.section = section
        self.joiner = joiner
        self.words = words
        paragraphs = [*section.before, *section.between, *section.after]
        blocks = 1 + sum(1 for text in section.between if text)
        counted = sum(map(len, costs.encode([_stack([preamble, *paragraphs, *section.second.titles, "."])])))
        ends = sum(costs.added([text for text in (section.layout.head, section.layout.foot) if text]))
        self.fixed = counted + blocks * (ends + 3) + section.second.tokens + self._overhead(num_questions)

    def _overhead(self, num_questions: int) -> int:
        if self.row_format == "prompt_completion":
            return 2
        messages = [{"role": role, "content": "."} for _ in range(num_questions) for role in ("user", "assistant")]
        texts = self._rendered(messages)
        return self.costs.count(texts) - 2 * num_questions * self.costs.count(".")

    def _rendered(self, messages: list[dict[str, str]]) -> str:
        return self.costs.tokenizer.apply_chat_template(messages, tokenize=False)

    def reserve(self, length: int) -> int:
        """Tokens kept free for the padding paragraph, which absorbs what estimates miss."""
        return 12 + length // 250 if self.words else 0

    def price(self, questions: Sequence[Question]) -> int:
        """Tokens of all questions and answers."""
        return sum(
            map(len, self.costs.encode([text for question in questions for text in (question.text, question.answer)]))
        )

    def compose(self, table: Table, questions: Sequence[Question], length: int) -> ComposedRow:
        """Writes the row, tokenises it once, and resizes the padding paragraph by what is missing."""
        body = _stack([self.preamble, self.section.text(table)])
        padding = self.joiner.join(self.words[:_PADDING_WORDS])
        row = self._measured(body, padding, questions)
        if not self.words:
            return row
        around = ("\n\n", "\n\n" + questions[0].text)
        padding, change = resize(self.costs, padding, length - row.num_tokens, self.words, self.joiner, around)
        columns, text = self._columns(body, padding, questions)
        return ComposedRow(columns, text, row.num_tokens + change, row.unknown_share)

    def _measured(self, body: str, padding: str, questions: Sequence[Question]) -> ComposedRow:
        columns, text = self._columns(body, padding, questions)
        ids = np.asarray(self.costs.encode([text])[0])
        unknown = getattr(self.costs.tokenizer, "unk_token_id", None)
        share = 0.0 if unknown is None else float(np.count_nonzero(ids == unknown)) / max(len(ids), 1)
        ended = self.row_format == "prompt_completion"
        return ComposedRow(columns, text, len(ids) + ended, share)

    def _columns(self, body: str, padding: str, questions: Sequence[Question]) -> tuple[dict[str, Any], str]:
        first = _stack([body, padding, questions[0].text])
        if self.row_format == "prompt_completion":
            prompt, completion = first + "\n", questions[0].answer
            return {"prompt": prompt, "completion": completion}, prompt + completion
        messages = []
        for turn, question in enumerate(questions):
            messages.append({"role": "user", "content": question.text if turn else first})
            messages.append({"role": "assistant", "content": question.answer})
        text = self._rendered(messages)
        if self.row_format == "messages":
            return {"messages": messages}, text
        return {"prompt": messages[:-1], "completion": messages[-1:]}, text
