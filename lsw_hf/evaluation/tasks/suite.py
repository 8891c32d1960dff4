"""Run task families at several lengths."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from zlib import crc32

import numpy as np

from ...progress import progress_bar
from ..reading.prompts import PromptEncoder, PromptStyle
from ..reading.reader import GreedyReader
from ..scoring import match_all, match_any
from ..setting import as_lengths, window_settings
from ..texts.fillers import FillerSource
from .aggregation import CommonWordsTask, FrequentWordsTask
from .paraphrase import ParaphraseTask
from .report import CheckpointedTaskReport, TaskOutcome, TaskReport
from .retrieval import NeedleRetrievalTask
from .sample import LongContextTask, TaskSample
from .tables import TableTask
from .tracing import VariableTrackingTask


@dataclass(frozen=True)
class TaskSuite:
    """Lengths and sample counts of a task evaluation.

    Args:
        context_lengths (`tuple[int, ...]`):
            Most tokens of prompt and generated answer together, as RULER counts; a prompt stays below by less than
            one piece of its context.
        num_samples (`int`, *optional*, defaults to 20):
            Questions for each task and length.
        seed (`int`, *optional*, defaults to 0):
            Question i of a task and length depends on (seed, task name, length, i).

    Raises:
        ValueError: for empty or repeated lengths, lengths or counts below 1.
    """

    context_lengths: tuple[int, ...]
    num_samples: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "context_lengths", as_lengths(self.context_lengths))
        if not self.context_lengths:
            raise ValueError("context_lengths is empty: a suite needs at least one length")
        if len(set(self.context_lengths)) < len(self.context_lengths) or min(self.context_lengths) < 1:
            raise ValueError(f"context_lengths are different token counts of at least 1; got {self.context_lengths}")
        if self.num_samples < 1 or self.seed < 0:
            raise ValueError(
                f"num_samples must be at least 1 and seed at least 0; got {self.num_samples}, {self.seed}"
            )


def default_tasks(filler: FillerSource | None = None) -> list[LongContextTask]:
    """Return the families that need no data of the user: eight of needles, tracking, two of words, three of tables,
    paraphrases.

    Args:
        filler ([`FillerSource`], *optional*):
            Text instead of the built-in prose.
    """
    needle = NeedleRetrievalTask
    return [
        needle("single_1", haystack="noise"),
        needle("single_2", filler=filler),
        needle("single_3", form="codes", filler=filler),
        needle("multikey_1", num_keys=4, filler=filler),
        needle("multikey_2", haystack="needles"),
        needle("multikey_3", haystack="needles", form="codes"),
        needle("multivalue", num_values=4, filler=filler),
        needle("multiquery", num_keys=4, num_queries=4, filler=filler),
        VariableTrackingTask(),
        CommonWordsTask(),
        FrequentWordsTask(),
        TableTask("lookup"),
        TableTask("join"),
        TableTask("aggregate"),
        ParaphraseTask(filler=filler),
    ]


def iterate_samples(
    task: LongContextTask, encoder: PromptEncoder, suite: TaskSuite, context_length: int
) -> Iterator[TaskSample]:
    """Yield the questions of one task at one length, one after the other."""
    for index in range(suite.num_samples):
        # A checksum and not hash(): strings hash differently in every process.
        seed = [suite.seed, crc32(task.name.encode()), context_length, index]
        yield task.sample(encoder, context_length, np.random.default_rng(seed))


def evaluate_tasks(
    model: Any,
    tokenizer: Any,
    suite: TaskSuite,
    tasks: Sequence[LongContextTask] | None = None,
    *,
    prompt_style: PromptStyle = "auto",
    resume_from: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> TaskReport:
    """Ask a model the questions of several task families and score its greedy answers.

    Args:
        model ([`PreTrainedModel`]):
            A causal LM; evaluated in eval mode, and returned to its mode.
        tokenizer ([`PreTrainedTokenizerBase`]):
            Its tokenizer.
        suite ([`TaskSuite`]):
            Lengths and counts.
        tasks (`Sequence[LongContextTask]`, *optional*):
            Families; defaults to [`default_tasks`].
        prompt_style (`str`, *optional*, defaults to `"auto"`):
            `"plain"`, `"chat"`, or chat if there is a template.
        resume_from (`str` or `os.PathLike`, *optional*):
            File for the report so far: written after each task and length. If it exists, what it contains is
            not asked again.
        progress (`bool`, *optional*, defaults to `True`):
            Show a bar on a terminal.

    Returns:
        [`TaskReport`]: Scores are shares of the expected answers that were given (RULER's `string_match_all`), or
        whether one of the accepted answers was given (`string_match_part`).

    Raises:
        ValueError: for two tasks of one name, a length that a task does not fit into, a task whose words the
            tokenizer does not know, logits that are not finite, or a file to resume from that is of another suite,
            other tasks, texts or another model.
    """
    tasks = default_tasks() if tasks is None else list(tasks)
    names = [task.name for task in tasks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"tasks need different names, and at least one task; got {names}")
    encoder = PromptEncoder(tokenizer, prompt_style)
    check_tasks(tasks, tokenizer, suite, prompt_style)
    settings = {"prompt_style": encoder.style, **window_settings(model, suite.context_lengths, "scores")}
    fields = asdict(suite) | {"context_lengths": list(suite.context_lengths), "tasks": names}
    report = CheckpointedTaskReport(TaskReport(suite=fields, outcomes=(), settings=settings), resume_from)
    was_training = model.training
    model.eval()
    try:
        _answer_all(model, encoder, suite, tasks, report, progress)
    finally:
        model.train(was_training)
    return report.current()


def _answer_all(
    model: Any,
    encoder: PromptEncoder,
    suite: TaskSuite,
    tasks: Sequence[LongContextTask],
    report: CheckpointedTaskReport,
    progress: bool,
) -> None:
    """Ask every question of every task and length, except those that the report contains."""
    total = len(tasks) * suite.num_samples * sum(suite.context_lengths)
    with progress_bar(total, "tasks", show=progress) as bar:
        for task in tasks:
            reader = GreedyReader(model, max_new_tokens=task.max_new_tokens)
            for length in suite.context_lengths:
                bar.set_postfix_str(f"{task.name}, {length:,} tokens")
                samples = iterate_samples(task, encoder, suite, length)
                if known := report.outcomes_of(task.name, length):
                    _check_asked(known[0], next(samples), report)
                    bar.update(length * suite.num_samples)
                    continue
                outcomes = []
                for sample in samples:
                    outcomes.append(_answer(reader, encoder.tokenizer, task.name, length, sample))
                    bar.update(length)
                report.add(task.name, length, outcomes)


def _check_asked(known: TaskOutcome, sample: TaskSample, report: CheckpointedTaskReport) -> None:
    """Refuse answers to other questions: tasks of one name may differ in their texts, counts or words."""
    if (known.prompt_tokens, known.question, known.expected) != (
        len(sample.input_ids),
        _closing(sample.text),
        sample.expected,
    ):
        raise ValueError(
            f"{report.path} contains answers to other questions of the task {known.task!r} at {known.context_length} "
            "tokens: its texts, its options or the tokenizer are not the same. Give another file, or delete this one "
            "to start over"
        )


def check_tasks(
    tasks: Sequence[LongContextTask], tokenizer: Any, suite: TaskSuite, prompt_style: PromptStyle = "auto"
) -> None:
    """Refuse tasks that cannot be measured, before the first question is asked.

    Raises:
        ValueError: for a task that does not fit into the shortest length, or whose words the tokenizer does not
            know.
    """
    encoder, shortest = PromptEncoder(tokenizer, prompt_style), min(suite.context_lengths)
    for task in tasks:
        sample = task.sample(encoder, shortest, np.random.default_rng(suite.seed))
        words = f"{_closing(sample.text)} {' '.join(sample.expected)}"
        if encoder.unknown_words(words):
            raise ValueError(
                f"the tokenizer does not know all words of the task {task.name!r}, as in {words!r}: "
                "choose tasks in the words of this model"
            )


def _answer(reader: GreedyReader, tokenizer: Any, name: str, length: int, sample: TaskSample) -> TaskOutcome:
    """Ask one question and score the answer."""
    (answer,) = reader.answer([sample.input_ids])
    text = tokenizer.decode(answer, skip_special_tokens=True)
    score = match_all(sample.expected, text) if sample.match == "all" else match_any(sample.expected, text)
    return TaskOutcome(
        task=name,
        context_length=length,
        prompt_tokens=len(sample.input_ids),
        question=_closing(sample.text),
        expected=sample.expected,
        answered=text,
        score=score,
        detail=sample.detail,
    )


def _closing(text: str, characters: int = 300) -> str:
    """Return the end of a prompt, where the question is."""
    question = text.rfind("Question:")
    return text[question:] if question >= 0 and len(text) - question <= characters else text[-characters:]
