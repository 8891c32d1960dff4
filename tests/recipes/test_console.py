"""Console output while a recipe runs."""

import io
import sys
import warnings

import datasets
import pytest
from transformers import TrainerState
from transformers.utils import logging as transformers_logging

from lsw_hf.recipes.console import StageProgress, quiet_libraries
from lsw_hf.training.skip_align import SkipAlignConfig


def test_libraries_are_quiet_and_then_as_before(tmp_path):
    before = transformers_logging.get_verbosity(), datasets.are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet_libraries():
            assert datasets.are_progress_bars_disabled()
            SkipAlignConfig(str(tmp_path), bf16=False, report_to="none")  # TRL's own default would warn
    assert before == (transformers_logging.get_verbosity(), datasets.are_progress_bars_disabled())


@pytest.mark.parametrize("first", [True, False])
def test_the_bar_begins_where_the_run_does_and_is_drawn_once(monkeypatch, first):
    """After a resume at step 2 of 8, on the first process of a run and on another one."""
    stream = io.StringIO()
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    state = TrainerState(global_step=2, max_steps=8, is_world_process_zero=first)
    bar = StageProgress("2/4 sft")
    bar.on_train_begin(None, state, None)
    state.global_step = 4
    bar.on_step_end(None, state, None)
    bar.on_train_end(None, state, None)
    lines = [line for line in stream.getvalue().replace("\r", "\n").split("\n") if line.startswith("2/4 sft")]
    assert [line.partition("| ")[2].partition(",")[0] for line in (lines[:1] + lines[-1:])] == (
        ["2/8 steps", "4/8 steps"] if first else []
    )
