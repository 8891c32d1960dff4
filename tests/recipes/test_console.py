"""Console output while a recipe runs."""

import warnings

import datasets
from transformers.utils import logging as transformers_logging

from lsw_hf.recipes.console import quiet_libraries
from lsw_hf.training.skip_align import SkipAlignConfig


def test_libraries_are_quiet_and_then_as_before(tmp_path):
    before = transformers_logging.get_verbosity(), datasets.are_progress_bars_disabled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with quiet_libraries():
            assert datasets.are_progress_bars_disabled()
            SkipAlignConfig(str(tmp_path), bf16=False, report_to="none")  # TRL's own default would warn
    assert before == (transformers_logging.get_verbosity(), datasets.are_progress_bars_disabled())
