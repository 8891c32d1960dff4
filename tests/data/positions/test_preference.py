"""Skipped positions for preference pairs, in TRL's layout."""

import pytest
import torch
from trl.trainer.dpo_trainer import DataCollatorForPreference

from lsw_hf.data.positions.preference import DataCollatorForSkipAlignPreference

ROWS = [
    {"prompt_ids": [1, 2, 9, 3], "chosen_ids": [4, 5], "rejected_ids": [6, 9, 7]},
    {"prompt_ids": [7, 8], "chosen_ids": [9, 1, 2], "rejected_ids": [10]},
]


def collator(**changes) -> DataCollatorForSkipAlignPreference:
    arguments = {"pad_token_id": 0, "context_length": 500, "skip_probability": 1.0, **changes}
    return DataCollatorForSkipAlignPreference(**arguments)


@pytest.mark.parametrize("changes", [{}, {"max_length": 5}, {"pad_to_multiple_of": 8}])
def test_everything_but_positions_and_mask_is_trls_batch(changes):
    ours, theirs = collator(**changes)(ROWS), DataCollatorForPreference(pad_token_id=0, **changes)(ROWS)
    assert set(ours) == {*theirs, "position_ids"}
    assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert torch.equal(ours["completion_mask"], theirs["completion_mask"])
    assert (ours["attention_mask"] == 1).all()


def test_a_pair_shares_the_positions_of_its_prompt_and_the_beginning_of_its_answer():
    seen = set()
    for epoch in range(60):
        one = collator(sentence_end_token_ids=[9])
        one.set_epoch(epoch)
        positions = one(ROWS)["position_ids"]
        assert positions[0, :6].tolist() == positions[2, :6].tolist()
        assert positions[1, :3].tolist() == positions[3, :3].tolist()
        steps = positions.diff(dim=1)
        assert (steps > 0).all()
        assert (steps[:, 4:] == 1).all()
        seen |= {(row, int(column) + 1) for row in range(4) for column in (steps[row] > 1).nonzero()}
    assert seen == {(0, 3), (0, 4), (2, 3), (2, 4), (1, 2), (3, 2)}


def test_draws_are_keyed_by_the_prompt():
    other = [{**ROWS[0], "chosen_ids": [5, 5], "rejected_ids": [5, 5, 5]}, ROWS[1]]
    assert torch.equal(collator()(ROWS)["position_ids"], collator()(other)["position_ids"])


def test_reference_log_probabilities_pass_in_the_first_epoch_only():
    rows = [{**row, "ref_chosen_logps": -1.5, "ref_rejected_logps": -2.5} for row in ROWS]
    one = collator()
    assert one(rows)["ref_chosen_logps"].tolist() == [-1.5, -1.5]
    assert one(rows)["ref_rejected_logps"].tolist() == [-2.5, -2.5]
    one.set_epoch(1)
    with pytest.raises(ValueError, match=r"belong to the positions of epoch 0, and this is epoch 1"):
        one(rows)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt_ids": [1]}, r"Row 0 lacks \['chosen_ids', 'rejected_ids'\]"),
        ({"prompt_ids": [], "chosen_ids": [1], "rejected_ids": [1]}, r"prompt of 0 tokens and answers of \[1, 1\]"),
        ({"prompt_ids": [1] * 6, "chosen_ids": [1], "rejected_ids": [1]}, r"max_length=6 leaves nothing to compare"),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(ValueError, match=message):
        collator(max_length=6)([row])


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="Preference pairs cannot be packed"):
        collator(packed=True)
    with pytest.raises(ValueError, match="max_length must be at least 2 tokens, got 1"):
        collator(max_length=1)
