"""Skipped positions: their shape for any dialogue, their borders for each strategy, their distribution."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsw_hf.data.position_borders import find_borders
from lsw_hf.data.position_draws import row_keys
from lsw_hf.data.positions import PositionSampler, skipped_position_ids

STRATEGIES = ("skip_all", "skip_inner", "skip_outer", "none")

dialogues = st.lists(st.integers(1, 9), min_size=1, max_size=18)


def jump_tokens(positions: np.ndarray) -> list[int]:
    """The tokens in front of which a jump stands, found the slow way."""
    return [i for i in range(1, len(positions)) if positions[i] != positions[i - 1] + 1]


def allowed_tokens(segments: list[int], starts: list[int], strategy: str) -> set[int]:
    """Where `strategy` may jump, written from its description."""
    first = list(itertools.accumulate(segments, initial=0))[:-1]
    segment_of = [index for index, length in enumerate(segments) for _ in range(length)]
    allowed = set()
    for index, token in enumerate(first):
        if token and strategy in ("skip_all", {1: "skip_inner", 0: "skip_outer"}[index % 2]):
            allowed.add(token)
    for token in set(starts) - set(first):
        in_instruction = segment_of[token] % 2 == 0
        if strategy == "skip_all" or (strategy == "skip_inner" and in_instruction):
            allowed.add(token)
    return allowed


@settings(max_examples=150, deadline=None)
@given(
    segments=dialogues,
    extra=st.integers(0, 400),
    strategy=st.sampled_from(STRATEGIES),
    split=st.sampled_from(["cuts", "equal", "independent"]),
    max_skips=st.integers(1, 17),
    seed=st.integers(-(2**40), 2**70),
    data=st.data(),
)
def test_positions_of_any_dialogue(segments, extra, strategy, split, max_skips, seed, data):
    length = sum(segments)
    starts = data.draw(st.lists(st.integers(0, length - 1), max_size=10))
    positions = skipped_position_ids(
        segments,
        context_length=length + extra,
        strategy=strategy,
        sentence_starts=starts,
        max_skips=max_skips,
        split=split,
        seed=seed,
    )
    assert positions.dtype == np.int64
    assert len(positions) == length
    assert positions[0] == 0
    assert positions[-1] < length + extra
    assert (np.diff(positions) >= 1).all()
    jumps = jump_tokens(positions)
    assert len(jumps) <= max_skips
    assert set(jumps) <= allowed_tokens(segments, starts, strategy)


@pytest.mark.parametrize("num_turns", range(1, 10))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_allowed_border_is_used_and_no_other(strategy, num_turns):
    segments = [3, 2] * num_turns
    starts = [1, 4, 5 * num_turns - 4]
    seen: set[int] = set()
    for seed in range(150):
        positions = skipped_position_ids(
            segments, context_length=10_000, strategy=strategy, sentence_starts=starts, max_skips=99, seed=seed
        )
        seen.update(jump_tokens(positions))
    assert seen == allowed_tokens(segments, starts, strategy)


def test_row_that_begins_with_a_response():
    seen = {t for s in range(60) for t in jump_tokens(skipped_position_ids([0, 3, 4, 2], context_length=99, seed=s))}
    assert seen == {3, 7}
    inner = [skipped_position_ids([0, 3, 4, 2], context_length=99, strategy="skip_inner", seed=s) for s in range(60)]
    assert {t for p in inner for t in jump_tokens(p)} == {7}


def test_a_full_context_leaves_no_room_for_jumps():
    assert skipped_position_ids([4, 3], context_length=7).tolist() == list(range(7))


def test_equal_seeds_equal_positions():
    draws = [skipped_position_ids([4, 3], context_length=10_000, seed=seed).tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def many_positions(segments: list[int], count: int, seed: int = 0, **settings) -> np.ndarray:
    """Positions of `count` dialogues of the same segments, one per row."""
    trained = np.repeat(np.arange(len(segments)) % 2 == 1, segments)
    lengths = np.full(count, len(trained))
    sampler = PositionSampler(**settings)
    borders = find_borders(np.tile(trained, count), lengths)
    return sampler(lengths, borders, row_keys(seed, 0, range(count))).reshape(count, -1)


def test_a_batch_is_its_rows():
    lengths = np.array([7, 5, 7])
    trained = np.array([*"0011001", *"01101", *"0001011"]) == "1"
    keys = row_keys(3, 1, [11, 12, 13])
    sampler = PositionSampler(context_length=500, skip_probability=0.8)
    together = np.split(sampler(lengths, find_borders(trained, lengths), keys), [7, 12])
    for row, mask in enumerate(np.split(trained, [7, 12])):
        one = np.array([len(mask)])
        alone = sampler(one, find_borders(mask, one), keys[row : row + 1])
        assert alone.tolist() == together[row].tolist()


def test_skip_probability_is_the_share_of_rows_with_skips():
    positions = many_positions([4, 3], 4_000, context_length=10**9, skip_probability=0.3)
    share = np.mean(positions[:, -1] > 6)
    # Four standard errors of a share of 0.3 among 4,000.
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4_000)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"segment_lengths": [4, 3], "context_length": 6}, r"has 7 tokens, more than context_length=6"),
        ({"segment_lengths": [4, 0], "context_length": 9}, r"must be positive numbers of tokens .* got \[4, 0\]"),
        ({"segment_lengths": [], "context_length": 9}, r"got \[\]"),
        ({"segment_lengths": [-1, 4], "context_length": 9}, r"got \[-1, 4\]"),
        ({"context_length": 0}, r"context_length must be at least 1 token, got 0"),
        ({"strategy": "skip"}, r"strategy must be one of .*skip_all.* got 'skip'"),
        ({"skip_probability": 1.5}, r"skip_probability must lie in \[0, 1\], got 1.5"),
        ({"skip_probability": -0.1}, r"skip_probability must lie in \[0, 1\], got -0.1"),
        ({"max_skips": 0}, r"max_skips must be at least 1, got 0; for no skips use strategy='none'"),
        ({"split": "half"}, r"split must be one of .*cuts.* got 'half'"),
        ({"sentence_starts": [7]}, r"sentence_starts must lie in \[0, 7\), got \[7\]"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        skipped_position_ids(**{"segment_lengths": [4, 3], "context_length": 100, **arguments})


def test_sampler_is_a_value():
    assert PositionSampler(8, "skip_all") == PositionSampler(8, "skip_all")
