"""Intervals against their definition and against simulation."""

import math

import numpy as np
import pytest

from lsw_hf.evaluation.statistics import mean, wilson_interval


@pytest.mark.parametrize(("correct", "samples"), [(0, 7), (7, 7), (3, 10), (81, 100), (1, 1)])
def test_bounds_solve_the_score_equation(correct, samples):
    share = correct / samples
    for bound in wilson_interval(correct, samples):
        if 1e-12 < bound < 1 - 1e-12:
            # Where the true share is the bound, the observed one is 1.96 standard errors away.
            assert abs(share - bound) / math.sqrt(bound * (1 - bound) / samples) == pytest.approx(1.959964, rel=1e-6)
        else:
            assert bound == share


def test_nothing_is_known_without_samples():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="between 0 and samples; got 3 of 2"):
        wilson_interval(3, 2)


def test_intervals_cover_the_truth():
    generator = np.random.default_rng(0)
    covered = []
    for truth in (0.03, 0.2, 0.5, 0.87, 0.98):
        for samples in (20, 50, 100, 250):
            counts = generator.binomial(samples, truth, size=1000).tolist()
            found = [wilson_interval(count, samples) for count in counts]
            covered.append(np.mean([low <= truth <= high for low, high in found]))
    assert 0.93 <= np.mean(covered) <= 0.97


def test_partial_scores_are_covered_at_least_as_often():
    generator = np.random.default_rng(1)
    scores = generator.integers(0, 5, size=(1000, 60)) / 4
    found = [wilson_interval(float(row.sum()), 60) for row in scores]
    assert np.mean([low <= 0.5 <= high for low, high in found]) >= 0.95


def test_mean():
    assert mean([0.1] * 10) == 0.1
    assert math.isnan(mean([]))
