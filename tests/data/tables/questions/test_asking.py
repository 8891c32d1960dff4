"""Every answer is derived again from the text a model would see, by a parser and a solver that know nothing of the
generator."""

from collections import Counter

import numpy as np
import pytest

from lsw_hf.data.tables import FORMATS, TableConfig, TableGenerator
from lsw_hf.data.tables.questions.asking import QUESTION_TYPES
from lsw_hf.data.tables.questions.templates import TEMPLATES
from tests.data.tables.questions.parsing import parse
from tests.data.tables.questions.solving import Solver

TITLES = {"en": ("Table A", "Table B"), "zh": ("表A", "表B")}


def split_text(row):
    """The table (and the second one) inside the first message, between its blank lines."""
    # Preamble, table, padding where some was needed, question; with two tables a title stands before each.
    parts = row["messages"][0]["content"].split("\n\n")
    if "join" not in row["types"]:
        return parts[1], None
    first, second = (parts[parts.index(title) + 1] for title in TITLES[row["language"]])
    return first, second


def check(row, keys=None):
    """Asserts that every answer of a row is right and that its evidence stands in the table exactly once; adds the
    keys of the table to a set."""
    table, second = split_text(row)
    linked = None if second is None else Solver(*parse(second, row["format"]), row["language"])
    solver = Solver(*parse(table, row["format"]), row["language"], linked)
    assert len(solver.rows) == row["num_rows"]
    own = set(solver.column(solver.key))
    assert len(own) == row["num_rows"]
    if keys is not None:
        keys |= own
    for turn, (kind, template) in enumerate(zip(row["types"], row["templates"], strict=True)):
        question = row["messages"][2 * turn]["content"].split("\n\n")[-1]
        answer = row["messages"][2 * turn + 1]["content"]
        right, given = solver.answer(kind, template, question, answer)
        assert right == given, (kind, question, answer)
        places, hops = solver.evidence(kind, template, question)
        assert (sorted(row["evidence"][turn]), row["linked_evidence"][turn]) == (places, hops), (kind, question)
        for place, depth in zip(row["evidence"][turn], row["depths"][turn], strict=True):
            assert depth == place / (row["num_rows"] - 1)
            assert 0 <= place < row["num_rows"]
    return row


def sampled(tokenizer, count, **settings):
    settings = {"length": (1_400, 4_000), "languages": ("en", "zh"), "questions_per_table": 3} | settings
    return TableGenerator(tokenizer, TableConfig(**settings), seed=17).generate(count)


def test_answers_are_derived_again(tokenizer):
    rows = [check(row) for row in sampled(tokenizer, 60)]
    kinds = Counter(kind for row in rows for kind in row["types"])
    assert set(kinds) == set(QUESTION_TYPES)
    assert {row["format"] for row in rows} == set(FORMATS)
    assert {row["language"] for row in rows} == {"en", "zh"}


@pytest.mark.parametrize("kind", sorted(QUESTION_TYPES))
def test_each_type_uses_all_its_paraphrases(byte_tokenizer, kind):
    rows = [check(row) for row in sampled(byte_tokenizer, 6, question_types=(kind,), length=1_800)]
    assert {name for row in rows for name in row["types"]} == {kind}
    assert {family for row in rows for family in row["families"]} == {QUESTION_TYPES[kind][0]}
    for language in ("en", "zh"):
        used = {t for row in rows if row["language"] == language for t in row["templates"]}
        assert used <= set(range(len(TEMPLATES[language][kind])))
    assert len({(row["language"], t) for row in rows for t in row["templates"]}) > 2


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_words_of_a_question_do_not_say_that_its_row_is_missing(language):
    asked = {kind: {question for question, _ in TEMPLATES[language][kind]} for kind in ("absent", "cell")}
    assert asked["absent"] == asked["cell"]


def test_sorted_tables_are_asked_about_in_both_directions(byte_tokenizer):
    rows = sampled(
        byte_tokenizer, 16, question_types=("monotone",), questions_per_table=1, length=1_500, languages=("en",)
    )
    answers = Counter(check(row)["messages"][1]["content"] for row in rows)
    assert set(answers) == {"ascending", "descending", "neither"}


@pytest.mark.slow
def test_ten_thousand_answers_are_derived_again(tokenizer):
    """Half of the rows for training, half for evaluation: exact lengths, no key in both, evidence anywhere."""
    from scipy import stats

    draws = np.random.default_rng(0)
    keys, depths, recorded = {"train": set(), "eval": set()}, [], []
    for split, own in keys.items():
        settings = {"length": (1_000, 2_500), "languages": ("en", "zh"), "questions_per_table": (1, 3)}
        generator = TableGenerator(tokenizer, TableConfig(**settings, split=split), seed=2)
        for index in range(2_500):
            row = check(generator.sample(index), own)
            text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
            tokens = len(tokenizer(text, add_special_tokens=False)["input_ids"])
            assert tokens == row["num_tokens"], index
            assert 0.995 * row["length"] <= tokens <= row["length"], index
            for turn in filter(None, row["depths"]):
                # A table of n rows has n depths only: anywhere inside the row, so that uniform rows are uniform here.
                inside = [(depth * (row["num_rows"] - 1) + draws.random()) / row["num_rows"] for depth in turn]
                recorded += inside
                # Rows behind one answer may not be independent of each other: the test takes one of them.
                depths.append(inside[draws.integers(len(inside))])
    assert min(map(len, keys.values())) > 10_000
    assert not keys["train"] & keys["eval"]
    assert len(depths) > 5_000
    assert stats.kstest(depths, "uniform").pvalue > 0.01
    assert stats.kstest(recorded, "uniform").statistic < 0.02
