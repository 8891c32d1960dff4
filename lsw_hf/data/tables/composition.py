"""From a table and its questions to one training row, measured once and filled up."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .config import RowFormat
from .filler import put_between, resize
from .questions.asking import Question
from .rendering import Layout
from .table import Table
from .token_costs import TokenCosts

_PADDING_WORDS = 2
# Characters before and after the padding paragraph which are tokenized with it, and how many tokens at either end may
# be others than in the whole text because the excerpt begins and ends there.
_REACH, _EDGE = 96, 4
# Rounds of filling up: a second one only where an excerpt was not tokenized as the whole text is.
_ROUNDS = 3


@dataclass(frozen=True)
class SecondTable:
    """A finished second table: its text, what it costs, what both tables are called, whether it is first."""

    text: str = ""
    tokens: float = 0.0
    titles: tuple[str, str] = ("", "")
    first: bool = False


@dataclass(frozen=True)
class Section:
    """Everything around the rows of a table.

    Attributes:
        layout ([`Layout`]):
            how the table is written.
        before, between, after (`Sequence[str]`): paragraphs before the table, between blocks of its rows, after it.
        second ([`SecondTable`]):
            the table that joins need, empty for other questions.
    """

    layout: Layout
    before: Sequence[str]
    between: Sequence[str]
    after: Sequence[str]
    second: SecondTable = field(default_factory=SecondTable)

    def text(self, table: Table) -> str:
        """Return the table with its paragraphs; each block of rows is a table of its own, with head and foot."""
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
    """Writes rows for one plan and knows what everything but the table costs.

    Args:
        costs ([`TokenCosts`]):
            the tokenizer.
        row_format (`str`):
            columns of the row, see [`TableConfig`].
        preamble (`str`):
            text above everything, may be empty.
        section ([`Section`]):
            layout and distracting paragraphs.
        words (`Sequence[str]`):
            words of a last paragraph that fills the row up; none for no such paragraph.
        joiner (`str`):
            between words.
        num_questions (`int`):
            turns of the dialogue.
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
        # A trainer ends a plain text with the end of text, and lets the tokenizer add its own special tokens to that.
        self._added = 1 + costs.special if row_format == "prompt_completion" else 0
        paragraphs = [*section.before, *section.between, *section.after]
        blocks = 1 + sum(1 for text in section.between if text)
        counted = sum(map(len, costs.encode([_stack([preamble, *paragraphs, *section.second.titles, "."])])))
        ends = sum(costs.added([text for text in (section.layout.head, section.layout.foot) if text]))
        self.fixed = counted + blocks * (ends + 3) + section.second.tokens + self._overhead(num_questions)

    def _overhead(self, num_questions: int) -> int:
        if self.row_format == "prompt_completion":
            return 1 + self._added
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
        """Write the row, tokenizes it once, and resizes the padding paragraph by what is missing.

        What the new paragraph changes is counted on an excerpt around it. Where the excerpt's tokens are not those of
        the whole text, the row is tokenized again: `num_tokens` is its true count in either case.
        """
        body = _stack([self.preamble, self.section.text(table)])
        padding = self.joiner.join(self.words[:_PADDING_WORDS])
        columns, text = self._columns(body, padding, questions)
        ids = self.costs.encode([text])[0]
        for _ in range(_ROUNDS if self.words else 0):
            count = self._length(ids)
            around = _around(text, body, padding, questions[0].text)
            resized, change = resize(self.costs, padding, length - count, self.words, self.joiner, around)
            if resized == padding:
                break
            old, new = self.costs.encode([put_between(paragraph, around) for paragraph in (padding, resized)])
            padding = resized
            columns, text = self._columns(body, padding, questions)
            if _is_all_that_changes(ids, old, new):
                return ComposedRow(columns, text, count + change, self.costs.unknown_share(text, ids))
            ids = self.costs.encode([text])[0]
        return ComposedRow(columns, text, self._length(ids), self.costs.unknown_share(text, ids))

    def _length(self, ids: Sequence[int]) -> int:
        return len(ids) + self._added

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


def _around(text: str, body: str, padding: str, question: str) -> tuple[str, str]:
    """Return what is around the padding paragraph in the written row."""
    tail = body[-_REACH:]
    start = text.find(f"{tail}\n\n{padding}")
    if start < 0:  # a chat template that rewrites its messages
        return tail, "\n\n" + question
    end = start + len(tail) + 2 + len(padding)
    return tail, text[end : end + _REACH]


def _is_all_that_changes(whole: Sequence[int], old: Sequence[int], new: Sequence[int]) -> bool:
    """Whether an excerpt that became `new` was tokenized in `whole` as it is by itself, as `old`.

    The ends of an excerpt may cut words, so they are left out: half of what `old` and `new` share on either side.
    """
    shorter = min(len(old), len(new))
    prefix = _num_equal(old[:shorter], new[:shorter])
    suffix = min(_num_equal(old[::-1][:shorter], new[::-1][:shorter]), shorter - prefix)
    if min(prefix, suffix) < 2 * _EDGE:
        return False
    tokens, inner = np.asarray(whole), np.asarray(old[prefix // 2 : len(old) - suffix // 2])
    starts = np.flatnonzero(tokens[: max(0, len(tokens) - len(inner) + 1)] == inner[0])
    return any(np.array_equal(tokens[start : start + len(inner)], inner) for start in starts.tolist())


def _num_equal(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two sequences of one length begin with together."""
    different = np.flatnonzero(np.asarray(first) != np.asarray(second))
    return int(different[0]) if len(different) else len(first)
