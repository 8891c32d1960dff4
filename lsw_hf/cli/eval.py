"""`lsw-hf eval`: everything that is known about a model's long context, on one page."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .evaluation_options import (
    add_grid_options,
    add_model_options,
    filler_from,
    grid_from,
    load_model,
    model_window,
    task_from,
)
from .output import CommandOutput
from .parser import CommandParser, count

HELP = "evaluate a model, or a model before and after, and write one page about it"
EXAMPLE = "lsw-hf eval --model after/ --baseline before/ --context-lengths 4096,32768 --output-dir evaluation"
DETAILS = """Measures the needle grid, the short window (what the longer one cost), and, if asked for, the task
families and the loss by position on your texts. Writes JSON files and index.html, which holds its figures itself.
A run that was stopped goes on where it was, if it is started again with the same options."""
# Answers so far, until the page is written.
_UNFINISHED = "unfinished"


def main(arguments: Sequence[str]) -> int:
    """Run the evaluation with the given options and return the exit status."""
    options = _parser().parse(arguments)

    with CommandOutput(options.json) as output:
        _evaluate(options, output)
    return 0


def _evaluate(options: argparse.Namespace, output: CommandOutput) -> None:
    from ..evaluation.figures import new_figure
    from ..evaluation.summary.page import write_page

    # What can be refused is refused before hours of measuring: missing folders, texts, families, matplotlib.
    new_figure(1, 1)
    grid, task, families, texts = grid_from(options), task_from(options), _families(options), _texts(options)
    model_window(options, options.model)
    window, folder, before = options.original_window, Path(options.output_dir), None
    if options.baseline is not None:
        window = window or model_window(options, options.baseline)
        model, tokenizer = load_model(options, options.baseline)
        _check_inputs(tokenizer, families, texts, window, options)
        before = _measure(model, tokenizer, (grid, task, families, texts), options, window, folder / "before")
        del model
    model, tokenizer = load_model(options)
    _check_inputs(tokenizer, families, texts, window, options)
    place = folder / "after" if before else folder
    after = _measure(model, tokenizer, (grid, task, families, texts), options, window, place)
    write_page(folder / "index.html", after, before)
    for drafts in (folder / "before" / _UNFINISHED, place / _UNFINISHED):
        shutil.rmtree(drafts, ignore_errors=True)
    for title, results in (("Before", before), ("After" if before else "Result", after)):
        if results is not None and results.needle is not None:
            output.show(f"\n{title}: needle accuracy by length and depth\n\n{results.needle.to_markdown()}")
    facts = {"page": str(folder / "index.html"), "before": before and before.to_dict(), "after": after.to_dict()}
    output.show(f"\nOpen {folder / 'index.html'}.", facts)


def _parser() -> CommandParser:
    parser = CommandParser("eval", details=DETAILS, example=EXAMPLE)
    add_model_options(parser)
    parser.add_argument("--baseline", default=None, help="folder or Hub id of the model before")
    add_grid_options(parser)
    parser.add_argument("--output-dir", default="evaluation", help="where everything is written (default: evaluation)")
    parser.add_argument(
        "--original-window", type=count(2), default=None,
        help="tokens of the window before the extension (default: what the baseline's configuration says)",
    )  # fmt: skip
    parser.add_argument(
        "--tasks", nargs="*", default=None, metavar="NAME",
        help="also run task families beyond one needle: those named, as in single_2 variable_tracking, or all",
    )  # fmt: skip
    parser.add_argument("--passages", default=None, help="jsonl of passage, question, answers: one more task family")
    parser.add_argument("--task-samples", type=count(1), default=20, help="questions a task and length (default: 20)")
    parser.add_argument("--texts", nargs="+", default=None, help="documents for the loss by position")
    parser.add_json_option()
    return parser


def _families(options: argparse.Namespace) -> list[Any]:
    """Return the task families of the options, with the user's text around their needles; empty if none is asked
    for.
    """
    from ..evaluation.tasks.passages import PassageQuestionTask
    from ..evaluation.tasks.suite import default_tasks

    found = default_tasks(filler_from(options)) if options.tasks is not None else []
    names = [task.name for task in found]
    unknown = sorted(set(options.tasks or []) - set(names))
    if unknown:
        raise ValueError(f"--tasks: there is no family {', '.join(unknown)}; there are {', '.join(names)}")
    found = [task for task in found if not options.tasks or task.name in options.tasks]
    return found + ([PassageQuestionTask.from_file(options.passages)] if options.passages else [])


def _texts(options: argparse.Namespace) -> list[str] | None:
    from ..data.corpus.documents import load_documents

    return None if options.texts is None else [row["text"] for row in load_documents(options.texts)]


def _check_inputs(
    tokenizer: Any, families: list[Any], texts: list[str] | None, window: int | None, options: argparse.Namespace
) -> None:
    """Refuse texts that fill no window, and lengths that a family does not fit into."""
    from ..evaluation.tasks.suite import TaskSuite, check_tasks

    longest = max(options.context_lengths)
    if texts is not None and all(len(tokenizer(text, verbose=False)["input_ids"]) < longest for text in texts):
        raise ValueError(
            f"--texts: no document has the {longest} tokens of the longest context; give longer ones, or leave "
            "--texts out"
        )
    if families:
        shortest = min([*options.context_lengths, *([] if window is None else [window // 2])])
        check_tasks(families, tokenizer, TaskSuite((shortest,)), options.prompt_style)


def _measure(
    model: Any, tokenizer: Any, inputs: tuple, options: argparse.Namespace, window: int | None, folder: Path
) -> Any:
    """All reports about one model that the options ask for, each saved as soon as it is there."""
    from ..evaluation.losses.by_position import loss_by_position
    from ..evaluation.needle.grid import evaluate_needle
    from ..evaluation.summary.results import EvaluationResults
    from ..evaluation.summary.short_context import measure_short_context
    from ..evaluation.tasks.suite import TaskSuite, evaluate_tasks

    grid, task, families, texts = inputs
    style, samples = options.prompt_style, options.task_samples
    drafts = folder / _UNFINISHED
    needle = evaluate_needle(model, tokenizer, grid, task, prompt_style=style, resume_from=drafts / "needle.json")
    results = EvaluationResults(needle=needle)
    results.save(folder)
    if window is not None:
        short = measure_short_context(
            model, tokenizer, window=window, grid=grid, task=task, texts=texts, prompt_style=style
        )
        if families:
            suite = TaskSuite((window // 2, window), num_samples=samples, seed=options.seed)
            found = evaluate_tasks(
                model, tokenizer, suite, families, prompt_style=style, resume_from=drafts / "short_tasks.json"
            )
            short = replace(short, tasks=found)
        results = replace(results, short_context=short)
        results.save(folder)
    if families:
        suite = TaskSuite(options.context_lengths, num_samples=samples, seed=options.seed)
        found = evaluate_tasks(
            model, tokenizer, suite, families, prompt_style=style, resume_from=drafts / "tasks.json"
        )
        results = replace(results, tasks=found)
        results.save(folder)
    if texts is not None:
        loss = loss_by_position(model, tokenizer, texts, context_length=max(options.context_lengths))
        results = replace(results, loss=loss)
        results.save(folder)
    return results
