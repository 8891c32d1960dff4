"""The SkipAlign collator: whole batches, bad rows, and determinism over epochs, workers and copies."""

import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from lsw_hf.data.positions.collator import DataCollatorForSkipAlign
from lsw_hf.data.positions.strategies import STRATEGIES
from tests.attention.attention_oracle import make_model

ROWS = [
    {"input_ids": [5, 6, 7, 8, 9], "labels": [-100, -100, 7, 8, 9]},
    {"input_ids": [5, 9], "labels": [-100, 9]},
    {"input_ids": [3, 4, 5], "labels": [-100, -100, 5]},
]


def many_rows(count: int) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    rows = []
    for index in range(count):
        ids = torch.randint(10, 90, (4 + index % 7,), generator=generator).tolist()
        rows.append({"input_ids": ids, "labels": [-100, -100, *ids[2:]]})
    return rows


def collator(**changes) -> DataCollatorForSkipAlign:
    if changes.get("packed"):
        changes = {"model": make_model("llama", "lsw_sdpa"), **changes}
    return DataCollatorForSkipAlign(**{"pad_token_id": 0, "context_length": 1_000, "skip_probability": 1.0, **changes})


def test_rows_without_skips():
    batch = collator(strategy="none")(ROWS)
    expected = {
        "input_ids": [[5, 6, 7, 8, 9], [5, 9, 0, 0, 0], [3, 4, 5, 0, 0]],
        "labels": [[-100, -100, 7, 8, 9], [-100, 9, -100, -100, -100], [-100, -100, 5, -100, -100]],
        "attention_mask": [[1] * 5] * 3,
        "position_ids": [[0, 1, 2, 3, 4]] * 3,
    }
    assert {name: tensor.tolist() for name, tensor in batch.items()} == expected
    assert all(tensor.dtype == torch.int64 for tensor in batch.values())


def test_rows_with_skips_jump_in_front_of_the_response_and_run_through_the_padding():
    batch = collator(pad_to_multiple_of=4)(ROWS)
    positions = batch["position_ids"]
    assert positions.shape == (3, 8)
    steps = positions.diff(dim=1)
    for row, border in enumerate((2, 1, 2)):
        assert steps[row, border - 1] > 1
        others = torch.arange(7) != border - 1
        assert (steps[row][others] == 1).all()
    assert (positions[:, 0] == 0).all()


def test_padding_stops_at_the_last_position():
    rows = [{"input_ids": [1, 2], "labels": [-100, 2]}, {"input_ids": [1, 2, 3, 4], "labels": [-100, 2, 3, 4]}]
    batches = [collator(context_length=4, seed=seed)(rows)["position_ids"].tolist() for seed in range(40)]
    assert {tuple(batch[0]) for batch in batches} == {(0, 1, 2, 3), (0, 2, 3, 3), (0, 3, 3, 3)}
    assert {tuple(batch[1]) for batch in batches} == {(0, 1, 2, 3)}


def test_packed():
    batch = collator(strategy="none", packed=True, pad_to_multiple_of=4)(ROWS)
    boundaries = ["cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx"]
    assert list(batch) == ["input_ids", "labels", "position_ids", *boundaries]
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 5, 9, 3, 4, 5, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 7, 8, 9, -100, 9, -100, -100, 5, -100, -100]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 0, 1]]
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, 5, 7, 10, 12]
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert batch["max_length_q"] == batch["max_length_k"] == 5
    assert batch["seq_idx"].tolist() == [[0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 3, 3]]


def test_packed_hides_the_first_token_of_a_dialogue_from_the_loss_and_leaves_the_rows_alone():
    rows = [{"input_ids": [1, 2], "labels": [1, 2]}, {"input_ids": [3, 4], "labels": [3, 4]}]
    before = copy.deepcopy(rows)
    assert collator(packed=True)(rows)["labels"].tolist() == [[-100, 2, -100, 4]]
    assert rows == before


def test_packed_positions_are_those_of_the_rows():
    packed = collator(packed=True)(ROWS)["position_ids"][0].split([5, 2, 3])
    rows = collator()(ROWS)["position_ids"]
    for index, positions in enumerate(packed):
        assert positions.tolist() == rows[index, : len(positions)].tolist()


def test_rows_packed_beforehand_are_the_same_dialogues():
    merged = {
        "input_ids": [token for row in ROWS for token in row["input_ids"]],
        "labels": [label for row in ROWS for label in row["labels"]],
        "seq_lengths": [5, 2, 3],
    }
    one, three = collator(packed=True)([merged]), collator(packed=True)(ROWS)
    assert torch.equal(one["position_ids"], three["position_ids"])
    assert torch.equal(one["cu_seq_lens_q"], three["cu_seq_lens_q"])


@pytest.mark.parametrize("names", [("completion_mask",), ("assistant_masks",), ("completion_mask", "assistant_masks")])
def test_masks_instead_of_labels(names):
    masked = [
        {"input_ids": row["input_ids"], **{name: [int(label != -100) for label in row["labels"]] for name in names}}
        for row in ROWS
    ]
    one, other = collator()(masked), collator()(ROWS)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_tensors_and_lists_give_the_same_batch():
    tensors = [{name: torch.tensor(values) for name, values in row.items()} for row in ROWS]
    one, other = collator()(tensors), collator()(ROWS)
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_sentence_ends_open_borders_inside_segments():
    ids = [5, 1, 1, 6, 7, 1, 8, 9]
    rows = [{"input_ids": ids, "labels": [-100] * 7 + [9]}]
    steps = [collator(sentence_end_token_ids=[1], seed=s)(rows)["position_ids"][0].diff() for s in range(80)]
    assert {int(i) + 1 for step in steps for i in (step != 1).nonzero()} == {3, 6, 7}


def test_positions_depend_on_seed_epoch_and_row_only():
    one = collator()
    first = one(ROWS)["position_ids"]
    assert torch.equal(first, one(ROWS)["position_ids"])
    assert torch.equal(first.flip(0)[:, :3], one(ROWS[::-1])["position_ids"][:, :3])
    assert torch.equal(first[1:2, :2], one(ROWS[1:2])["position_ids"])
    assert not torch.equal(first, collator(seed=1)(ROWS)["position_ids"])
    one.set_epoch(1)
    assert one.epoch == 1
    assert not torch.equal(first, one(ROWS)["position_ids"])
    one.set_epoch(0)
    assert torch.equal(first, one(ROWS)["position_ids"])


def talkative_rows(count: int) -> list[dict]:
    """Dialogues of one to five turns and 8 to 80 tokens; token 1 ends a sentence."""
    generator = torch.Generator().manual_seed(1)
    rows = []
    for _ in range(count):
        turns = int(torch.randint(1, 6, (), generator=generator))
        lengths = torch.randint(4, 9, (2 * turns,), generator=generator).tolist()
        ids = torch.randint(1, 6, (sum(lengths),), generator=generator).tolist()
        trained = [turn % 2 == 1 for turn, length in enumerate(lengths) for _ in range(length)]
        rows.append(
            {"input_ids": ids, "labels": [id_ if kept else -100 for id_, kept in zip(ids, trained, strict=True)]}
        )
    return rows


@pytest.mark.parametrize(
    ("split", "sentence_ends", "packed"),
    [
        ("cuts", None, False),
        ("cuts", (1,), False),
        ("cuts", (1, 2), True),
        ("equal", (1,), False),
        ("independent", (1, 2), False),
    ],
)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_positions_of_a_row_do_not_depend_on_the_rows_beside_it(strategy, split, sentence_ends, packed):
    rows = talkative_rows(120)
    for max_skips in (None, 4):
        options = {"strategy": strategy, "split": split, "sentence_end_token_ids": sentence_ends, "packed": packed}
        draw = collator(context_length=200, max_skips=max_skips, skip_probability=0.9, **options)
        draw._num_borderless = None
        alone = [draw([row])["position_ids"][0, : len(row["input_ids"])].tolist() for row in rows]
        for start in range(0, len(rows), 8):
            positions = draw(rows[start : start + 8])["position_ids"]
            if packed:
                lengths = [len(row["input_ids"]) for row in rows[start : start + 8]]
                positions = positions[0, : sum(lengths)].split(lengths)
            for place, found in enumerate(positions, start):
                assert found[: len(alone[place])].tolist() == alone[place], (place, max_skips)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_copy_keeps_the_epoch_and_then_counts_for_itself(duplicate):
    one = collator()
    one.set_epoch(3)
    other = duplicate(one)
    assert other == one
    assert other.epoch == 3
    other.set_epoch(4)
    assert one.epoch == 3


def epochs_of(loader: DataLoader, epochs: int = 2) -> list[dict[tuple, list]]:
    """Positions by row content, one dictionary per epoch."""
    result = []
    for epoch in range(epochs):
        loader.collate_fn.set_epoch(epoch)
        seen = {}
        for batch in loader:
            for ids, positions in zip(batch["input_ids"].tolist(), batch["position_ids"].tolist(), strict=True):
                length = len([token for token in ids if token])
                seen[tuple(ids[:length])] = positions[:length]
        result.append(seen)
    return result


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize(("num_workers", "persistent"), [(1, False), (4, True)])
def test_workers_give_the_positions_of_the_main_process(num_workers, persistent, context):
    rows = many_rows(24)
    expected = epochs_of(DataLoader(rows, batch_size=5, collate_fn=collator()))
    loader = DataLoader(
        rows,
        batch_size=3,
        shuffle=True,
        collate_fn=collator(),
        num_workers=num_workers,
        persistent_workers=persistent,
        multiprocessing_context=context,
    )
    assert len(expected[0]) == 24
    assert expected[0] != expected[1]
    assert epochs_of(loader) == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input_ids": [1, 2]}, r"Row 0 has neither labels .* remove_unused_columns=False"),
        ({"input_ids": [1, 2], "labels": [-100, -100]}, r"Row 0 has no trained token"),
        ({"input_ids": [1, 2], "labels": [2]}, r"Row 0 has 2 input_ids but 1 labels"),
        ({"input_ids": [], "labels": []}, r"Row 0 is empty"),
        ({"input_ids": [1, 2], "labels": [-100, 2], "position_ids": [0, 1]}, r"brings its own position_ids"),
        ({"input_ids": [0, 2], "labels": [-100, 2], "attention_mask": [0, 1]}, r"already padded .* left"),
        ({"input_ids": [0, 0, 2], "labels": [-100, -100, 2]}, r"begins with padding tokens \(0\) and has no"),
        ({"input_ids": [1, 2, 0, 0], "labels": [-100, 2, -100, -100]}, r"ends with padding tokens \(0\)"),
        ({"input_ids": [1, 2], "labels": [-100, 2], "seq_lengths": [1, 1]}, r"2 packed dialogues .*packed=True"),
        ({"input_ids": [1] * 9, "labels": [1] * 9}, r"has 9 tokens, more than context_length=8"),
    ],
)
def test_bad_rows_are_named(row, message):
    with pytest.raises(ValueError, match=message):
        collator(context_length=8)([row])


def test_packed_lengths_must_add_up():
    with pytest.raises(ValueError, match=r"has 2 tokens in dialogues of lengths \[2, 1\]"):
        collator(packed=True)([{"input_ids": [1, 2], "labels": [-100, 2], "seq_lengths": [2, 1]}])


WHOLE = {"input_ids": [5, 1, 6, 7], "labels": [5, 1, 6, 7]}


@pytest.mark.parametrize(
    ("row", "changes"),
    [(WHOLE, {}), (WHOLE, {"strategy": "long_recipe"}), (ROWS[0], {"strategy": "skip_outer", "packed": True})],
)
@pytest.mark.parametrize("batch_size", [1, 16])
def test_a_run_without_borders_is_refused(row, changes, batch_size):
    """Every token trained, or single turns for jumps between turns: no position would ever be skipped."""
    one = collator(**changes)
    for _ in range(16 // batch_size - 1):
        one([row] * batch_size)
    with pytest.raises(ValueError, match=r"found no border to jump at in the first 16 dialogues.*assistant_only_loss"):
        one([row] * batch_size)


@pytest.mark.parametrize(
    ("rows", "changes"),
    [
        ([ROWS[0]] + [WHOLE] * 40, {}),  # one border is enough
        ([WHOLE] * 40, {"sentence_end_token_ids": [1]}),
        ([WHOLE] * 40, {"strategy": "pose"}),
        ([WHOLE] * 40, {"strategy": "none"}),
        ([WHOLE] * 40, {"skip_probability": 0.0}),
    ],
)
def test_runs_with_borders_or_without_skips_are_not_refused(rows, changes):
    one = collator(**changes)
    for row in rows:
        one([row])


def test_a_model_that_packed_skips_would_cut_is_refused():
    with pytest.raises(ValueError, match="attn_implementation='sdpa' cannot carry packed dialogues"):
        collator(packed=True, model=make_model("llama", "sdpa"))
    collator(packed=True, model=make_model("llama", "lsw_sdpa"))
    collator(packed=False, model=make_model("llama", "sdpa"))
    collator(packed=True, strategy="none", model=make_model("llama", "sdpa"))


def test_packed_skips_for_an_unknown_model_are_refused():
    with pytest.raises(ValueError, match=r"stock attention would be cut at every skip.*Pass model="):
        collator(packed=True, model=None)
    collator(packed=True, model=None, strategy="none")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pad_token_id": None}, r"pad_token_id is None; set tokenizer.pad_token"),
        ({"pad_to_multiple_of": 0}, r"pad_to_multiple_of must be at least 1, got 0"),
        ({"skip_probability": 2.0}, r"skip_probability must lie in \[0, 1\], got 2.0"),
        ({"strategy": "everywhere"}, r"strategy must be one of"),
    ],
)
def test_bad_arguments_are_named_before_any_batch(arguments, message):
    with pytest.raises(ValueError, match=message):
        collator(**arguments)
