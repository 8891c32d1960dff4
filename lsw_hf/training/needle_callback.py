"""What is watched while training: the needle grid."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..evaluation.needle.grid import NeedleGrid, evaluate_needle
from ..evaluation.needle.report import NeedleReport
from ..evaluation.needle.task import NeedleTask

_FILE = "step-{step:07d}.json"


class NeedleCallback(TrainerCallback):
    """Runs a small needle grid during training, logs it through the trainer's reporters, and can stop or save on it.

    The grid runs at every evaluation of the trainer, and every `every_steps` steps if given. Logged are
    `needle/accuracy`, `needle/{length}` and `needle/{length}/depth_{percent}`; whole reports are written to
    `{output_dir}/needle/`. After an evaluation `eval_needle_accuracy` is among its metrics, so that
    `metric_for_best_model="needle_accuracy"` with `load_best_model_at_end=True` keeps the checkpoint that finds most.
    To stop early use `patience`: an `EarlyStoppingCallback` looks at the metrics before this callback adds to them,
    unless it was added after it. Every process measures the same grid, so that all decide alike; the first one
    writes. A resumed training continues with the reports of the same grid before its checkpoint.

    Args:
        trainer ([`Trainer`]):
            The trainer that this callback is added to.
        grid ([`NeedleGrid`]):
            What is measured; keep it small, it runs inside the training loop.
        task ([`NeedleTask`], *optional*):
            Where the needles come from; defaults to numbers in prose.
        every_steps (`int`, *optional*):
            Steps between two runs, besides the trainer's evaluations.
        patience (`int`, *optional*):
            Stop training after so many runs in a row without a better accuracy than the best before; defaults to
            never.
        save_best (`bool`, *optional*, defaults to `False`):
            Ask for a checkpoint whenever a run is the best so far.

    Raises:
        ValueError: `every_steps` or `patience` is below 1.

    Example:

    ```python
    trainer.add_callback(NeedleCallback(trainer, NeedleGrid((4_096, 16_384), num_samples=2), every_steps=50))
    ```
    """

    def __init__(
        self,
        trainer: Any,
        grid: NeedleGrid,
        task: NeedleTask | None = None,
        *,
        every_steps: int | None = None,
        patience: int | None = None,
        save_best: bool = False,
    ) -> None:
        for name, value in (("every_steps", every_steps), ("patience", patience)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}")
        self.trainer, self.grid, self.task = trainer, grid, task
        self.every_steps, self.patience, self.save_best = every_steps, patience, save_best
        self.history: dict[int, float] = {}
        self._training = False

    @property
    def best_step(self) -> int | None:
        """Step of the best accuracy so far, the first if several are equal."""
        return max(self.history, key=lambda step: (self.history[step], -step), default=None)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """After a resume, take up the runs of this output directory that lie before the checkpoint."""
        self.history, self._training = {}, True
        grid = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self.grid).items()}
        for file in sorted(self._folder(args).glob("step-*.json")):
            found = re.fullmatch(r"step-(\d+)\.json", file.name)
            if found and 0 < int(found[1]) <= state.global_step:
                report = NeedleReport.load(file)
                if report.grid == grid:
                    self.history[int(found[1])] = report.accuracy

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From here on another model may be loaded at the same step: nothing measured so far is said of it."""
        self._training = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Run every `every_steps` steps."""
        if self.every_steps is not None and state.global_step % self.every_steps == 0:
            self._run(args, state, control)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Run with the trainer's evaluation, and put the accuracy among its metrics."""
        accuracy = self._run(args, state, control)
        if metrics is not None:
            metrics["eval_needle_accuracy"] = accuracy

    def _run(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> float:
        """Measure once a step, log, and decide about stopping and saving; outside a training only measure and log."""
        step = state.global_step
        if self._training and step in self.history:
            return self.history[step]
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        report = evaluate_needle(model, self.trainer.processing_class, self.grid, self.task, progress=False)
        # Not the trainer's own log: TRL's adds the running means of training to whatever is logged, and starts anew.
        # Logging takes back the request for a log, and the losses of this step may still be waiting for theirs.
        should_log = control.should_log
        Trainer.log(self.trainer, self._numbers(report))
        control.should_log = should_log
        if not self._training:
            return report.accuracy
        best = max(self.history.values(), default=-1.0)
        self.history[step] = report.accuracy
        if state.is_world_process_zero:
            report.save(self._folder(args) / _FILE.format(step=step))
        if report.accuracy > best and self.save_best:
            control.should_save = True
        since_best = [other for other in self.history if other > (self.best_step or 0)]
        if self.patience is not None and len(since_best) >= self.patience:
            control.should_training_stop = True
        return report.accuracy

    def _numbers(self, report: NeedleReport) -> dict[str, float]:
        numbers = {"needle/accuracy": report.accuracy}
        for length in self.grid.context_lengths:
            numbers[f"needle/{length}"] = report.accuracy_at(length)
        for cell in report.cells:
            numbers[f"needle/{cell.context_length}/depth_{100 * cell.depth:.0f}"] = cell.accuracy
        return numbers

    def _folder(self, args: TrainingArguments) -> Path:
        return Path(args.output_dir) / "needle"
