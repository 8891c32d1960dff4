"""The collator's epoch without any callback: that of the loader which accelerate iterates, in workers too."""

import copy
import pickle

import pytest
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import TrainerState

from lsw_hf import EpochOfPositions
from lsw_hf.data.positions.collator import DataCollatorForSkipAlign, PositionEpoch

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

ROWS = [{"input_ids": [5, n, 7, 8], "labels": [-100, -100, 7, 8]} for n in range(10, 22)]


def collator() -> DataCollatorForSkipAlign:
    return DataCollatorForSkipAlign(0, 10_000, skip_probability=1.0)


def of_one_pass(loader: DataLoader) -> dict[int, list[int]]:
    """Positions by the second token, which names the row."""
    return {
        ids[1]: positions
        for batch in loader
        for ids, positions in zip(batch["input_ids"].tolist(), batch["position_ids"].tolist(), strict=True)
    }


def of_epoch(epoch: int) -> dict[int, list[int]]:
    one = collator()
    one.set_epoch(epoch)
    return {row["input_ids"][1]: one([row])["position_ids"][0].tolist() for row in ROWS}


@pytest.mark.parametrize(
    ("num_workers", "context"), [(0, None), (1, "fork"), (4, "fork"), pytest.param(2, "spawn", marks=pytest.mark.slow)]
)
def test_follows_the_loader_of_accelerate(num_workers, context):
    loader = DataLoader(
        ROWS, 3, shuffle=True, collate_fn=collator(), num_workers=num_workers, multiprocessing_context=context
    )
    loader = Accelerator(cpu=True).prepare(loader)
    assert [of_one_pass(loader) for _ in range(3)] == [of_epoch(0), of_epoch(1), of_epoch(2)]
    # As a resumed trainer does.
    loader.set_epoch(7)
    assert of_one_pass(loader) == of_epoch(7)
    assert loader.collate_fn.epoch == 0


def test_what_was_set_wins():
    one = collator()
    loader = Accelerator(cpu=True).prepare(DataLoader(ROWS, 3, collate_fn=one))
    one.set_epoch(5)
    assert [of_one_pass(loader) for _ in range(2)] == [of_epoch(5)] * 2


def test_an_evaluation_inside_an_epoch_has_the_positions_of_epoch_0():
    one = collator()
    train, evaluation = (Accelerator(cpu=True).prepare(DataLoader(ROWS, 3, collate_fn=one)) for _ in range(2))
    train.set_epoch(2)
    batches = iter(train)
    next(batches)
    assert one.epoch == 2
    assert of_one_pass(evaluation) == of_epoch(0)
    assert one.epoch == 2


def test_persistent_workers_are_warned_about():
    """Workers that outlive an epoch cannot learn of the next one. Warnings are errors here, so the worker ends."""
    loader = DataLoader(
        ROWS, 3, collate_fn=collator(), num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    )
    loader = Accelerator(cpu=True).prepare(loader)
    with pytest.raises(UserWarning, match=r"(?s)Persistent workers do not learn.*callbacks=\[EpochOfPositions"):
        of_one_pass(loader)
    loader.end()  # broken off, it would count as in use for as long as it lives


def test_copies():
    epoch = PositionEpoch()
    epoch.set(3)
    for other in (copy.deepcopy(epoch), pickle.loads(pickle.dumps(epoch))):
        assert other.now() == 3
        other.set(4)
    assert epoch.now() == 3
    assert pickle.loads(pickle.dumps(PositionEpoch())).now() == 0


def test_epochs_below_0_are_refused():
    with pytest.raises(ValueError, match="epoch must be at least 0, got -1"):
        collator().set_epoch(-1)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        # A new run, a run resumed in its second pass and one resumed behind it, and a stream resumed in any pass.
        (TrainerState(epoch=None, num_train_epochs=3), [0, 1, 2]),
        (TrainerState(epoch=1.25, num_train_epochs=4), [1, 2, 3]),
        (TrainerState(epoch=2.0, num_train_epochs=4), [2, 3, 4]),
        (TrainerState(epoch=1.75, num_train_epochs=9_223_372_036_854_775_807), [0, 1, 2]),
    ],
)
def test_the_callback_counts_passes(state, expected):
    one = collator()
    callback = EpochOfPositions(one)
    callback.on_train_begin(None, state, None)
    seen = []
    for _ in range(3):
        callback.on_epoch_begin(None, state, None)
        seen.append(one.epoch)
        # Of a stream the trainer only says a share of max_steps.
        state.epoch = (state.epoch or 0) + 0.1
    assert seen == expected
