"""Shares of tokens are met exactly, at every moment, on the way up and after a resume."""

import itertools
import json

import numpy as np
import pytest
from datasets import Dataset, IterableDataset

from lsw_hf.data.mixtures import TokenMixture


def rows(name, count, low, high, seed=0):
    lengths = np.random.default_rng(seed).integers(low, high, count).tolist()
    return [{"input_ids": [place] * length, "name": name} for place, length in enumerate(lengths)]


def sources(count=400):
    return {"long": rows("long", count, 90, 130), "short": rows("short", 4 * count, 3, 20, 1)}


def tokens(given, name):
    return sum(len(row["input_ids"]) for row in given if row["name"] == name)


def test_shares_hold_at_every_moment():
    mixture = TokenMixture(sources(), {"long": 0.7, "short": 0.3})
    given = {"long": 0, "short": 0}
    for row in itertools.islice(mixture, 900):
        given[row["name"]] += len(row["input_ids"])
        assert abs(given["long"] - 0.7 * sum(given.values())) <= 130
    assert mixture.counts["long"].tokens == given["long"]
    assert mixture.counts["short"].rows + mixture.counts["long"].rows == 900


def test_rising_share_follows_its_curve():
    """10% to 40%: a straight line gives 25% overall; the square gives the 20% of the paper."""
    for power, overall in ((1.0, 0.25), (2.0, 0.20)):
        mixture = TokenMixture(
            {"main": rows("main", 4_000, 5, 9), "stem": rows("stem", 4_000, 5, 9, 2)},
            {"main": (0.9, 0.6), "stem": (0.1, 0.4)},
            total_tokens=20_000,
            ramp_power=power,
        )
        given = list(mixture)
        total = sum(len(row["input_ids"]) for row in given)
        assert 20_000 <= total < 20_009
        assert abs(tokens(given, "stem") / total - overall) < 0.001
        tenth = len(given) // 10
        for part, way in ((given[:tenth], 0.05), (given[-tenth:], 0.95)):
            share = tokens(part, "stem") / sum(len(row["input_ids"]) for row in part)
            assert abs(share - (0.1 + 0.3 * way**power)) < 0.02


def test_rounding_gives_nothing_to_a_source_without_weight():
    """Weights that sum to 1 nearly leave a rest, which nobody else would be behind of."""
    weights = {"a": 0.4999996, "b": 0.4999996, "c": 0.0}
    mixture = TokenMixture({name: [{"input_ids": [1] * 1_000}] * 4_000 for name in weights}, weights)
    list(itertools.islice(mixture, 6_000))
    assert {name: counts.rows for name, counts in mixture.counts.items()} == {"a": 3_000, "b": 3_000, "c": 0}


def test_ends_when_a_source_ends_or_begins_it_again():
    few = {"long": rows("long", 5, 100, 101), "short": rows("short", 300, 10, 11)}
    weights = {"long": 0.5, "short": 0.5}
    stopped = list(TokenMixture(few, weights))
    assert tokens(stopped, "long") == 500
    assert abs(tokens(stopped, "short") - 500) <= 100
    mixture = TokenMixture(few, weights, total_tokens=2_400, when_exhausted="repeat")
    repeated = list(mixture)
    assert abs(tokens(repeated, "long") - 1_200) <= 100
    assert (mixture.counts["long"].passes, mixture.counts["short"].passes) == (3, 1)


@pytest.mark.parametrize("stop", [0, 1, 40, 130])
@pytest.mark.parametrize("when", ["stop", "repeat"])
def test_resume_equals_the_undisturbed_mixture(stop, when):
    def build():
        return TokenMixture(
            sources(30), {"long": (0.2, 0.9), "short": (0.8, 0.1)}, total_tokens=6_000, when_exhausted=when
        )

    truth = list(build())
    first = build()
    head = list(itertools.islice(first, stop))
    state = json.loads(json.dumps(first.state_dict()))
    second = build()
    second.load_state_dict(state)
    assert head + list(second) == truth


def some_sources(kind):
    """Few rows, so that a mixture of some hundred tokens passes over them several times."""
    given = {"a": rows("a", 7, 3, 9), "b": rows("b", 4, 2, 12, 1)}
    if kind == "lists":
        return given
    if kind == "datasets":
        return {name: Dataset.from_list(part) for name, part in given.items()}
    return {
        name: IterableDataset.from_generator(_of_files, gen_kwargs={"files": part}).shuffle(seed=3, buffer_size=4)
        for name, part in given.items()
    }


def _of_files(files):
    yield from files


@pytest.mark.parametrize("kind", ["lists", "datasets", pytest.param("streams", marks=pytest.mark.slow)])
def test_state_is_exact_at_every_cut_of_every_pass(kind):
    def build():
        return TokenMixture(some_sources(kind), {"a": 0.7, "b": 0.3}, total_tokens=300, when_exhausted="repeat")

    truth = list(build())
    whole = build()
    list(whole)
    assert {name: counts.passes for name, counts in whole.counts.items()} == {"a": 7, "b": 3}
    for cut in range(0, len(truth) + 1, 1 if kind == "lists" else 3):
        first = build()
        head = list(itertools.islice(first, cut))
        state = json.loads(json.dumps(first.state_dict()))
        second = build()
        second.load_state_dict(state)
        # Right after loading, and after the cut again, as at every checkpoint of a run that is resumed twice.
        assert second.state_dict() == state
        more = list(itertools.islice(second, 5))
        third = build()
        third.load_state_dict(second.state_dict())
        assert head + more + list(third) == truth


def test_dataset_resumes_and_shards_keep_the_shares():
    def build():
        parts = {name: Dataset.from_list(given) for name, given in sources(100).items()}
        return TokenMixture(parts, {"long": 0.6, "short": 0.4}, total_tokens=12_000).as_dataset(num_shards=3)

    whole = list(build())
    assert abs(tokens(whole, "long") / (tokens(whole, "long") + tokens(whole, "short")) - 0.6) < 0.02
    split = [row for index in range(3) for row in build().shard(num_shards=3, index=index)]
    assert split == whole
    first = build()
    reading = iter(first)
    head = [next(reading) for _ in range(70)]
    second = build()
    second.load_state_dict(first.state_dict())
    assert head + list(second) == whole


def test_streams_get_a_new_epoch_on_every_pass():
    stream = IterableDataset.from_generator(lambda: iter(rows("a", 40, 5, 6))).shuffle(seed=1, buffer_size=40)
    mixture = TokenMixture({"a": stream}, {"a": 1.0}, total_tokens=400, when_exhausted="repeat")
    order = [row["input_ids"][0] for row in mixture]
    assert sorted(order[:40]) == sorted(order[40:]) == list(range(40))
    assert order[:40] != order[40:]


def test_length_may_be_a_number():
    given = [{"num_tokens": 7, "text": "x"}] * 10
    mixture = TokenMixture({"a": given}, {"a": 1.0}, total_tokens=30, length_column="num_tokens")
    assert len(list(mixture)) == 5
    assert mixture.counts["a"].tokens == 35


@pytest.mark.parametrize(
    ("weights", "settings", "message"),
    [
        ({"long": 1.0}, {}, r"weights are given for \['long'\], but the sources are \['long', 'short'\]"),
        ({"long": 0.5, "short": 0.4}, {}, "at the beginning they are .* sum 0.9"),
        ({"long": (0.5, 0.6), "short": 0.5}, {"total_tokens": 9}, "at the end they are .* sum 1.1"),
        ({"long": (0.5, 0.6), "short": (0.5, 0.4)}, {}, "Weights that change need total_tokens"),
        ({"long": 1.5, "short": -0.5}, {}, "Weights must be >= 0"),
        ({"long": float("nan"), "short": 0.5}, {}, "Weights must be >= 0 and sum to 1"),
        ({"long": 0.5, "short": 0.5}, {"total_tokens": 0}, "total_tokens must be at least 1, got 0"),
        ({"long": 0.5, "short": 0.5}, {"when_exhausted": "wait"}, "must be 'stop' or 'repeat', got 'wait'"),
        ({"long": 0.5, "short": 0.5}, {"ramp_power": 0}, "ramp_power must be above 0, got 0"),
    ],
)
def test_bad_settings(weights, settings, message):
    with pytest.raises(ValueError, match=message):
        TokenMixture(sources(2), weights, **settings)


def test_bad_sources():
    for when in ("stop", "repeat"):
        with pytest.raises(ValueError, match="The source 'a' has no rows: leave it out"):
            list(TokenMixture({"a": []}, {"a": 1.0}, when_exhausted=when))
        with pytest.raises(ValueError, match="The source 'a' has 2 rows without a token: leave it out"):
            list(TokenMixture({"a": [{"input_ids": []}] * 2}, {"a": 1.0}, when_exhausted=when))
    with pytest.raises(ValueError, match=r"A row of 'a' has no column 'input_ids', only \['text'\]"):
        list(TokenMixture({"a": [{"text": "x"}]}, {"a": 1.0}))
    with pytest.raises(ValueError, match="'a' is an iterator, which cannot begin again"):
        list(TokenMixture({"a": iter(rows("a", 2, 3, 4))}, {"a": 1.0}, when_exhausted="repeat"))
    with pytest.raises(ValueError, match="num_shards=2, but the source 'a' can only be cut into 1 parts"):
        TokenMixture({"a": rows("a", 2, 3, 4)}, {"a": 1.0}).as_dataset(num_shards=2)
    mixture = TokenMixture({"a": []}, {"a": 1.0})
    with pytest.raises(ValueError, match=r"The saved mixture has the sources \['b'\], this one \['a'\]"):
        mixture.load_state_dict({"b": {}})
    with pytest.raises(ValueError, match=r"The saved state of 'a' has \['rows', 'tokens'\] instead of .*: begin anew"):
        mixture.load_state_dict({"a": {"tokens": 1, "rows": 1}})
