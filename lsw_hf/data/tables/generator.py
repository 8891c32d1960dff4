"""Rows of synthetic lengthy tables (SynL) at an exact number of tokens."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np

from .composition import Composition, SecondTable, Section
from .config import TableConfig
from .drawing import draw_table
from .filler import PREAMBLES, SENTENCES, TITLES, paragraph, words_of
from .planning import Plan, draw_plan, link_tables, put_in_order
from .questions.asking import Question, ask
from .rendering import render_table
from .table import Table
from .token_costs import TokenCosts

_PROBE_ROWS = 16
_QUESTION_ATTEMPTS = 50


class TableGenerator:
    """Makes rows of long synthetic tables with questions and answers, each at an exact length in tokens.

    LongSkywork ([arXiv 2406.00605](https://arxiv.org/abs/2406.00605)) fine-tunes on such tables of 2K to 100K tokens;
    its schemas, formats and templates are not known, the ones here are our choice.

    Args:
        tokenizer (`PreTrainedTokenizerBase`):
            The tokenizer lengths are counted with. `row_format="messages"` needs its chat template.
        config ([`TableConfig`], *optional*):
            What is made; every type, format and length of the paper's range by default.
        seed (`int`, *optional*, defaults to 0):
            Row `i` is a function of seed, epoch and `i` alone, whatever was made before it.

    Raises:
        ValueError: the tokenizer has no chat template but rows are messages.

    Example:

    ```python
    >>> generator = TableGenerator(tokenizer, TableConfig(length=4_096, formats=("markdown",)))
    >>> row = generator.sample(0)
    >>> row["num_tokens"], row["types"], row["depths"]
    (4096, ['cell'], [[0.71]])

    ```
    """

    def __init__(self, tokenizer: Any, config: TableConfig | None = None, *, seed: int = 0) -> None:
        self.config = TableConfig() if config is None else config
        self.seed = seed
        self.epoch = 0
        self.costs = TokenCosts(tokenizer)
        self._next_index = 0
        if self.config.row_format != "prompt_completion" and getattr(tokenizer, "chat_template", None) is None:
            raise ValueError(
                f"row_format={self.config.row_format!r} needs a tokenizer with a chat template: set "
                f"tokenizer.chat_template, or use row_format='prompt_completion'."
            )

    def sample(self, index: int) -> dict[str, Any]:
        """Row number `index` of this seed and epoch.

        Returns:
            `dict`: `messages` (or `prompt` and `completion`), `families`, `types`, `templates`, `evidence` and
            `depths` (a list per question), `format`, `language`, `num_rows`, `num_columns`, `num_tokens` and `index`.

        Raises:
            ValueError: a length that not even the smallest table fits; keys that do not suffice for the length; words
                the tokenizer does not know.
        """
        plan_draws, row_draws, question_draws, text_draws = (
            np.random.default_rng([self.seed, self.epoch, index, purpose]) for purpose in range(4)
        )
        plan = draw_plan(self.config, plan_draws)
        plan, linked, composition = self._surroundings(plan, text_draws)
        table, costs = self._oversized(plan, row_draws, plan.length - composition.fixed, linked)
        question_seed = int(question_draws.integers(1 << 62))
        excess = 0.0
        for _ in range(4):
            chosen, questions, estimate = self._fit(plan, composition, table, costs, question_seed, excess)
            row = composition.compose(chosen, questions, plan.length)
            if row.num_tokens <= plan.length:
                break
            excess = row.num_tokens - estimate
        else:
            raise ValueError(
                f"Row {index} could not be brought down to {plan.length} tokens; it has {row.num_tokens}."
            )
        self._check_unknown(row.unknown_share, row.text)
        return row.columns | self._metadata(plan, chosen, questions) | {"num_tokens": row.num_tokens, "index": index}

    def generate(self, num_samples: int, start: int = 0) -> list[dict[str, Any]]:
        """Rows `start` to `start + num_samples - 1`."""
        return [self.sample(index) for index in range(start, start + num_samples)]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield an endless stream of rows, from where it stopped last or from a loaded state."""
        while True:
            row = self.sample(self._next_index)
            self._next_index += 1
            yield row

    def set_epoch(self, epoch: int) -> None:
        """Other rows, equally reproducible; the stream starts over."""
        self.epoch, self._next_index = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """How far the stream has come."""
        return {"seed": self.seed, "epoch": self.epoch, "next_index": self._next_index}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on where `state_dict` was taken."""
        self.seed, self.epoch, self._next_index = state["seed"], state["epoch"], state["next_index"]

    def _surroundings(self, plan: Plan, draws: np.random.Generator) -> tuple[Plan, Table | None, Composition]:
        """Everything that is written besides the table itself."""
        config, language = self.config, plan.schema.language
        preamble = config.preamble
        if preamble is None:
            preamble = PREAMBLES[language][int(draws.integers(len(PREAMBLES[language])))]
        sentences = SENTENCES[language] if config.distractors is None else config.distractors
        joiner = "" if language == "zh" and config.distractors is None else " "
        counts = {"before": 1, "between": config.distractor_blocks, "after": 1}
        room = config.distractor_share * plan.length / sum(counts[place] for place in config.distractor_places)
        texts: dict[str, list[str]] = {place: [] for place in counts}
        for place in config.distractor_places if room else ():
            texts[place] = [paragraph(self.costs, sentences, room, joiner, draws) for _ in range(counts[place])]
        linked, second = None, SecondTable()
        if "join" in plan.turn_types:
            plan, linked, tokens = link_tables(
                plan, 0.9 * (1 - config.distractor_share) * plan.length, self.costs, draws
            )
            text = render_table(linked, plan.table_format)
            second = SecondTable(text, tokens, TITLES[language], first=bool(draws.integers(2)))
        section = Section(plan.layout(config.header), texts["before"], texts["between"], texts["after"], second)
        words = words_of(sentences, joiner) if config.pad_to_length else []
        return (
            plan,
            linked,
            Composition(self.costs, config.row_format, preamble, section, words, joiner, len(plan.turn_types)),
        )

    def _oversized(
        self, plan: Plan, draws: np.random.Generator, room: float, linked: Table | None
    ) -> tuple[Table, np.ndarray]:
        """Return a table with more rows than will fit, and what its first rows cost together."""
        layout = plan.layout(self.config.header)
        keep_key = None if self.config.split == "all" else self._in_split
        keep_row = self.config.row_filter
        probe = draw_table(plan.schema, _PROBE_ROWS, draws, keep_key=keep_key, keep_row=keep_row)
        if probe.num_rows == 0:
            raise ValueError("No row passes row_filter and split: loosen them or give the columns more values.")
        price = float(self.costs.rows(probe, layout).mean())
        wanted = int(1.1 * max(room, 0) / price) + _PROBE_ROWS
        table = draw_table(plan.schema, wanted, draws, keep_key=keep_key, keep_row=keep_row)
        table = replace(put_in_order(table, plan, draws), linked=linked, link=plan.link)
        return table, np.concatenate([[0.0], np.cumsum(self.costs.rows(table, layout))])

    def _in_split(self, key: str) -> bool:
        return (crc32(key.encode()) % 8 == 0) == (self.config.split == "eval")

    def _fit(
        self, plan: Plan, composition: Composition, table: Table, costs: np.ndarray, question_seed: int, excess: float
    ) -> tuple[Table, list[Question], float]:
        """As many rows as fit beside their own questions, and the tokens that all of it should take."""
        price = costs[-1] / table.num_rows
        asked = 0.0
        num_rows = 0
        for attempt in range(6):
            room = plan.length - composition.fixed - composition.reserve(plan.length) - excess - asked - attempt
            num_rows = int(np.searchsorted(costs, room, side="right")) - 1
            if num_rows < 2:
                least = int(np.ceil(composition.fixed + composition.reserve(plan.length) + asked + 2 * price)) + 1
                raise ValueError(
                    f"length={plan.length} is too small for {len(plan.turn_types)} questions on the smallest "
                    f"{plan.table_format} table: at least {least} tokens are needed."
                )
            questions = self._questions(plan, table.first_rows(num_rows), question_seed)
            before, asked = asked, composition.price(questions)
            if asked <= before and num_rows < table.num_rows:
                break
        room = plan.length - composition.fixed - composition.reserve(plan.length) - excess - asked
        if num_rows == table.num_rows and room - costs[-1] > 0.005 * plan.length:
            raise ValueError(
                f"length={plan.length} takes about {int(room / price)} rows, but only {table.num_rows} rows with "
                f"different keys {plan.schema.key} exist: give the key more values, add columns, or raise "
                f"distractor_share."
            )
        return table.first_rows(num_rows), questions, composition.fixed + costs[num_rows] + asked

    def _questions(self, plan: Plan, table: Table, seed: int) -> list[Question]:
        draws = np.random.default_rng(seed)
        others = [name for name in self.config.question_types if name != "join" or table.linked is not None]
        questions: list[Question] = []
        seen: set[str] = set()
        for wanted in plan.turn_types:
            for attempt in range(_QUESTION_ATTEMPTS):
                # A table that cannot carry a type, like a sum without a number column, gets another one.
                kind = wanted if attempt < 3 or not others else others[int(draws.integers(len(others)))]
                question = ask(table, kind, draws, self.config.templates)
                if question is not None and question.text not in seen:
                    break
            else:
                continue
            seen.add(question.text)
            questions.append(question)
        if not questions:
            raise ValueError(
                f"No question of the types {', '.join(self.config.question_types)} fits a table of {table.num_rows} "
                f"rows and columns {[column.name for column in plan.schema.columns]}: add columns of other kinds or "
                f"other types."
            )
        return questions

    def _check_unknown(self, share: float, text: str) -> None:
        if share <= self.config.max_unknown_share:
            return
        lost = self.costs.unknown(sorted({character for character in text if not character.isspace()}))
        found = self.costs.unknown(sorted(set(text.split()))) or lost
        raise ValueError(
            f"The tokenizer does not know {share:.1%} of the row, among it {found[:8]}: use words it knows, another "
            f"format or preamble, or raise max_unknown_share (now {self.config.max_unknown_share})."
        )

    def _metadata(self, plan: Plan, table: Table, questions: list[Question]) -> dict[str, Any]:
        return {
            "families": [question.family for question in questions],
            "types": [question.type for question in questions],
            "templates": [question.template for question in questions],
            "evidence": [list(question.evidence) for question in questions],
            "linked_evidence": [list(question.linked_evidence) for question in questions],
            "depths": [question.depths(table.num_rows) for question in questions],
            "format": plan.table_format,
            "language": plan.schema.language,
            "length": plan.length,
            "num_rows": table.num_rows,
            "num_columns": len(plan.schema.columns),
        }
