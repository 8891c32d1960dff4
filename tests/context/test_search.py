"""The search finds better factors than it starts from, by its seed, and leaves the model alone."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from lsw_hf.context.extension import extend_context
from lsw_hf.context.search import search_rope_factors
from lsw_hf.context.verification import verify_context

TARGET = 192


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(5)
    return [{"input_ids": torch.randint(3, 97, (2, 131), generator=generator)} for _ in range(2)]


def test_the_result_beats_its_starts_and_extends_the_model(build, batches):
    model = build("llama")
    result = search_rope_factors(model, batches, context_length=TARGET, budget=20, progress=False)
    assert set(result.start_losses) == {"linear", "ntk", "yarn"}
    assert result.loss < min(result.start_losses.values())
    assert len(result.history) == 20
    assert list(result.history) == sorted(result.history, reverse=True)
    assert list(result.rope_factors) == sorted(result.rope_factors)
    assert min(result.rope_factors) >= 1.0
    extend_context(
        model,
        context_length=TARGET,
        method="longrope",
        rope_factors=result.rope_factors,
        attention_factor=result.attention_factor,
    )
    total, count = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            logits = model(**batch, use_cache=False).logits[:, :-1]
            labels = batch["input_ids"][:, 1:]
            total += nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").item()
            count += labels.numel()
    assert result.loss == pytest.approx(total / count, rel=1e-5)
    assert verify_context(model=model).rope_type == "longrope"


@pytest.mark.parametrize("name", ["llama", "gemma2", "phi3", "llama31"])
def test_the_model_is_left_as_it_was(name, build, batches, logits_of):
    model = build(name).train()
    config = copy.deepcopy(model.config)
    model.eval()
    before = logits_of(model)
    model.train()
    length = 1024 if name == "llama31" else TARGET
    search_rope_factors(model, batches, context_length=length, budget=4, progress=False)
    assert model.training
    assert model.config == config
    assert torch.equal(logits_of(model.eval()), before)


def test_the_search_is_a_function_of_its_seed(build, batches):
    def run(seed):
        return search_rope_factors(build("llama"), batches, context_length=TARGET, budget=8, seed=seed, progress=False)

    assert run(3) == run(3)
    assert run(3).history[3:] != run(4).history[3:]


def test_labels_and_masks_are_heeded(build, batches):
    masked = [{**batch, "labels": batch["input_ids"].clone()} for batch in batches]
    for batch in masked:
        batch["labels"][:, :100] = -100
    everything = search_rope_factors(build("llama"), batches, context_length=TARGET, budget=3, progress=False)
    part = search_rope_factors(build("llama"), masked, context_length=TARGET, budget=3, progress=False)
    assert everything.start_losses != part.start_losses


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batches": []}, "needs at least one batch of long texts, got none"),
        ({"budget": 2}, "budget must be at least 3, the number of starting points, got 2"),
        ({"population_size": 1}, "population_size must be at least 2, got 1"),
        ({"context_length": 32}, "would shrink the window"),
    ],
)
def test_bad_arguments_are_refused(kwargs, message, build, batches):
    given = {"batches": batches, "context_length": TARGET, "progress": False, **kwargs}
    with pytest.raises(ValueError, match=message):
        search_rope_factors(build("llama"), **given)


@pytest.mark.parametrize(
    "batch",
    [{"wrong": torch.zeros(1)}, {"input_ids": torch.zeros(1, 1).long()}, {"input_ids": [[1, 2]]}, "text"],
    ids=str,
)
def test_batches_of_another_form_are_refused(batch, build):
    good = {"input_ids": torch.full((1, 40), 5)}
    with pytest.raises(ValueError, match=r"batch 1 must contain input_ids, a tensor of shape \(rows, tokens\)"):
        search_rope_factors(build("llama"), [good, batch], context_length=TARGET, progress=False)


def test_batches_without_anything_to_score_are_refused(build):
    ids = torch.full((1, 40), 5)
    with pytest.raises(ValueError, match="no token of the batches is scored"):
        search_rope_factors(
            build("llama"),
            [{"input_ids": ids, "labels": torch.full_like(ids, -100)}],
            context_length=TARGET,
            progress=False,
        )


def test_a_failing_search_puts_the_model_back(build, logits_of):
    model = build("llama")
    before = logits_of(model)
    rows = [{"input_ids": torch.full((1, 40), 5)}, {"input_ids": torch.full((1, 40), 10_000)}]
    with pytest.raises(IndexError):  # the second batch has a token that the model does not know
        search_rope_factors(model, rows, context_length=TARGET, progress=False)
    assert torch.equal(logits_of(model), before)
    assert math.isclose(model.config.rope_parameters["rope_theta"], 10_000.0)
