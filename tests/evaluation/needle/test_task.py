"""The built-in needles: every kind in both languages, found by their question alone."""

import re
import uuid

import numpy as np
import pytest

from lsw_hf.evaluation import NeedleTask, NoiseFiller, ProseNeedleTask

KINDS = [(kind, language) for kind in ("number", "word", "uuid", "sentence") for language in ("en", "zh")]


@pytest.mark.parametrize(("kind", "language"), KINDS)
def test_facts(kind, language):
    task = ProseNeedleTask(kind, language)
    assert isinstance(task, NeedleTask)
    facts = task.facts(np.random.default_rng(3), 2304)
    assert len({fact.question for fact in facts}) == len({fact.answer_prefix for fact in facts}) == 2304
    for fact in facts[:200]:
        assert fact.text.startswith(fact.answer_prefix)
        assert fact.text == f"{fact.answer_prefix}{task.separator}{fact.answer}{fact.text[-1]}"
        assert fact.answer not in fact.question
    assert facts[:5] == ProseNeedleTask(kind, language).facts(np.random.default_rng(3), 2304)[:5]


def test_answers_have_their_form():
    generator = np.random.default_rng(0)
    assert all(re.fullmatch(r"\d{7}", fact.answer) for fact in ProseNeedleTask("number").facts(generator, 50))
    assert all(uuid.UUID(fact.answer).version == 4 for fact in ProseNeedleTask("uuid").facts(generator, 50))


@pytest.mark.parametrize("kind", ["word", "sentence"])
def test_chance_is_that_of_the_most_frequent_answer(kind):
    task = ProseNeedleTask(kind)
    answers = [fact.answer for _ in range(8) for fact in task.facts(np.random.default_rng(_), 2304)]
    counts = np.unique(answers, return_counts=True)[1]
    assert len(counts) == round(1 / task.chance)
    assert counts.max() / len(answers) < 1.6 * task.chance


def test_prompt_begins_with_the_haystack_up_to_the_question():
    task = ProseNeedleTask(filler=NoiseFiller())
    first, second = task.prompt("HAY.", "one?"), task.prompt("HAY.", "two?")
    shared = first[: first.index("one?")]
    assert second.startswith(shared)
    assert "HAY." in shared


def test_bad_kinds_and_too_many_facts():
    with pytest.raises(ValueError, match="kind must be one of number, word, uuid, sentence"):
        ProseNeedleTask("color")
    with pytest.raises(ValueError, match="2305 facts were asked for, but the task 'number-en' has only 2304"):
        ProseNeedleTask().facts(np.random.default_rng(0), 2305)
