"""Coverage of relative distances, against counting every pair of tokens."""

from itertools import pairwise

import pytest
import torch

from lsw_hf.data.positions.collator import DataCollatorForSkipAlign
from lsw_hf.data.positions.coverage import PositionCoverage, position_coverage
from tests.attention.attention_oracle import make_model


def rows() -> list[dict]:
    generator = torch.Generator().manual_seed(2)
    result = []
    for turns in (1, 2, 3, 2):
        ids, labels = [], []
        for _ in range(turns):
            prompt = torch.randint(1, 50, (5,), generator=generator).tolist()
            answer = torch.randint(1, 50, (4,), generator=generator).tolist()
            ids, labels = ids + prompt + answer, labels + [-100] * 5 + answer
        result.append({"input_ids": ids, "labels": labels})
    return result


def count_pairs(batch: dict, context_length: int) -> list[int]:
    """Every pair, one by one."""
    counts = [0] * context_length
    length = batch["input_ids"].shape[1]
    ends = batch.get("cu_seq_lens_q", torch.arange(0, batch["input_ids"].numel() + 1, length)).tolist()
    positions, labels = batch["position_ids"].flatten().tolist(), batch["labels"].flatten().tolist()
    for start, end in pairwise(ends):
        for later in range(start, end):
            for earlier in range(start, later):
                if labels[later] != -100:
                    counts[positions[later] - positions[earlier]] += 1
    return counts


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("strategy", ["none", "skip_all", "skip_outer", "pose", "random"])
def test_counts_are_those_of_every_pair(strategy, packed, monkeypatch):
    # Small blocks, so that several are needed.
    monkeypatch.setattr("lsw_hf.data.positions.coverage._PAIRS_AT_ONCE", 7)
    arguments = {"skip_probability": 1.0, "strategy": strategy, "packed": packed, "pad_to_multiple_of": 8}
    collator = DataCollatorForSkipAlign(0, 90, **arguments, model=make_model("llama", "lsw_sdpa"))
    coverage, expected = PositionCoverage(90), [0] * 90
    for epoch in range(3):
        collator.set_epoch(epoch)
        batch = collator(rows())
        coverage.update(batch)
        expected = [a + b for a, b in zip(expected, count_pairs(batch, 90), strict=True)]
    assert coverage.counts().tolist() == expected
    assert coverage.num_batches == 3
    assert sum(band.pairs for band in coverage.bands(11)) == sum(expected)


def test_bands_cover_every_distance_once():
    coverage = PositionCoverage(100)
    bands = coverage.bands(7)
    assert [distance for band in bands for distance in range(band.start, band.end)] == list(range(1, 100))
    assert coverage.to_dict(7) == {"context_length": 100, "num_batches": 0, "bands": [list(band) for band in bands]}


def test_plain_positions_leave_far_bands_unseen_and_skips_fill_them():
    collators = {
        strategy: DataCollatorForSkipAlign(0, 1_000, strategy=strategy, skip_probability=1.0)
        for strategy in ("none", "skip_all")
    }
    plain = position_coverage([collators["none"](rows())], context_length=1_000)
    with pytest.warns(UserWarning, match=r"no trained token was 250-999 positions after"):
        unseen = plain.warn_unseen(num_bands=4)
    assert [band.start for band in unseen] == [250, 500, 750]

    def batches():
        for epoch in range(40):
            collators["skip_all"].set_epoch(epoch)
            yield collators["skip_all"](rows())

    assert position_coverage(batches(), context_length=1_000).warn_unseen(num_bands=4) == []


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="context_length must be at least 2 tokens, got 1"):
        PositionCoverage(1)
    with pytest.raises(ValueError, match=r"num_bands must lie in \[1, 9\], got 10"):
        PositionCoverage(10).bands(10)
    with pytest.raises(ValueError, match="Position 17 is not below context_length=10"):
        PositionCoverage(10).update({"position_ids": torch.tensor([[17]]), "labels": torch.tensor([[1]])})
