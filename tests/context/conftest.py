"""Tiny random models for the context tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from benchmarks.context_zoo import ARCHITECTURES


@pytest.fixture(autouse=True)
def _propagate_library_logs(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings of ours are captured, not printed over the test report."""
    caplog.set_level("WARNING", logger="lsw_hf")


@pytest.fixture
def build() -> Callable[[PreTrainedConfig | str], PreTrainedModel]:
    """Builds a model with seeded weights; two builds of equal configurations have equal weights."""

    def _build(config: PreTrainedConfig | str) -> PreTrainedModel:
        torch.manual_seed(7)
        config = ARCHITECTURES[config]() if isinstance(config, str) else config
        return AutoModelForCausalLM.from_config(config).eval()

    return _build


@pytest.fixture
def input_ids() -> torch.Tensor:
    """Two rows longer than the original window."""
    return torch.randint(3, 97, (2, 75), generator=torch.Generator().manual_seed(11))


@pytest.fixture
def logits_of(input_ids: torch.Tensor) -> Callable[..., torch.Tensor]:
    def _logits(model: PreTrainedModel, ids: torch.Tensor = input_ids) -> torch.Tensor:
        with torch.no_grad():
            return model(ids, use_cache=False).logits

    return _logits
