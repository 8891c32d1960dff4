"""Every entry point gives every row once, whoever reads: workers of a data loader in processes that really run."""

import pytest

from benchmarks.rows_read import run, summarize


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "processes"), [(0, 2), (2, 1), (2, 2), (4, 1)])
def test_every_row_once(workers, processes):
    seen = run(workers, processes)
    assert len(seen) == 17
    counts = {name: summarize(ranks) for name, ranks in seen.items()}
    assert {name: (found["least"], found["most"]) for name, found in counts.items()} == dict.fromkeys(seen, (1, 1))
    assert all(len(ranks) == processes and all(ranks) for ranks in seen.values())


def test_what_is_lost_and_repeated_is_counted():
    found = summarize([["a0", "a0", "b1"], ["c2"]])
    assert (found["least"], found["most"], found["files"], found["order"]) == (0, 2, 3 / 12, "a a b")
