"""Writes `docs/reference/table_questions.md`: every format and every question type, rendered.

Run it after changing either; a test compares.

python docs/make_tables_page.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lsw_hf.data.tables import FORMATS, Column, Table, TableSchema, render_table
from lsw_hf.data.tables.drawing import draw_table
from lsw_hf.data.tables.questions.asking import QUESTION_TYPES, Question, ask
from lsw_hf.data.tables.vocabulary import CATEGORIES

PAGE = Path(__file__).parent / "reference" / "table_questions.md"
FENCES = {"jsonl": "json", "html": "html", "latex": "latex", "yaml": "yaml", "markdown": "markdown"}
INTRODUCTION = """# Table formats and questions

Long-context fine-tuning rows from tables that nobody had to write: one table (two for joins) of 2,048 to 102,400
tokens and more, questions about it, and answers the generator computed. LongSkywork
([arXiv 2406.00605](https://arxiv.org/abs/2406.00605)) names three families: retrieval, reasoning in steps, and
questions that need the whole table. Its schemas, formats and templates are not published; those below are ours.

```python
from transformers import AutoTokenizer
from lsw_hf import TableConfig, TableGenerator

tokenizer = AutoTokenizer.from_pretrained("my-model")
generator = TableGenerator(tokenizer, TableConfig(length=(2_048, 4_096), languages=("en", "zh")), seed=0)
row = generator.sample(0)
print(sorted(row))
```

```text
['depths', 'evidence', 'families', 'format', 'index', 'language', 'length', 'linked_evidence', 'messages', ...]
```

`lsw-hf tables --tokenizer my-model --num-samples 2000 --output tables/` writes parquet files and a dataset card: the
guide is [Tables](../guides/tables.md). This page is written by `python docs/make_tables_page.py`.
"""


def schema(language: str) -> TableSchema:
    """The columns of the examples: one of every kind that questions treat differently."""
    names = {
        "en": ("ticket", "customer", "city", "status", "date", "quantity", "price"),
        "zh": ("工单号", "客户", "城市", "状态", "日期", "数量", "价格"),
    }[language]
    kinds = ("id", "name", "city", "category", "date", "integer", "decimal")
    columns = [
        Column(name, kind, CATEGORIES[language][name] if kind == "category" else (), language=language)
        for name, kind in zip(names, kinds, strict=True)
    ]
    return TableSchema(tuple(columns), language=language)


def with_link(table: Table, draws: np.random.Generator) -> Table:
    """The table with a column that names rows of a second one, for joins."""
    language = table.schema.language
    header, place, floor = ("supplier", "city", "employees") if language == "en" else ("供应商", "城市", "人数")
    columns = (
        Column(header, "code", language=language),
        Column(place, "city", language=language),
        Column(floor, "integer", low=3, high=900),
    )
    second = draw_table(TableSchema(columns, language=language), 4, draws)
    link = Column(header, "words", tuple(second.cells[0]))
    numbers = draws.integers(0, 4, table.num_rows)
    return replace(
        table,
        schema=replace(table.schema, columns=(*table.schema.columns, link)),
        numbers=(*table.numbers, numbers),
        cells=(*table.cells, link.texts(numbers)),
        linked=second,
        link=len(table.schema.columns),
    )


def one_question(table: Table, kind: str, draws: np.random.Generator) -> Question:
    """The first question of a kind that the table can carry."""
    for _ in range(200):
        question = ask(table, kind, draws)
        if question is not None:
            return question
    raise ValueError(f"The example table cannot carry a question of type {kind!r}.")


def fenced(text: str, language: str = "text") -> str:
    """A code block."""
    return f"```{language}\n{text.rstrip()}\n```\n"


def make_page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for language, title in (("en", "English"), ("zh", "Chinese")):
        draws = np.random.default_rng(7)
        table = draw_table(schema(language), 24, draws).first_rows(20)
        parts.append(f"## Formats, {title}\n")
        for table_format in FORMATS:
            text = render_table(table.first_rows(3), table_format)
            parts.append(f"### `{table_format}`\n\n{fenced(text, FENCES.get(table_format, 'text'))}")
        parts.append(f"## Questions, {title}\n\nAsked about these two tables:\n")
        linked = with_link(table, draws)
        parts.append(fenced(f"{render_table(linked, 'csv')}\n{render_table(linked.linked, 'csv')}"))
        for kind, (family, builder) in QUESTION_TYPES.items():
            about = linked if kind == "join" else table
            # By its own name: a new question must not change the examples of the others.
            question = one_question(about, kind, np.random.default_rng(list(kind.encode())))
            summary = (builder.__doc__ or "").split("\n")[0]
            answer = "\n>\n".join(f"> **{line}**" for line in question.answer.split("\n"))
            body = f"> {question.text}\n>\n{answer}"
            parts.append(f"### `{kind}` ({family})\n\n{summary}\n\n{body}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
    print(f"wrote {PAGE}")
