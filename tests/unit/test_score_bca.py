"""BCa bounds: against scipy on the same draws, against literal leaving-out, and where they do not exist."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import special
from scipy import stats as scipy_stats

from tapetum.core.errors import UsageError
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.stats import (
    auroc_interval,
    bootstrap_interval,
    mean_interval,
    paired_auroc_difference,
    paired_runs_difference,
    runs_auroc_interval,
)
from tapetum.score.stats.bounds import acceleration, drawn_difference, drawn_interval
from tapetum.score.stats.draws import cluster_weights, jackknife_weights


def skewed(n=40, seed=0):
    return np.random.default_rng(seed).exponential(size=n)


def eyes(patients=40, seed=0):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(patients), 2)
    labels = (rng.random(patients) < 0.4)[who].astype(float)
    return labels + rng.normal(size=patients)[who] + rng.normal(size=2 * patients), labels, who


def test_jackknife_leaves_each_patient_out_once():
    weights = np.concatenate(list(jackknife_weights(["b", "a", "b", "c"])))
    np.testing.assert_array_equal(weights, [[1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 0]])
    with pytest.raises(UsageError, match="no images"):
        next(jackknife_weights([]))


def test_bounds_are_those_of_scipy_on_the_same_draws():
    values = skewed()
    drawn = np.array(
        [np.average(values, weights=w) for b in cluster_weights(range(40), 999, np.random.default_rng(2)) for w in b]
    )
    given = SimpleNamespace(bootstrap_distribution=drawn)
    expected = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=0, bootstrap_result=given, method="BCa"
    ).confidence_interval
    found = mean_interval(values, range(40), rng=np.random.default_rng(2), draws=999, bounds="bca")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert found.method == "patient-cluster bootstrap, 999 draws, BCa"
    plain = mean_interval(values, range(40), rng=np.random.default_rng(2), draws=999)
    assert found.low > plain.low  # a skewed mean: BCa moves to the right
    assert found.high > plain.high


def test_acceleration_of_two_samples_is_that_of_scipy():
    first, second = skewed(12, 1), skewed(9, 2)
    left = [
        np.array([np.delete(first, i).mean() - second.mean() for i in range(12)]),
        np.array([first.mean() - np.delete(second, i).mean() for i in range(9)]),
    ]
    # by hand: U = (n - 1) (mean of the jackknife - jackknife), a = sum U^3/n^3 / (6 (sum U^2/n^2)^1.5)
    moves = [(len(j) - 1) * (j.mean() - j) for j in left]
    cubes = sum((u**3).sum() / len(u) ** 3 for u in moves)
    squares = sum((u**2).sum() / len(u) ** 2 for u in moves)
    assert acceleration(left) == pytest.approx(cubes / (6 * squares**1.5), rel=1e-12)
    assert acceleration([np.array([1.0, 2.0, 3.0])]) == pytest.approx(0, abs=1e-15)
    assert math.isnan(acceleration([np.ones(5)]))


def test_eyes_of_a_patient_are_left_out_together():
    scores, labels, who = eyes()
    found = auroc_interval(scores, labels, who, rng=np.random.default_rng(4), draws=500, bounds="bca")
    drawn = []
    for block in cluster_weights(who, 500, np.random.default_rng(4)):
        rows = [np.repeat(np.arange(80), w) for w in block]
        drawn += [auroc_score(scores[r], labels[r]) for r in rows]
    left = np.array([auroc_score(scores[who != p], labels[who != p]) for p in range(40)])
    drawn, whole = np.array(drawn), auroc_score(scores, labels)
    bias = special.ndtri(((drawn < whole - 1e-12).mean() + (drawn <= whole + 1e-12).mean()) / 2)
    move = left.mean() - left
    a = (move**3).sum() / (6 * (move**2).sum() ** 1.5)
    z = bias + special.ndtri([0.025, 0.975])
    expected = np.quantile(drawn, special.ndtr(bias + z / (1 - a * z)))
    np.testing.assert_allclose([found.low, found.high], expected, atol=1e-12)
    other = bootstrap_interval(
        auroc_score, [scores, labels], who, rng=np.random.default_rng(4), draws=500, bounds="bca"
    )
    assert (other.low, other.high) == pytest.approx((found.low, found.high), abs=1e-12)


def test_p_is_the_level_at_which_a_bound_touches_zero():
    scores, labels, who = eyes()
    weaker = scores - 0.4 * labels + np.random.default_rng(9).normal(size=len(scores))
    found = paired_auroc_difference(scores, weaker, labels, who, rng=np.random.default_rng(1), draws=4000, bounds="bca")
    assert 0.001 < found.p_value < 0.5
    touching = paired_auroc_difference(
        scores, weaker, labels, who, rng=np.random.default_rng(1), draws=4000, bounds="bca", level=1 - found.p_value
    )
    nearest = min(abs(touching.interval.low), abs(touching.interval.high))
    assert nearest < 0.01 * (found.interval.high - found.interval.low)


def test_the_first_and_the_second_method_exchanged_change_the_sign_only():
    scores, labels, who = eyes()
    weaker = scores + np.random.default_rng(3).normal(size=len(scores))
    one = paired_auroc_difference(scores, weaker, labels, who, rng=np.random.default_rng(1), draws=300, bounds="bca")
    two = paired_auroc_difference(weaker, scores, labels, who, rng=np.random.default_rng(1), draws=300, bounds="bca")
    assert (one.interval.low, one.interval.high) == pytest.approx((-two.interval.high, -two.interval.low), abs=1e-12)
    assert one.p_value == pytest.approx(two.p_value, rel=1e-9)


def test_runs_are_a_second_sample():
    scores, labels, who = eyes()
    runs = np.stack([scores, scores + np.random.default_rng(3).normal(size=80), scores**3])[:, :, None]
    found = runs_auroc_interval(runs, labels[:, None], who, rng=np.random.default_rng(5), draws=200, bounds="bca")
    assert found.low < found.estimate < found.high
    assert found.method.startswith("patient-cluster bootstrap, 200 draws, BCa of patients and of 3 runs")
    once = runs_auroc_interval(runs[:1], labels[:, None], who, rng=np.random.default_rng(5), draws=200, bounds="bca")
    assert once == auroc_interval(scores, labels, who, rng=np.random.default_rng(5), draws=200, bounds="bca")
    others = runs + np.random.default_rng(8).normal(size=runs.shape)
    apart = paired_runs_difference(
        runs, others, labels[:, None], who, rng=np.random.default_rng(5), draws=200, bounds="bca"
    )
    assert apart.interval.low < apart.interval.estimate < apart.interval.high
    assert 0 < apart.p_value <= 1


def test_no_bounds_where_there_is_no_acceleration():
    # the only positive patient cannot be left out
    lonely = auroc_interval(
        np.arange(20.0), (np.arange(20) == 15).astype(float), range(20), rng=np.random.default_rng(0), bounds="bca"
    )
    assert lonely.estimate == 15 / 19
    assert math.isnan(lonely.low)
    assert "acceleration undefined" in lonely.method
    apart = auroc_interval(np.arange(20.0), np.arange(20) >= 10, range(20), rng=np.random.default_rng(0), bounds="bca")
    assert apart.estimate == 1
    assert math.isnan(apart.high)
    flat = drawn_difference(0.0, np.zeros(50), range(5), level=0.95, jackknives=[np.zeros(5)])
    assert math.isnan(flat.p_value)
    one = drawn_interval(0.5, np.full(9, 0.5), ["a", "a"], level=0.95, jackknives=[np.array([math.nan])])
    assert "one patient only" in one.method


def test_unknown_bounds_are_refused():
    scores, labels, who = eyes()
    for call in (auroc_interval, lambda s, y, c, **k: mean_interval(s, c, **k)):
        with pytest.raises(UsageError, match="percentile or bca"):
            call(scores, labels, who, rng=np.random.default_rng(0), bounds="BCA")
