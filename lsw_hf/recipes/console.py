"""What a person sees while a recipe runs: our bars and tables, not each library's own."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import datasets
from transformers.utils import logging as transformers_logging


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
