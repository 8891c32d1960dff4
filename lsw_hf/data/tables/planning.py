"""What is decided about a row before its table is drawn: length, format, columns, question types, order, a second
table.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .config import TableConfig
from .drawing import draw_table
from .rendering import Layout, TableFormat, table_layout
from .schema import ORDERED_KINDS, Column, TableSchema, random_schema
from .table import Table
from .token_costs import TokenCosts
from .vocabulary import HEADERS

RowOrder = Literal["drawn", "ascending", "descending", "swapped"]
_LINKED_SHARE = 0.25
_LEAST_LINKED_ROWS = 3


@dataclass(frozen=True)
class Plan:
    """One row, planned.

    Attributes:
        length (`int`):
            tokens of the whole row.
        table_format (`str`):
            how the table is written.
        schema ([`TableSchema`]):
            its columns.
        turn_types (`tuple[str, ...]`):
            question type of every turn.
        order (`str`):
            order of the rows; `"swapped"` is ascending but for two neighbors.
        sort_column (`int`, *optional*):
            column that `order` sorts by.
        link (`int`, *optional*):
            column that names rows of a second table.
    """

    length: int
    table_format: TableFormat
    schema: TableSchema
    turn_types: tuple[str, ...]
    order: RowOrder = "drawn"
    sort_column: int | None = None
    link: int | None = None

    def layout(self, header: bool) -> Layout:
        """How the table is written."""
        return table_layout(self.schema, self.table_format, header)


def draw_plan(config: TableConfig, draws: np.random.Generator) -> Plan:
    """Draws everything about a row that does not depend on its table."""
    low, high = config.span("length")
    length = int(np.exp(draws.uniform(np.log(low), np.log(high + 1))))
    table_format = config.formats[int(draws.integers(len(config.formats)))]
    language = config.languages[int(draws.integers(len(config.languages)))]
    schema = random_schema(draws, language) if config.schema is None else config.schema
    fewest, most = config.span("questions_per_table")
    num_questions = int(draws.integers(fewest, most + 1))
    types = config.question_types
    turn_types = tuple(types[place] for place in draws.integers(len(types), size=num_questions).tolist())
    plan = Plan(min(high, max(low, length)), table_format, schema, turn_types)
    ordered = [index for index in schema.asked_indices if schema.columns[index].kind in ORDERED_KINDS]
    if "monotone" in turn_types and ordered:
        order: RowOrder = ("drawn", "ascending", "descending", "swapped")[int(draws.integers(4))]
        plan = replace(plan, order=order, sort_column=ordered[int(draws.integers(len(ordered)))])
    return plan


def put_in_order(table: Table, plan: Plan, draws: np.random.Generator) -> Table:
    """Sorts the rows as the plan says."""
    if plan.order == "drawn" or plan.sort_column is None:
        return table
    rows = np.argsort(table.numbers[plan.sort_column], kind="stable")
    if plan.order == "descending":
        rows = rows[::-1]
    if plan.order == "swapped" and len(rows) > 3:
        values = table.numbers[plan.sort_column][rows]
        rising = np.flatnonzero(np.diff(values[: max(3, len(rows) // 2)]) > 0)
        if len(rising):
            place = int(rising[int(draws.integers(len(rising)))])
            rows[[place, place + 1]] = rows[[place + 1, place]]
    return table.in_order(rows)


def link_tables(plan: Plan, room: float, costs: TokenCosts, draws: np.random.Generator) -> tuple[Plan, Table, float]:
    """Draws a second table and gives the plan a column that names its rows.

    Args:
        plan ([`Plan`]):
            with a drawn schema.
        room (`float`):
            tokens for both tables; a quarter of them goes to the second.
        costs ([`TokenCosts`]):
            token estimates.
        draws (`np.random.Generator`):
            source of the draws.

    Returns:
        `tuple`: the plan with the new column, the second table, and its tokens.
    """
    language = plan.schema.language
    used = {column.name for column in plan.schema.columns}
    header = next(name for name in HEADERS[language]["link"] if name not in used)
    key = Column(header, "code", low=0, high=999_999, language=language)
    others = [column for column in random_schema(draws, language, (5, 6)).columns[1:] if column.name not in used]
    schema = TableSchema((key, *others[:3]), language=language)
    layout = table_layout(schema, plan.table_format)
    probe = draw_table(schema, 64, draws)
    price = float(costs.rows(probe, layout).mean())
    linked = draw_table(schema, max(_LEAST_LINKED_ROWS, int(_LINKED_SHARE * room / price)), draws)
    tokens = float(costs.rows(linked, layout).sum()) + sum(
        costs.added([text for text in (layout.head, layout.foot) if text])
    )
    link = Column(header, "words", tuple(linked.cells[0]), language=language)
    columns = (*plan.schema.columns, link)
    linked_plan = replace(plan, schema=replace(plan.schema, columns=columns), link=len(columns) - 1)
    return linked_plan, linked, tokens + 16
