"""Thresholds, operating points, reliability bins and the ROC curve."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.score import operating_point, threshold_for_sensitivity, wilson_interval
from tapetum.score.metrics.expected_calibration_error import expected_calibration_error
from tapetum.score.metrics.sensitivity_score import sensitivity_score
from tapetum.score.reliability import reliability_bins, roc_curve


@pytest.mark.parametrize(
    ("target", "threshold", "reached"),
    [(0.2, 0.9, 0.2), (0.21, 0.7, 0.8), (0.8, 0.7, 0.8), (0.81, 0.1, 1.0), (1.0, 0.1, 1.0)],
)
def test_largest_threshold_that_reaches_the_target_with_ties(target, threshold, reached):
    probs = np.array([0.9, 0.7, 0.7, 0.7, 0.1, 0.8, 0.75, 0.05])
    labels = np.array([1, 1, 1, 1, 1, 0, 0, np.nan])
    found = threshold_for_sensitivity(probs, labels, sensitivity=target)
    assert found == threshold
    assert sensitivity_score(probs[:7], labels[:7], threshold=found) == reached
    assert sensitivity_score(probs[:7], labels[:7], threshold=np.nextafter(found, 1)) < target


def test_rounding_asks_for_no_positive_too_many():
    probs = np.arange(10) / 10
    for needed in range(1, 11):
        share = sum([0.1] * needed)  # 0.7999999999999999, 0.8999999999999999, …
        assert threshold_for_sensitivity(probs, np.ones(10), sensitivity=min(share, 1.0)) == probs[10 - needed]


def test_no_positives_no_threshold():
    assert math.isnan(threshold_for_sensitivity(np.array([0.1, 0.9]), np.array([0, 0]), sensitivity=0.9))
    with pytest.raises(UsageError, match="sensitivity"):
        threshold_for_sensitivity(np.array([0.1]), np.array([1]), sensitivity=90.0)
    with pytest.raises(UsageError, match="NaN"):
        operating_point(np.array([0.1]), np.array([1]), math.nan)


def test_operating_point_by_hand():
    probs = np.array([0.9, 0.8, 0.3, 0.6, 0.2, 0.1])
    labels = np.array([1, 1, 1, 0, 0, 0])
    point = operating_point(probs, labels, 0.6)
    assert (point.true_positives, point.false_positives, point.false_negatives, point.true_negatives) == (2, 1, 1, 2)
    for share in (point.sensitivity, point.specificity, point.ppv, point.npv):
        assert share == wilson_interval(2, 3)
    assert "independent" in point.sensitivity.method
    silent = operating_point(probs, labels, 2.0)
    assert silent.sensitivity.estimate == 0
    assert math.isnan(silent.ppv.estimate)


def test_operating_point_by_patients():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random(100) < 0.5, 2).astype(int)
    probs = np.repeat(rng.random(100), 2)
    who = np.repeat(np.arange(100), 2)
    point = operating_point(probs, labels, 0.5, who)
    naive = operating_point(probs, labels, 0.5)
    assert point.sensitivity.estimate == naive.sensitivity.estimate
    assert "of 44 patients" in point.sensitivity.method
    assert point.sensitivity.high - point.sensitivity.low > 1.2 * (naive.sensitivity.high - naive.sensitivity.low)
    with pytest.raises(DataError, match="clusters"):
        operating_point(probs, labels, 0.5, who[1:])


def test_a_sensitivity_of_one_is_not_certain():
    """Four patients with two positive eyes each, all found; five healthy ones, one eye of one called wrongly."""
    labels = np.array([1] * 8 + [0] * 10)
    probs = np.array([0.9] * 8 + [0.1] * 9 + [0.8])
    who = np.repeat(np.arange(9), 2)
    point = operating_point(probs, labels, 0.5, who)
    # four patients, not eight eyes: 4 / (4 + 1.96²)
    assert (point.sensitivity.estimate, point.sensitivity.high) == (1, 1)
    assert point.sensitivity.low == pytest.approx(4 / (4 + 1.959964**2))
    # the rests of the patients are .2, .2, .2, .2 and -.8: variance .8 · 5/4 / 10² = .01, worth .9 · .1 / .01 = 9
    assert point.specificity.low == pytest.approx(wilson_interval(9, 10).low, abs=0.03)
    assert "worth 9.0" in point.specificity.method
    # every patient half right: no variance between patients, and still no more than as many trials as images
    halves = operating_point(np.tile([0.9, 0.1], 10), np.ones(20), 0.5, np.repeat(np.arange(10), 2))
    assert (halves.sensitivity.low, halves.sensitivity.high) == pytest.approx(
        (wilson_interval(10, 20).low, wilson_interval(10, 20).high)
    )
    assert math.isnan(halves.specificity.estimate)


def test_reliability_bins():
    rng = np.random.default_rng(1)
    probs = rng.random(500)
    labels = (rng.random(500) < probs**2).astype(int)
    bins = reliability_bins(probs, labels, bins=15)
    assert bins.images.sum() == 500
    gap = np.sum(np.abs(bins.stated - bins.observed) * bins.images) / 500
    assert gap == pytest.approx(expected_calibration_error(probs, labels))
    assert ((bins.low <= bins.observed) & (bins.observed <= bins.high)).all()
    few = reliability_bins(np.array([0.1, 0.1, 0.95]), np.array([0, 1, 1]))
    assert few.images.tolist() == [2, 1]
    assert few.observed.tolist() == [0.5, 1.0]
    assert len(reliability_bins(np.empty(0), np.empty(0)).images) == 0
    with pytest.raises(DataError):
        reliability_bins(np.array([3.0]), np.array([1]))


def test_roc_curve():
    curve = roc_curve(np.array([0.1, 0.5, 0.5, 0.9]), np.array([0, 0, 1, 1]))
    assert curve.thresholds.tolist() == [np.inf, 0.9, 0.5, 0.1]
    assert curve.false_positive_rate.tolist() == [0, 0, 0.5, 1]
    assert curve.true_positive_rate.tolist() == [0, 0.5, 1, 1]
    assert np.isnan(roc_curve(np.array([0.1, 0.5]), np.array([1, 1])).false_positive_rate).all()
