"""Two reports of one grid: when the second is worse, and how often chance alone says so."""

from math import comb

import pytest

from lsw_hf import NeedleReport, NeedleSample, compare_needle

GRID = {"context_lengths": [512, 1024, 2048], "depths": [0.5]}


def report(lost, gained=None, questions=40):
    """A report whose first `lost[i]` questions of a length are wrong, compared with one whose last `gained[i]` are."""
    pairs = []
    for side in (0, 1):
        samples = []
        for length, (bad, good) in zip((512, 1024, 2048), zip(lost, gained or (0, 0, 0), strict=True), strict=True):
            for number in range(questions):
                wrong = number >= questions - good if side == 0 else number < bad
                samples.append(NeedleSample(length, 0.5, 0.5, number, f"q{number}", "a", "", not wrong))
        pairs.append(NeedleReport(GRID, tuple(samples)))
    return compare_needle(*pairs)


def tail(lost, changed):
    return sum(comb(changed, k) for k in range(lost, changed + 1)) / 2**changed


@pytest.mark.parametrize(
    ("lost", "gained", "at", "worse"),
    [
        ((0, 0, 0), None, (), False),
        ((6, 0, 0), None, (), True),  # 1/64 is below 0.025 over all, not below a third of it at one of three lengths
        ((7, 0, 0), None, (512,), True),
        ((5, 0, 0), None, (), False),
        ((9, 1, 0), (1, 6, 0), (), False),
        ((9, 0, 0), (0, 9, 0), (512,), True),  # made up for elsewhere, and still worse there
        ((0, 0, 0), (9, 9, 9), (), False),
    ],
)
def test_worse_is_what_chance_does_not_explain(lost, gained, at, worse):
    found = report(lost, gained)
    assert (found.worse_at, found.worse) == (at, worse)
    changes = list(zip(lost, gained or (0, 0, 0), strict=True))
    slow = [tail(bad, bad + good) <= 0.025 / 3 for bad, good in changes]
    assert [length in at for length in (512, 1024, 2048)] == slow


def test_reports_without_samples_are_refused():
    with pytest.raises(ValueError, match="the reports have no samples"):
        compare_needle(NeedleReport(GRID, ()), NeedleReport(GRID, ()))
