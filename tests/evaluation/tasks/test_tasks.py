"""Task families: what a sample promises is true of its text; lengths, scoring and the report."""

import collections
import copy
import json
import re

import numpy as np
import pytest
import torch
from tokenizers import models

from lsw_hf.evaluation import TaskReport, TaskSuite, TextFiller, default_tasks, evaluate_tasks
from lsw_hf.evaluation.reading.prompts import PromptEncoder
from lsw_hf.evaluation.tasks import (
    CommonWordsTask,
    FrequentWordsTask,
    NeedleRetrievalTask,
    ParaphraseTask,
    PassageQuestionTask,
    TableTask,
    VariableTrackingTask,
)
from lsw_hf.evaluation.tasks.paraphrase import _PAIRS
from lsw_hf.evaluation.tasks.report import TaskOutcome
from lsw_hf.evaluation.tasks.suite import iterate_samples

PASSAGES = [
    {"passage": f"The {animal} lives in the {place}.", "question": f"Where does the {animal} live?", "answers": place}
    for animal, place in [("otter", "river"), ("ibex", "mountains"), ("gull", "harbour"), ("mole", "garden")]
]
TASKS = [*default_tasks(), PassageQuestionTask(PASSAGES), VariableTrackingTask(2, 3)]
NAMES = [task.name for task in TASKS[:-1]] + ["three chains"]


def draw(task, units, seed=0):
    return task.draft(units, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def encoder(tokenizers):
    return PromptEncoder(tokenizers["byte bpe"])


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_samples_fill_their_length_and_never_exceed_it(task, encoder):
    for length in (2000, 3001):
        sample = task.sample(encoder, length, np.random.default_rng(1))
        assert len(sample.input_ids) == len(encoder.ids(sample.text))
        room = length - task.max_new_tokens
        # One more piece would not fit; a piece of the word lists is one word several times.
        assert 0.86 * room <= len(sample.input_ids) <= room
        assert sample.expected
        assert all(sample.expected)


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_samples_are_repeatable_and_different(task, encoder):
    first, again, other = (task.sample(encoder, 2000, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first.text != other.text


@pytest.mark.parametrize("task", TASKS, ids=NAMES)
def test_too_short_a_length_is_refused(task, encoder):
    with pytest.raises(ValueError, match=r"too short|too small|brought down|minimum|at least"):
        task.sample(encoder, task.max_new_tokens + 20, np.random.default_rng(0))


@pytest.mark.parametrize("task", default_tasks()[:8], ids=lambda task: task.name)
def test_needle_values_stand_with_their_keys(task):
    draft = draw(task, 40)
    context, question = draft.prompt.rsplit("Question:", 1)
    lines = {}
    for key, value in re.findall(r"A registration \w+ for (\S+) is (\S+)\.", context):
        lines.setdefault(key, []).append(value)
    asked = (
        re.findall(r"given in the text for (.*)\?", question)[0].replace(" and ", ", ").replace(",,", ",").split(", ")
    )
    assert len(asked) == task.num_queries
    assert sorted(draft.expected) == sorted(value for key in asked for value in lines[key])
    assert all(len(lines[key]) == task.num_values for key in asked)
    assert all(context.count(value) == 1 for value in draft.expected)
    distractors = len(lines) - len(asked)
    assert distractors == (task.num_keys - task.num_queries if task.haystack != "needles" else 40)
    assert all(0 <= depth <= 1 for depth in draft.detail["depths"])


def test_needles_stand_at_their_depth():
    task = NeedleRetrievalTask("one")
    for seed in range(10):
        draft = draw(task, 200, seed)
        context = draft.prompt.split("\n\n")[1]
        place = context.index("A registration number") / len(context)
        assert place == pytest.approx(draft.detail["depths"][0], abs=0.03)


def test_chains_can_be_followed():
    for seed in range(5):
        draft = draw(VariableTrackingTask(3, 2), 30, seed)
        values = {}
        for name, source in re.findall(r"VAR ([A-Z]{5}) = (?:VAR )?(\w+)\.", draft.prompt):
            values[name] = values.get(source, source)  # a name is assigned before it is used
        asked = re.search(r"hold the value (\d+)\?", draft.prompt)[1]
        assert sorted(draft.expected) == sorted(name for name, value in values.items() if value == asked)
        assert len(values) == 8


def test_common_words_are_the_common_ones():
    draft = draw(CommonWordsTask(4, 7, 2), 20)
    counts = collections.Counter(re.findall(r"\d+\. (\S+)", draft.prompt))
    assert sorted(counts.values()) == [2] * 16 + [7] * 4
    assert {word for word, count in counts.items() if count == 7} == set(draft.expected)


@pytest.mark.parametrize("units", [60, 75, 500])
def test_frequent_words_lead_strictly(units):
    draft = draw(FrequentWordsTask(), units)
    words = [word for word in draft.prompt.split("\n\n")[1].split() if word != "..."]
    counts = collections.Counter(words).most_common()
    assert {word for word, _ in counts[:3]} == set(draft.expected)
    assert counts[2][1] > counts[3][1]
    if units == 500:
        # Zeta with alpha 2: the first word stands about four times as often as the second.
        assert counts[0][1] / counts[1][1] == pytest.approx(4, rel=0.1)


def test_passages_hold_the_answer_once():
    task = PassageQuestionTask(PASSAGES)
    for seed in range(6):
        draft = draw(task, 9, seed)
        assert draft.prompt.count("Passage ") == 9
        assert sum(draft.prompt.split("Question:")[0].count(answer) for answer in draft.expected) == 1


def test_bad_passages(tmp_path):
    with pytest.raises(ValueError, match="row 1 lacks answers; it has passage, question"):
        PassageQuestionTask([{"passage": "p", "question": "q"}])
    with pytest.raises(ValueError, match="at least 2 rows, one of them to distract; got 1"):
        PassageQuestionTask(PASSAGES[:1])
    with pytest.raises(ValueError, match="row 1 has an empty answer"):
        PassageQuestionTask([{"passage": "p", "question": "q", "answers": []}])
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join([*map(json.dumps, PASSAGES), "", "{oops"]), encoding="utf-8")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 6: not JSON"):
        PassageQuestionTask.from_file(file)
    file.write_text("\n".join(map(json.dumps, PASSAGES)), encoding="utf-8")
    assert len(PassageQuestionTask.from_file(file).rows) == 4
    with pytest.raises(ValueError, match="file of passages not found"):
        PassageQuestionTask.from_file(tmp_path / "no.jsonl")


def test_paraphrases_share_no_content_word():
    empty = set(
        "who which person whose is a an the has have was were in on of with and to at no not as by does".split()
    )
    for fact, question in _PAIRS:
        left = set(re.findall(r"[a-z]+", fact.lower())) - empty
        right = set(re.findall(r"[a-z]+", question.lower())) - empty
        assert not left & right, (fact, question)


def test_paraphrase_names_one_person():
    for seed in range(8):
        draft = draw(ParaphraseTask(), 30, seed)
        assert draft.detail["needle"].startswith(draft.expected[0])
        assert draft.prompt.count(draft.expected[0]) == 1
        assert draft.prompt.count(draft.detail["needle"]) == 1


def test_bad_task_arguments():
    for build, message in [
        (lambda: NeedleRetrievalTask("x", num_queries=2), "num_queries at most num_keys; got 1, 1, 2"),
        (lambda: VariableTrackingTask(0), "must be at least 1; got 0, 1"),
        (lambda: CommonWordsTask(10, 3, 3), "common_count above uncommon_count; got 10, 3, 3"),
        (lambda: FrequentWordsTask(1.0), "alpha must be above 1"),
        (lambda: ParaphraseTask(24), "between 0 and 23; got 24"),
        (lambda: TaskSuite(()), "context_lengths is empty"),
        (lambda: TaskSuite((5, 5)), "different token counts"),
        (lambda: TaskSuite((5,), num_samples=0), "num_samples must be at least 1"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            build()


def test_user_text_replaces_prose():
    filler = TextFiller(["Mark my words. They stand here."])
    texts = [draw(task, 10).prompt for task in default_tasks(filler) if task.name in ("single_2", "paraphrase")]
    assert all("Mark my words." in text for text in texts)


@pytest.fixture(scope="module")
def reader_model(tokenizers):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizers["byte bpe"]), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096, eos_token_id=1,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def test_answers_equal_generate_and_are_scored(reader_model, tokenizers, encoder):
    tokenizer = tokenizers["byte bpe"]
    tasks = [VariableTrackingTask(), ParaphraseTask()]
    suite = TaskSuite((500, 700), num_samples=2, seed=4)
    report = evaluate_tasks(reader_model, tokenizer, suite, tasks, progress=False)
    expected = []
    for task in tasks:
        for length in suite.context_lengths:
            for sample in iterate_samples(task, encoder, suite, length):
                ids = torch.tensor([sample.input_ids])
                out = reader_model.generate(
                    ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=task.max_new_tokens
                )
                expected.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    assert [outcome.answered for outcome in report.outcomes] == expected
    assert {outcome.score for outcome in report.outcomes} == {0.0}
    assert all(outcome.prompt_tokens <= outcome.context_length for outcome in report.outcomes)


def test_report_averages_thresholds_and_saving(tmp_path):
    def outcomes(task, length, scores):
        return [TaskOutcome(task, length, length - 9, "?", ("a",), "b", score) for score in scores]

    found = (
        outcomes("x", 100, [1.0, 1.0]) + outcomes("x", 200, [1.0, 0.5]) + outcomes("x", 400, [0.0, 0.5])
        + outcomes("y", 100, [1.0]) + outcomes("y", 200, [1.0]) + outcomes("y", 400, [0.5])
    )  # fmt: skip
    report = TaskReport({"context_lengths": [100, 200, 400], "tasks": ["x", "y"]}, tuple(found))
    assert [report.average(length) for length in (100, 200, 400)] == [100.0, 87.5, 37.5]
    assert report.effective_length() == 200
    assert report.effective_length(threshold=90) == 100
    assert report.effective_length(threshold=100.1) is None
    report.save(tmp_path / "tasks.json")
    assert TaskReport.load(tmp_path / "tasks.json") == report
    assert "| average | 100.0 | 87.5 | 37.5 |" in report.to_markdown()
    assert "Effective length by RULER's threshold of 85.6: 200 tokens." in report.to_markdown()
    with pytest.raises(ValueError, match="not a task report of schema version 1: kind 'needle'"):
        TaskReport.from_dict({"kind": "needle", "schema_version": 1})


def test_tasks_need_different_names(reader_model, tokenizers):
    with pytest.raises(ValueError, match="tasks need different names"):
        evaluate_tasks(reader_model, tokenizers["byte bpe"], TaskSuite((500,)), [ParaphraseTask(), ParaphraseTask(1)])


def refuse(**_inputs):
    raise AssertionError("the model was asked before the options were checked")


@pytest.mark.parametrize("says_unknown", [True, False])
def test_tables_name_the_words_that_a_tokenizer_lacks(words, says_unknown):
    ignorant = copy.deepcopy(words)
    if says_unknown:
        ignorant.unk_token = "<pad>"
    else:  # as tokenizers do that leave out what they do not know
        ignorant.backend_tokenizer.model = models.BPE({word: index for index, word in enumerate("abc")}, [])
    message = r"does not know \d+ of \d+ words and marks of the task 'table_join', among them '.*': choose tasks in"
    with pytest.raises(ValueError, match=message):
        TableTask("join").sample(PromptEncoder(ignorant), 2000, np.random.default_rng(0))


def test_tables_name_the_length_that_was_asked_for(tokenizers):
    for name, length, reason in (("byte bpe", 60, "at least 197 tokens are needed"), ("chat", 400, "368 tokens")):
        with pytest.raises(
            ValueError, match=f"a context_length of {length} tokens .* the task 'table_lookup'.*{reason}"
        ):
            TableTask().sample(PromptEncoder(tokenizers[name]), length, np.random.default_rng(0))


def test_every_task_is_checked_before_the_model_is_asked(reader_model, tokenizers, words, monkeypatch):
    monkeypatch.setattr(reader_model, "forward", refuse)
    with pytest.raises(ValueError, match=r"700 tokens is too short for the task 'common_words'.*the minimum is"):
        evaluate_tasks(reader_model, tokenizers["byte bpe"], TaskSuite((4096, 700)), progress=False)
    ignorant = copy.deepcopy(words)
    ignorant.unk_token = "<pad>"
    with pytest.raises(ValueError, match="does not know all words of the task 'paraphrase', as in '"):
        evaluate_tasks(reader_model, ignorant, TaskSuite((500,)), [ParaphraseTask()], progress=False)


def test_lengths_beyond_the_window_are_warned_of_and_starred(reader_model, tokenizers, monkeypatch, caplog):
    monkeypatch.setattr(reader_model.config, "max_position_embeddings", 450)
    suite = TaskSuite((400, 500), num_samples=1)
    report = evaluate_tasks(reader_model, tokenizers["byte bpe"], suite, [ParaphraseTask()], progress=False)
    assert "lengths [500] exceed the model's max_position_embeddings of 450" in caplog.text
    assert "| task | 400 | 500* |" in report.to_markdown()
    assert report.to_markdown().endswith("* longer than the model's window of 450 tokens.")
