"""Console output of a running recipe: one progress bar per stage, and the libraries' own output silenced."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets
from transformers import TrainerCallback
from transformers.utils import logging as transformers_logging

from ..progress import progress_bar


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Turn bars and warnings of transformers and datasets off for the time of a run, then back to what they were.

    Loading half a megabyte and mapping forty rows show a bar each; between them the bar that matters is lost. The
    warnings are about texts longer than the tokenizer's window, which is what a run is about.
    """
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    datasets_bars = datasets.are_progress_bars_disabled()
    transformers_bars = transformers_logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            # TRL 1.16 sets its own default under the name that transformers 5.23 has left; gone when TRL follows.
            warnings.filterwarnings("ignore", "`gradient_checkpointing` is deprecated", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if not datasets_bars:
            datasets.enable_progress_bars()
        if transformers_bars:
            transformers_logging.enable_progress_bar()


class StageProgress(TrainerCallback):
    """A bar of optimizer steps with elapsed and remaining time and the last logged loss.

    Replaces the trainer's own bar, which prints a dictionary at every log. Silent if standard error is not a
    terminal.

    Args:
        description (`str`):
            Text in front of the bar.
    """

    def __init__(self, description: str) -> None:
        self.description = description
        self._bar: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See [`~transformers.TrainerCallback`]."""
        self._bar = progress_bar(
            state.max_steps,
            self.description,
            unit="steps",
            initial=state.global_step,
            show=state.is_world_process_zero,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See [`~transformers.TrainerCallback`]."""
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """See [`~transformers.TrainerCallback`]."""
        if self._bar is not None and logs and "loss" in logs:
            self._bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """See [`~transformers.TrainerCallback`]."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
