"""What is watched while training: which relative distances the run has met."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..data.positions.coverage import CoverageBand, CoverageInterval, PositionCoverage
from ..data.positions.coverage_plot import plot_position_coverage
from ..files import read_json_object, write_json

_FILE = "position_coverage.json"


class PositionCoverageCallback(TrainerCallback):
    """Records which relative distances up to the target a run trains, and warns of those that it never does.

    Every `every_steps` steps, at every checkpoint and at the end, the trained pairs of tokens since the last record
    are written by bands of distances to `{output_dir}/position_coverage.json`, summed over all processes. After a
    resume the records up to the checkpoint are read again. Counting copies positions and labels to the CPU every
    step, and takes time that grows with the number of skips, not of tokens.

    Args:
        trainer ([`~transformers.Trainer`]):
            The trainer that this callback is added to; its batches are those of [`DataCollatorForSkipAlign`].
        context_length (`int`, *optional*):
            Target context length in tokens; defaults to that of the trainer's collator.
        every_steps (`int`, *optional*, defaults to 1000):
            Steps between two records, at least 1.
        num_bands (`int`, *optional*, defaults to 32):
            Number of bands, in [1, `context_length - 1`].

    Raises:
        ValueError: `every_steps` or `num_bands` is outside its range, or no context length is known.

    Example:

    ```python
    coverage = PositionCoverageCallback(trainer)
    trainer.add_callback(coverage)
    trainer.train()
    coverage.plot("coverage.png")
    ```
    """

    def __init__(
        self, trainer: Any, *, context_length: int | None = None, every_steps: int = 1_000, num_bands: int = 32
    ) -> None:
        length = context_length or getattr(trainer.data_collator, "context_length", None)
        if length is None:
            raise ValueError(
                "The trainer's collator has no context_length; pass context_length=, the target length in tokens."
            )
        if every_steps < 1:
            raise ValueError(f"every_steps must be at least 1, got {every_steps}.")
        PositionCoverage(length).bands(num_bands)
        self.trainer, self.context_length = trainer, length
        self.every_steps, self.num_bands = every_steps, num_bands
        self.intervals: list[CoverageInterval] = []
        self._current = PositionCoverage(length)
        self._recorded_until = 0
        self._watching = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up earlier records, and begin to look at the batches of the trainer's steps."""
        file = Path(args.output_dir) / _FILE
        found = _read(file) if state.global_step and file.exists() else []
        self.intervals = [interval for interval in found if interval.last_step <= state.global_step]
        self._recorded_until = state.global_step
        self._current = PositionCoverage(self.context_length)
        if not self._watching:  # a run that failed has not ended
            self._watch()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record every `every_steps` steps, and warn after the first of these."""
        if state.global_step % self.every_steps == 0:
            self._record(args, state)
            if state.global_step == self.every_steps:
                self.total().warn_unseen()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Record, so that a resume from this checkpoint misses nothing."""
        self._record(args, state)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Record the rest and warn of bands that the whole run never trained."""
        del self.trainer.training_step
        self._watching = False
        self._record(args, state)
        if self.intervals:
            self.total().warn_unseen()

    def total(self) -> CoverageInterval:
        """Return all records as one interval."""
        bands = zip(*(interval.bands for interval in self.intervals), strict=True)
        summed = tuple(CoverageBand(own[0].start, own[0].end, sum(band.pairs for band in own)) for own in bands)
        return CoverageInterval(self.intervals[0].first_step, self._recorded_until, summed)

    def plot(self, path: str | os.PathLike[str], *, title: str | None = None) -> None:
        """Draw the records, see [`~lsw_hf.data.positions.coverage_plot.plot_position_coverage`]."""
        plot_position_coverage(self.intervals, path, title=title)

    def _watch(self) -> None:
        """Count every batch on its way into a step: no callback is shown the batches."""
        step = self.trainer.training_step

        def counted_step(model: torch.nn.Module, inputs: dict[str, Any], *rest: Any, **named: Any) -> torch.Tensor:
            self._current.update(inputs)
            return step(model, inputs, *rest, **named)

        self.trainer.training_step = counted_step
        self._watching = True

    def _record(self, args: TrainingArguments, state: TrainerState) -> None:
        if state.global_step == self._recorded_until:
            return
        pairs = torch.tensor([band.pairs for band in self._current.bands(self.num_bands)])
        accelerator = self.trainer.accelerator
        pairs = accelerator.reduce(pairs.to(accelerator.device), reduction="sum").tolist()
        bands = tuple(
            band._replace(pairs=count) for band, count in zip(self._current.bands(self.num_bands), pairs, strict=True)
        )
        self.intervals.append(CoverageInterval(self._recorded_until + 1, state.global_step, bands))
        self._recorded_until = state.global_step
        self._current = PositionCoverage(self.context_length)
        if state.is_world_process_zero:
            _write(self.intervals, Path(args.output_dir) / _FILE)


def _write(intervals: list[CoverageInterval], path: Path) -> None:
    write_json(path, {"intervals": [interval.to_dict() for interval in intervals]}, indent=1)


def _read(path: Path) -> list[CoverageInterval]:
    return [CoverageInterval.from_dict(interval) for interval in read_json_object(path)["intervals"]]
