"""What text costs in tokens, estimated from cells that are tokenized once and remembered."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .rendering import Layout
from .schema import Column
from .table import Table

_LISTED_DOMAIN = 4096
_PROBES = 32
_CONTEXT = 2


class TokenCosts:
    """Token counts of texts, and estimates for tables that are not written yet.

    A cell costs what it adds between the two characters before and after it, so that tokens which reach across its
    borders are counted where they belong. Domains of at most 4,096 cells are tokenized whole, larger ones by 32 probes
    for every length of their cells. Estimates depend on the tokenizer and the column only, never on earlier tables.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            Anything that maps a list of texts to `input_ids` when called with `add_special_tokens=False`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._texts: dict[tuple[str, str], int] = {}
        self._unknown: dict[str, bool] = {}
        self._columns: dict[tuple, Callable[[np.ndarray], np.ndarray]] = {}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, no special tokens added."""
        # verbose=False: texts longer than model_max_length are the purpose here, not an accident.
        options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        return self.tokenizer(list(texts), **options)["input_ids"] if texts else []

    @cached_property
    def special(self) -> int:
        """Tokens that the tokenizer adds to a text by itself, such as one at the beginning."""
        return len(self.tokenizer(["."], verbose=False)["input_ids"][0]) - self.count(".")

    def count(self, text: str) -> int:
        """Tokens of one text."""
        return len(self.encode([text])[0])

    def unknown_share(self, text: str, ids: Sequence[int]) -> float:
        """Share of a text that is lost on the tokenizer: unknown tokens among `ids`, its tokens; of a tokenizer that
        has no such token and leaves out what it does not know, the characters left out.
        """
        tokenizer = self.tokenizer
        if getattr(tokenizer, "unk_token_id", None) is None:
            lost = set(self.unknown([character for character in set(text) if not character.isspace()]))
            return sum(text.count(character) for character in lost) / max(len(text), 1)
        # Some tokenizers, GPT-2's among them, have one token for unknown text and for the end of a turn.
        written = text.count(tokenizer.unk_token)
        unknown = int(np.count_nonzero(np.asarray(ids) == tokenizer.unk_token_id))
        return max(0, unknown - written) / max(len(ids), 1)

    def unknown(self, texts: Sequence[str]) -> list[str]:
        """Those texts which contain something that the tokenizer does not know; remembered."""
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        missing = [text for text in texts if text not in self._unknown]
        for text, ids in zip(missing, self.encode(missing), strict=True):
            self._unknown[text] = unknown in ids or not ids
        return [text for text in texts if self._unknown[text]]

    def added(self, texts: Sequence[str], before: str = "\n") -> list[int]:
        """Tokens each text adds after `before`; remembered, so meant for texts that come again."""
        missing = list(dict.fromkeys(text for text in texts if (before, text) not in self._texts))
        if missing:
            base, *counts = map(len, self.encode([before, *(before + text for text in missing)]))
            self._texts.update({(before, text): count - base for text, count in zip(missing, counts, strict=True)})
        return [self._texts[before, text] for text in texts]

    def rows(self, table: Table, layout: Layout) -> np.ndarray:
        """Estimated tokens of every row of a table, as floats."""
        affixes = layout.affixes
        fixed = sum(
            self.added([affix], _end(before))[0] for affix, before in zip(affixes, ("\n", *affixes[:-1]), strict=True)
        )
        total = np.full(table.num_rows, float(fixed))
        for place, (column, numbers) in enumerate(zip(table.schema.columns, table.numbers, strict=True)):
            writer = layout.writers[place]
            cost = self._column(column, writer, _end(affixes[place]) or "\n", affixes[place + 1][:_CONTEXT])
            total += cost(numbers)
        return total

    def _column(
        self, column: Column, writer: Callable[[str], str] | None, before: str, after: str
    ) -> Callable[[np.ndarray], np.ndarray]:
        name = (column.kind, column.values, column.bounds, column.language, writer, before, after)
        if name not in self._columns:
            self._columns[name] = self._measure(column, writer, before, after)
        return self._columns[name]

    def _measure(
        self, column: Column, writer: Callable[[str], str] | None, before: str, after: str
    ) -> Callable[[np.ndarray], np.ndarray]:
        low, high = column.bounds
        if column.size <= _LISTED_DOMAIN:
            costs = self._cells(column.texts(np.arange(low, high + 1)), writer, before, after)
            return lambda numbers: costs[numbers - low]
        generator = np.random.default_rng(column.size)
        probes = low + generator.integers(0, column.size, 4 * _PROBES)
        lengths = np.array([len(text) for text in column.texts(probes)])
        if column.kind not in ("id", "integer", "decimal", "date"):
            mean = float(self._cells(column.texts(probes[:_PROBES]), writer, before, after).mean())
            return lambda numbers: np.full(len(numbers), mean)
        means = np.zeros(lengths.max() + 1)
        for length in np.unique(lengths):
            chosen = probes[lengths == length][:_PROBES]
            means[length] = self._cells(column.texts(chosen), writer, before, after).mean()
        if not (means > 0).any():
            examples = column.texts(probes[:3])
            raise ValueError(
                f"The tokenizer does not know what is in the column {column.name!r}, such as {examples}, and writes "
                "nothing for it: use words it knows, another language, or another tokenizer."
            )
        means[means == 0] = means[means > 0].mean()
        digits = _written_length(column)
        return lambda numbers: means[np.minimum(digits(numbers), len(means) - 1)]

    def _cells(self, texts: list[str], writer: Callable[[str], str] | None, before: str, after: str) -> np.ndarray:
        written = texts if writer is None else [writer(text) for text in texts]
        counts = self.encode([before + after, *(before + text + after for text in written)])
        return np.array([len(count) - len(counts[0]) for count in counts[1:]], dtype=float)


def _end(affix: str) -> str:
    return affix[-_CONTEXT:]


def _written_length(column: Column) -> Callable[[np.ndarray], np.ndarray]:
    """Characters of a number as this column writes it, without writing it."""
    if column.kind == "date":
        return lambda numbers: np.full(len(numbers), 10)
    smallest, extra = (100, 1) if column.kind == "decimal" else (1, 0)

    def length(numbers: np.ndarray) -> np.ndarray:
        digits = np.floor(np.log10(np.maximum(np.abs(numbers), smallest))).astype(int) + 1
        return digits + extra + (numbers < 0)

    return length
