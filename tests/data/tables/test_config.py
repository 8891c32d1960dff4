"""What a user may set, and what is said when a setting cannot be."""

import numpy as np
import pytest

from lsw_hf.data.tables import FORMATS, Column, Table, TableConfig, TableSchema, render_table
from lsw_hf.data.tables.drawing import draw_table
from lsw_hf.data.tables.schema import random_schema

PAIR = (Column("name", "words", ("a", "b")), Column("value", "integer"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 8}, "length must be at least 16 tokens or questions, low before high, got"),
        ({"length": (5_000, 2_000)}, "low before high"),
        ({"length": 4096.0}, "length must be an integer or a pair of them, got 4096.0"),
        ({"length": (16, 20, 30)}, r"length must be an integer or a pair of them, got \(16, 20, 30\)"),
        ({"questions_per_table": "3"}, "questions_per_table must be an integer or a pair of them, got '3'"),
        ({"questions_per_table": 0}, "questions_per_table must be at least 1"),
        ({"question_types": ("guess",)}, "question_types must contain some of cell, row, .*guess"),
        ({"formats": ()}, "formats must contain some of markdown, csv"),
        ({"formats": ("excel",)}, "formats must contain some of .*excel"),
        ({"languages": ("fr",)}, "languages must contain some of en, zh"),
        ({"split": "test"}, "split must be one of all, train, eval, got 'test'"),
        ({"row_format": "text"}, "row_format must be one of messages, prompt_completion, conversational"),
        (
            {"row_format": "prompt_completion", "questions_per_table": 2},
            "has one question: set questions_per_table=1",
        ),
        ({"distractor_share": 0.95}, r"distractor_share must lie in \[0, 0.9\], got 0.95"),
        ({"distractor_places": ("inside",)}, "distractor_places must contain some of before, between, after"),
        ({"distractors": ()}, "set distractor_share=0 and pad_to_length=False"),
        ({"schema": TableSchema(PAIR), "question_types": ("join",)}, "'join' draws two tables of its own"),
        ({"templates": {"guess": []}}, r"templates are given for \['guess'\]: the question types are"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TableConfig(**settings)


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ((PAIR[0],), {}, "at least two columns, got"),
        ((PAIR[0], PAIR[0]), {}, "Column names must differ"),
        (
            PAIR,
            {"key": ("other",)},
            r"Key columns \['other'\] are not in the schema: choose among \['name', 'value'\]",
        ),
        (PAIR, {"key": ("name", "value")}, "leave at least one to ask for"),
        (PAIR, {"asked": ("name",)}, r"Asked columns \['name'\] are not columns beside the key"),
        ((Column("n", "integer", distinct=3), PAIR[0]), {}, r"Key columns \['n'\] cannot be limited by distinct"),
    ],
)
def test_bad_schemas(columns, settings, message):
    with pytest.raises(ValueError, match=message):
        TableSchema(columns, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "x", "kind": "money"}, "Unknown kind 'money' of column 'x': use one of id, name, city"),
        ({"name": " ", "kind": "id"}, "has no name: give it a header"),
        ({"name": "x", "kind": "words"}, "needs values, a tuple of its possible cells"),
        ({"name": "x", "kind": "words", "values": ("a", "a")}, "lists the same value twice"),
        ({"name": "x", "kind": "id", "language": "fr"}, "Unknown language 'fr' of column 'x'"),
        ({"name": "x", "kind": "integer", "low": 5, "high": 4}, "low=5 above high=4"),
        (
            {"name": "x", "kind": "words", "values": ("", "a")},
            "values of column 'x' must be a tuple of texts, none of them empty",
        ),
        ({"name": "x", "kind": "words", "values": "ab"}, "must be a tuple of texts, none of them empty, got 'ab'"),
        ({"name": "x", "kind": "integer", "low": 1.5}, "low of column 'x' must be an integer, got 1.5"),
        ({"name": "x", "kind": "integer", "distinct": "3"}, "distinct of column 'x' must be an integer, got '3'"),
        ({"name": "x", "kind": "city", "high": 500}, "low=0 and high=500 of column 'x' must lie between 0 and 69"),
        ({"name": "x", "kind": "date", "high": 10**7}, "high=10000000 of column 'x' must lie between"),
        (
            {"name": "x", "kind": "integer", "high": 2**70},
            "must lie between -1000000000000 and 1000000000000 for kind",
        ),
        (
            {"name": "x", "kind": "words", "values": ("a",), "distinct": 2},
            "distinct=2 of column 'x' must lie between 1 and 1",
        ),
    ],
)
def test_bad_columns(settings, message):
    with pytest.raises(ValueError, match=message):
        Column(**settings)


@pytest.mark.parametrize(
    ("word", "table_format"),
    [("a|b", "markdown"), ("a\tb", "tsv"), ("a: b", "prose"), ("a\\b", "latex"), (" a", "csv")],
)
def test_words_a_format_cannot_hold(word, table_format):
    schema = TableSchema((Column("name", "words", (word, "c")), PAIR[1]))
    with pytest.raises(ValueError, match=f"in column 'name' cannot be written as {table_format} because of"):
        TableConfig(schema=schema, formats=(table_format,))


def test_renderings_of_one_table():
    schema = TableSchema(
        (Column("id", "id"), Column('full "name"', "words", ("A & B, Co", "x<y")), Column("price", "decimal"))
    )
    table = Table(
        schema,
        (np.array([7, 8]), np.array([0, 1]), np.array([150, -5])),
        (["7", "8"], ["A & B, Co", "x<y"], ["1.50", "-0.05"]),
    )
    assert render_table(table, "markdown").splitlines()[2] == "| 7 | A & B, Co | 1.50 |"
    assert render_table(table, "csv") == 'id,"full ""name""",price\n7,"A & B, Co",1.50\n8,x<y,-0.05\n'
    assert render_table(table, "tsv", header=False) == "7\tA & B, Co\t1.50\n8\tx<y\t-0.05\n"
    assert render_table(table, "jsonl").splitlines()[1] == '{"id": "8", "full \\"name\\"": "x<y", "price": -0.05}'
    assert "<tr><td>8</td><td>x&lt;y</td><td>-0.05</td></tr>\n" in render_table(table, "html")
    assert "7 & A \\& B, Co & 1.50 \\\\\n" in render_table(table, "latex")
    assert render_table(table, "yaml").startswith('- "id": "7"\n  "full \\"name\\"": "A & B, Co"\n  "price": 1.50\n')
    assert render_table(table, "prose").endswith('id: 8; full "name": x<y; price: -0.05.\n')


def test_columns_write_their_domain():
    assert Column("d", "date").text(0) == "1990-01-01"
    assert Column("d", "decimal").text(-5) == "-0.05"
    assert Column("c", "code").text(0) == "AA-0000"
    for language in ("en", "zh"):
        names = Column("n", "name", language=language)
        sample = names.texts(np.arange(0, names.size, 37))
        assert len(set(sample)) == len(sample)


def test_distinct_limits_a_column_over_all_draws():
    draws = np.random.default_rng(0)
    schema = TableSchema((Column("id", "id"), Column("amount", "integer", distinct=5)))
    table = draw_table(schema, 4_000, draws, keep_row=lambda row: int(row["id"]) % 2 == 0)
    assert len(set(table.cells[1])) == 5
    assert len(set(table.cells[0])) == 4_000
    assert all(int(cell) % 2 == 0 for cell in table.cells[0])


def test_keys_run_out_without_repeating():
    schema = TableSchema((Column("k", "words", tuple("abcdefgh")), Column("v", "words", ("x", "y"))))
    table = draw_table(schema, 50, np.random.default_rng(1), keep_row=lambda row: (row["k"], row["v"]) != ("a", "x"))
    assert sorted(table.cells[0]) == list("abcdefgh")
    assert dict(zip(*table.cells, strict=True))["a"] == "y"


def test_random_schemas_vary_and_stay_valid():
    draws = np.random.default_rng(0)
    schemas = [random_schema(draws, language, (4, 12)) for language in ("en", "zh") for _ in range(100)]
    assert {len(schema.columns) for schema in schemas} == set(range(4, 13))
    assert all(schema.columns[0].kind in ("id", "code") for schema in schemas)
    with pytest.raises(ValueError, match="num_columns must be two numbers between 4 and 12 in order"):
        random_schema(draws, "en", (3, 5))


def test_formats_are_eight():
    assert len(FORMATS) == 8
