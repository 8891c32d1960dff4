"""Length-sorted batches: neighbors share a step, steps come in random order, a resume goes on exactly."""

import copy
import shutil

import datasets
import numpy as np
import pytest
import torch

from lsw_hf.training.length_sorted_sampler import LengthSortedSampler, row_lengths
from lsw_hf.training.long_sft import LongSFTConfig, LongSFTTrainer
from lsw_hf.training.skip_align import SkipAlignConfig

LENGTHS = np.random.default_rng(0).integers(1, 1_000, 103)


def groups(sampler):
    order = list(sampler)
    return [order[start : start + sampler.group_size] for start in range(0, len(order), sampler.group_size)]


@pytest.mark.parametrize("group_size", [1, 4, 7, 103, 200])
def test_every_row_once_and_groups_of_neighbors(group_size):
    """Between the shortest and the longest row of a group lies no row of another one."""
    found = groups(LengthSortedSampler(LENGTHS, group_size, seed=3))
    assert sorted(index for group in found for index in group) == list(range(103))
    assert all(len(group) == min(group_size, 103) for group in found[:-1])
    for group in found:
        low, high = min(LENGTHS[group]), max(LENGTHS[group])
        outside = [LENGTHS[index] for other in found if other is not group for index in other]
        assert not any(low < length < high for length in outside)


def test_steps_have_no_trend_in_length():
    """The order of the groups, over many epochs, is not correlated with their lengths."""
    sampler = LengthSortedSampler(LENGTHS, 4)
    correlations = []
    for epoch in range(200):
        sampler.set_epoch(epoch)
        means = [LENGTHS[group].mean() for group in groups(sampler)]
        correlations.append(np.corrcoef(np.arange(len(means)), means)[0, 1])
    assert abs(np.mean(correlations)) < 3 * np.std(correlations) / np.sqrt(len(correlations))


def test_the_smaller_group_is_not_always_the_longest():
    sampler = LengthSortedSampler(LENGTHS, 10)
    ends = []
    for epoch in range(50):
        sampler.set_epoch(epoch)
        ends.append(np.mean(LENGTHS[groups(sampler)[-1]]))
    assert len(groups(sampler)[-1]) == 3
    assert min(ends) < 200
    assert max(ends) > 800


def test_order_follows_from_seed_and_epoch():
    def order(seed, epoch):
        sampler = LengthSortedSampler(LENGTHS, 4, seed=seed)
        sampler.set_epoch(epoch)
        torch.rand(1)  # no global generator takes part
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_less_padding_than_random_batches():
    def padding(order):
        batches = [LENGTHS[order[start : start + 8]] for start in range(0, len(order), 8)]
        return sum(int((batch.max() - batch).sum()) for batch in batches)

    at_random = np.random.default_rng(1).permutation(len(LENGTHS)).tolist()
    assert padding(list(LengthSortedSampler(LENGTHS, 8))) < padding(at_random) / 5


def test_lengths_are_read_through_a_selection():
    data = datasets.Dataset.from_list([{"input_ids": [1] * n, "labels": [1] * n} for n in (3, 1, 4, 1, 5)])
    assert row_lengths(data).tolist() == [3, 1, 4, 1, 5]
    assert row_lengths(data.select([4, 0, 3])).tolist() == [5, 3, 1]


def seen_lengths(model):
    seen = []

    def record(module, args, kwargs):
        if module.training:
            # Rows are padded to the longest of a batch; the padding token is 0 here.
            seen.append(sorted(kwargs["input_ids"].ne(0).sum(dim=1).tolist()))

    model.model.register_forward_pre_hook(record, with_kwargs=True)
    return seen


@pytest.fixture
def many_rows():
    generator = torch.Generator().manual_seed(1)
    made = []
    for length in torch.randperm(24, generator=generator).add(3).tolist():
        ids = torch.randint(4, 40, (length,), generator=generator).tolist()
        made.append({"input_ids": ids, "labels": ids})
    return datasets.Dataset.from_list(made)


def test_steps_of_a_trainer_are_neighbors(tiny_llama, tiny_tokenizer, many_rows, arguments):
    """Two accumulation steps of two rows are four neighbors in length, another order every epoch."""
    assert tiny_tokenizer.pad_token_id == 0
    seen = seen_lengths(tiny_llama)
    args = arguments(LongSFTConfig, length_sorted_batches=True, gradient_accumulation_steps=2, max_steps=12)
    LongSFTTrainer(tiny_llama, args, train_dataset=many_rows, processing_class=tiny_tokenizer).train()
    steps = [tuple(sorted(seen[i] + seen[i + 1])) for i in range(0, len(seen), 2)]
    assert all(step == tuple(range(step[0], step[0] + 4)) for step in steps)
    assert sorted(steps[:6]) == sorted(steps[6:]) == [tuple(range(n, n + 4)) for n in range(3, 27, 4)]
    assert steps[:6] != steps[6:]
    assert steps[:6] != sorted(steps[:6])


@pytest.mark.parametrize("stop", [2, 8])
def test_a_resume_goes_on_exactly(tiny_llama, tiny_tokenizer, many_rows, arguments, tmp_path, stop):
    """Stopped inside the first or the second epoch, the rest sees the same rows and ends at the same weights."""
    args = arguments(
        LongSFTConfig, length_sorted_batches=True, per_device_train_batch_size=4, max_steps=12,
        save_strategy="steps", save_steps=2,
    )  # fmt: skip
    whole, stopped = copy.deepcopy(tiny_llama), copy.deepcopy(tiny_llama)
    all_seen, rest_seen = seen_lengths(whole), seen_lengths(stopped)
    LongSFTTrainer(whole, args, train_dataset=many_rows, processing_class=tiny_tokenizer).train()
    for step in range(stop + 2, 13, 2):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    LongSFTTrainer(stopped, args, train_dataset=many_rows, processing_class=tiny_tokenizer).train(
        resume_from_checkpoint=True
    )
    assert rest_seen == all_seen[stop:]
    for expected, found in zip(whole.parameters(), stopped.parameters(), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize(
    ("lengths", "group_size", "message"),
    [([3, 4], 0, "group_size must be at least 1 row, got 0"), ([], 2, "lengths is empty: there is no row to sort")],
)
def test_refused_arguments(lengths, group_size, message):
    with pytest.raises(ValueError, match=message):
        LengthSortedSampler(lengths, group_size)


def test_refused_packing(arguments):
    with pytest.raises(ValueError, match="length_sorted_batches=True needs packing=False"):
        arguments(SkipAlignConfig, length_sorted_batches=True, packing=True)


def test_refused_strategy(arguments):
    with pytest.raises(ValueError, match="leave train_sampling_strategy at 'random', got 'sequential'"):
        arguments(SkipAlignConfig, length_sorted_batches=True, train_sampling_strategy="sequential")


def test_refused_stream(tiny_llama, tiny_tokenizer, many_rows, arguments):
    args = arguments(LongSFTConfig, length_sorted_batches=True)
    trainer = LongSFTTrainer(tiny_llama, args, many_rows.to_iterable_dataset(), tiny_tokenizer)
    with pytest.raises(ValueError, match=r"needs a datasets.Dataset.*Set it to False, or load the rows"):
        trainer.train()
