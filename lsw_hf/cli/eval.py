"""`lsw-hf eval`: everything that is known about a model's long context, on one page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lsw_hf.cli.evaluation_options import add_grid_options, add_model_options, grid_from, load_model, task_from
from lsw_hf.cli.parser import CommandParser, count

HELP = "evaluate a model, or a model before and after, and write one page about it"
EXAMPLE = "lsw-hf eval --model after/ --baseline before/ --context-lengths 4096,32768 --output-dir evaluation"
DETAILS = """Measures the needle grid, the short window (what the longer one cost), and, if asked for, the task
families and the loss by position on your texts. Writes JSON files and index.html, which holds its figures itself."""


def main(arguments: Sequence[str]) -> int:
    """Run the evaluation with the given options and return the exit status."""
    parser = CommandParser("eval", details=DETAILS, example=EXAMPLE)
    add_model_options(parser)
    parser.add_argument("--baseline", default=None, help="folder or Hub id of the model before")
    add_grid_options(parser)
    parser.add_argument("--output-dir", default="evaluation", help="where everything is written (default: evaluation)")
    parser.add_argument(
        "--original-window", type=count(2), default=None,
        help="tokens of the window before the extension (default: what the baseline's configuration says)",
    )  # fmt: skip
    parser.add_argument("--tasks", action="store_true", help="also run the task families beyond one needle")
    parser.add_argument("--task-samples", type=count(1), default=20, help="questions a task and length (default: 20)")
    parser.add_argument("--texts", nargs="+", default=None, help="documents for the loss by position")
    options = parser.parse(arguments)

    from lsw_hf.evaluation.page import write_page

    grid, task, folder = grid_from(options), task_from(options), Path(options.output_dir)
    window = options.original_window
    before = None
    if options.baseline is not None:
        model, tokenizer = load_model(options, options.baseline)
        window = window or model.config.get_text_config(decoder=True).max_position_embeddings
        before = measure(model, tokenizer, grid, task, options, window)
        before.save(folder / "before")
        del model
    model, tokenizer = load_model(options)
    after = measure(model, tokenizer, grid, task, options, window)
    after.save(folder / "after" if before else folder)
    write_page(folder / "index.html", after, before)
    for title, results in (("Before", before), ("After" if before else "Result", after)):
        if results is not None and results.needle is not None:
            print(f"\n{title}: needle accuracy by length and depth\n\n{results.needle.to_markdown()}")
    print(f"\nOpen {folder / 'index.html'}.")
    return 0


def measure(model: Any, tokenizer: Any, grid: Any, task: Any, options: argparse.Namespace, window: int | None) -> Any:
    """All reports about one model that the options ask for."""
    from dataclasses import replace

    from lsw_hf.data.documents import load_documents
    from lsw_hf.evaluation.needle import evaluate_needle
    from lsw_hf.evaluation.position_loss import loss_by_position
    from lsw_hf.evaluation.results import EvaluationResults
    from lsw_hf.evaluation.short_context import measure_short_context
    from lsw_hf.evaluation.tasks.suite import TaskSuite, evaluate_tasks

    texts = None if options.texts is None else [row["text"] for row in load_documents(options.texts)]
    results = EvaluationResults(
        needle=evaluate_needle(model, tokenizer, grid, task, prompt_style=options.prompt_style)
    )
    if window is not None:
        short = measure_short_context(model, tokenizer, window=window, grid=grid, task=task, texts=texts)
        results = replace(results, short_context=short)
    if options.tasks:
        suite = TaskSuite(options.context_lengths, num_samples=options.task_samples, seed=options.seed)
        results = replace(results, tasks=evaluate_tasks(model, tokenizer, suite, prompt_style=options.prompt_style))
    if texts is not None:
        loss = loss_by_position(model, tokenizer, texts, context_length=max(options.context_lengths))
        results = replace(results, loss=loss)
    return results
