"""Task evaluations that were stopped: what is kept, what is asked again, and whose answers are refused."""

import re

import pytest
import torch

from lsw_hf.evaluation import TaskReport, TaskSuite, evaluate_tasks
from lsw_hf.evaluation.reading.reader import GreedyReader
from lsw_hf.evaluation.tasks import NeedleRetrievalTask, ParaphraseTask

SUITE = TaskSuite((400, 500), num_samples=3)
TASKS = [ParaphraseTask(), NeedleRetrievalTask("single_1", haystack="noise")]


@pytest.fixture
def asked(monkeypatch):
    """Questions put so far; the one with the number in `stop` is interrupted."""
    questions: list[int] = []

    class Asked(list):
        stop = None

    questions = Asked()

    def answer(self, rows, *rest):
        questions.append(len(rows[0]))
        if len(questions) == questions.stop:
            raise KeyboardInterrupt
        return [[5 + len(rows[0]) % 7]]

    monkeypatch.setattr(GreedyReader, "answer", answer)
    return questions


def run(model, tokenizer, path, suite=SUITE, tasks=TASKS, **options):
    return evaluate_tasks(model, tokenizer, suite, tasks, resume_from=path, progress=False, **options)


def test_a_stopped_run_asks_only_what_is_left(tiny_model, tokenizers, asked, tmp_path):
    tokenizer, file = tokenizers["byte bpe"], tmp_path / "deep" / "tasks.json"
    whole = run(tiny_model, tokenizer, None)
    assert len(asked) == 12
    del asked[:]
    asked.stop = 8
    with pytest.raises(KeyboardInterrupt):
        run(tiny_model, tokenizer, file)
    # Two cells of three questions are whole; one question of the third is lost.
    assert len(TaskReport.load(file).outcomes) == 6
    del asked[:]
    asked.stop = None
    report = run(tiny_model, tokenizer, file)
    assert len(asked) == 6
    assert report.outcomes == whole.outcomes
    assert report.suite == whole.suite
    assert TaskReport.load(file).outcomes == whole.outcomes
    assert [path.name for path in file.parent.iterdir()] == ["tasks.json"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"suite": TaskSuite((400, 500), num_samples=3, seed=4)},
            "another evaluation: seed was 0 and is 4. Give another",
        ),
        ({"suite": TaskSuite((400,), num_samples=3)}, "context_lengths was [400, 500] and is [400]"),
        ({"tasks": TASKS[:1]}, "tasks was ['paraphrase', 'single_1'] and is ['paraphrase']"),
        ({"prompt_style": "chat"}, "prompt_style was 'plain' and is 'chat'"),
        (
            {"tasks": [ParaphraseTask(1), TASKS[1]]},
            "answers to other questions of the task 'paraphrase' at 400 tokens",
        ),
    ],
)
def test_answers_of_another_evaluation_are_refused(tiny_model, tokenizers, asked, tmp_path, changed, message):
    file = tmp_path / "tasks.json"
    run(tiny_model, tokenizers["chat"], file, prompt_style="plain")
    del asked[:]
    with pytest.raises(ValueError, match=re.escape(message)):
        run(tiny_model, tokenizers["chat"], file, **({"prompt_style": "plain"} | changed))
    assert not asked


def test_answers_of_other_weights_are_refused(tiny_model, tokenizers, asked, tmp_path):
    file = tmp_path / "tasks.json"
    run(tiny_model, tokenizers["byte bpe"], file)
    with torch.no_grad():
        tiny_model.lm_head.weight.mul_(1.001)
    with pytest.raises(ValueError, match=r"weights was '\w{16}' and is '\w{16}'"):
        run(tiny_model, tokenizers["byte bpe"], file)
