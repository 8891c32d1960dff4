"""Skipped positions: their shape for any dialogue, their borders for each strategy, their distribution."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsw_hf.data.positions.borders import find_borders
from lsw_hf.data.positions.draws import row_keys
from lsw_hf.data.positions.sampler import PositionSampler, skipped_position_ids

STRATEGIES = ("skip_all", "skip_inner", "skip_outer", "none")
OTHERS = ("pose", "cream", "long_recipe", "random")

dialogues = st.lists(st.integers(1, 9), min_size=1, max_size=18)


def jump_tokens(positions: np.ndarray) -> list[int]:
    """The tokens in front of which a jump stands, found the slow way."""
    return [i for i in range(1, len(positions)) if positions[i] != positions[i - 1] + 1]


def allowed_tokens(segments: list[int], starts: Sequence[int], strategy: str) -> set[int]:
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


def many_positions(segments: list[int], count: int, starts: tuple[int, ...] = (), **arguments) -> np.ndarray:
    """Positions of `count` dialogues of the same segments and sentences, one per row."""
    trained = np.repeat(np.arange(len(segments)) % 2 == 1, segments)
    begins = np.isin(np.arange(len(trained)), starts)
    lengths = np.full(count, len(trained))
    borders = find_borders(np.tile(trained, count), lengths, np.tile(begins, count))
    return PositionSampler(**arguments)(lengths, borders, row_keys(0, 0, range(count))).reshape(count, -1)


@pytest.mark.parametrize("num_turns", range(1, 10))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_allowed_border_is_used_and_no_other(strategy, num_turns):
    segments = [3, 2] * num_turns
    starts = (1, 4, 5 * num_turns - 4)
    arguments = {"context_length": 10**9, "strategy": strategy, "max_skips": 99}
    positions = many_positions(segments, 200, starts, **arguments)
    seen = {int(token) + 1 for token in np.flatnonzero((np.diff(positions, axis=1) != 1).any(axis=0))}
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


@settings(max_examples=150, deadline=None)
@given(
    segments=dialogues,
    extra=st.integers(0, 400),
    strategy=st.sampled_from(OTHERS),
    max_skips=st.none() | st.integers(1, 9),
    seed=st.integers(0, 2**70),
)
def test_positions_of_other_papers(segments, extra, strategy, max_skips, seed):
    length = sum(segments)
    positions = skipped_position_ids(
        segments, context_length=length + extra, strategy=strategy, max_skips=max_skips, seed=seed
    )
    assert positions[0] == 0
    assert positions[-1] < length + extra
    assert (np.diff(positions) >= 1).all()
    jumps = jump_tokens(positions)
    if strategy == "pose":
        assert len(jumps) <= (max_skips or 1)
    elif strategy == "cream":
        assert len(jumps) <= 2
    elif strategy == "long_recipe":
        assert set(jumps) <= set(itertools.accumulate(segments))


def assert_distributed(samples: list[tuple], expected: dict[tuple, float]) -> None:
    """Chi-square test at five standard deviations; `expected` holds the probability of every possible sample."""
    assert abs(sum(expected.values()) - 1) < 1e-9
    counts = Counter(samples)
    assert set(counts) <= {sample for sample, share in expected.items() if share > 0}
    statistic = sum(
        (counts[sample] - len(samples) * share) ** 2 / (len(samples) * share) for sample, share in expected.items()
    )
    freedom = len(expected) - 1
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


def jumps_in(positions: np.ndarray, tokens: list[int]) -> list[tuple]:
    """Jumps in front of `tokens`, one tuple per row."""
    steps = np.diff(positions, axis=1) - 1
    return [tuple(row) for row in steps[:, [token - 1 for token in tokens]].tolist()]


def test_jumps_are_distributed_as_documented():
    """Two borders: one or two of them, a uniform sum, and for two of them one uniform cut."""
    room = 4
    positions = many_positions([2, 2, 2], 20_000, context_length=6 + room)
    expected: dict[tuple, float] = dict.fromkeys(itertools.product(range(room + 1), repeat=2), 0.0)
    for total in range(room + 1):
        expected[total, 0] += 0.25 / (room + 1)
        expected[0, total] += 0.25 / (room + 1)
        for cut in range(total + 1):
            expected[cut, total - cut] += 0.5 / (room + 1) / (total + 1)
    expected = {jumps: share for jumps, share in expected.items() if share > 0}
    assert_distributed(jumps_in(positions, [2, 4]), expected)


@pytest.mark.parametrize(
    ("split", "rule"),
    [
        ("equal", lambda room: {(t // 2, t - t // 2): 1 / (room + 1) for t in range(room + 1)}),
        ("independent", lambda room: dict.fromkeys(itertools.product(range(room // 2 + 1), repeat=2), None)),
    ],
)
def test_other_splits_are_distributed_as_documented(split, rule):
    room = 6
    positions = many_positions([2, 2, 2], 12_000, context_length=6 + room, split=split)
    pairs = rule(room)
    pairs = {pair: share or 1 / len(pairs) for pair, share in pairs.items()}
    expected: Counter = Counter({pair: share / 2 for pair, share in pairs.items()})
    for jump in range(room + 1):
        expected[jump, 0] += 0.25 / (room + 1)
        expected[0, jump] += 0.25 / (room + 1)
    assert_distributed(jumps_in(positions, [2, 4]), dict(expected))


def test_borders_are_chosen_alike():
    positions = many_positions([1, 1, 1, 1, 1], 8_000, context_length=10**9, max_skips=2)
    chosen = [tuple(np.flatnonzero(np.diff(row) > 1).tolist()) for row in positions]
    singles = {(border,): 1 / 8 for border in range(4)}
    assert_distributed(chosen, singles | dict.fromkeys(itertools.combinations(range(4), 2), 1 / 12))


def test_pose_is_the_published_sampler():
    """First chunk of 1 to (n + 1) // 2 tokens, second chunk moved by 0 to L - n."""
    positions = many_positions([5], 9_000, context_length=9, strategy="pose")
    expected: Counter = Counter()
    for first, shift in itertools.product(range(1, 4), range(5)):
        expected[tuple(range(first)) + tuple(range(first + shift, 5 + shift))] += 1 / 15
    assert_distributed([tuple(row) for row in positions.tolist()], dict(expected))


def test_pose_with_three_chunks():
    positions = many_positions([4], 12_000, context_length=7, strategy="pose", max_skips=2)
    expected: Counter = Counter()
    for tokens in itertools.combinations((1, 2, 3), 2):
        for first in range(4):
            for second in range(first, 4):
                bias = [first * (t >= tokens[0]) + (second - first) * (t >= tokens[1]) for t in range(4)]
                expected[tuple(t + bias[t] for t in range(4))] += 1 / 3 / 4 / (4 - first)
    assert_distributed([tuple(row) for row in positions.tolist()], dict(expected))


def test_random_positions_are_all_sets_alike():
    """Both ways of drawing a set: few of many values, and most of them."""
    for length, context in ((3, 7), (4, 6)):
        positions = many_positions([length], 12_000, context_length=context, strategy="random")
        sets = list(itertools.combinations(range(context), length))
        expected: Counter = Counter()
        for chosen in sets:
            expected[tuple(value - chosen[0] for value in chosen)] += 1 / len(sets)
        assert_distributed([tuple(row) for row in positions.tolist()], dict(expected))


def test_long_recipe_shuffles_sentences_and_free_positions():
    room = 3
    positions = many_positions([2, 2, 2], 12_000, context_length=6 + room, strategy="long_recipe")
    slots = list(itertools.combinations(range(3 + room), 3))
    expected: Counter = Counter()
    for _, second, third in slots:
        expected[second - 1, third - second - 1] += 1 / len(slots)
    assert_distributed(jumps_in(positions, [2, 4]), dict(expected))


def test_cream_is_the_published_sampler():
    """Against a slow version of the published script, which needs a window of even length and looks up a table."""
    length, factor, rows = 60, 4, 6_000
    positions = many_positions([length], rows, context_length=length * factor, strategy="cream")
    random_numbers = random.Random(0)
    reference = []
    for _ in range(rows):
        edge = length // 3 if random_numbers.random() < 0.5 else 4 * factor
        middle = length - 2 * edge
        zone = int(min(max(random_numbers.normalvariate(1 + factor, 3.0), 2), 2 * factor))
        last = random_numbers.randint(int(edge + (middle - 1) * zone / 2), int(zone / 2 * length) - edge - 1)
        reference.append((edge, last))
    assert (positions[:, -1] == length * factor - 1).all()
    ours = []
    for row in positions:
        steps = np.flatnonzero(np.diff(row) != 1) + 1
        edge = length - steps[-1] if steps[-1] > length // 2 else steps[0]
        ours.append((int(edge), int(row[length - edge - 1])))
    for edge in (length // 3, 4 * factor):
        mine = np.array([last for own, last in ours if own == edge])
        theirs = np.array([last for own, last in reference if own == edge])
        assert abs(len(mine) - rows / 2) < 5 * (rows / 4) ** 0.5
        # Largest difference of the two distribution functions, at a level of about one in a million.
        grid = np.arange(length * factor)
        difference = np.abs((mine[:, None] <= grid).mean(0) - (theirs[:, None] <= grid).mean(0)).max()
        assert difference < 2.7 * (1 / len(mine) + 1 / len(theirs)) ** 0.5
