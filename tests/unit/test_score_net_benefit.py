"""Decision curves: by hand, by literal resampling, and where nothing is defined."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.score.stats.draws import cluster_weights
from tapetum.score.stats.net_benefit import decision_curve, net_benefit_difference

PROBS, LABELS = np.array([0.1, 0.4, 0.6, 0.9]), np.array([0.0, 0.0, 1.0, 1.0])


def generator(seed=0):
    return np.random.default_rng(seed)


def curve(probs=PROBS, labels=LABELS, thresholds=(0.2, 0.5), clusters=None, **options):
    who = range(len(probs)) if clusters is None else clusters
    return decision_curve(probs, labels, who, thresholds=thresholds, rng=generator(), draws=50, **options)


def values(intervals):
    return [i.estimate for i in intervals]


def test_by_hand():
    found = curve()
    # at .2: two true, one false of four, a false alarm costs .25
    assert values(found.net_benefit) == pytest.approx([0.5 - 0.25 * 0.25, 0.5])
    assert values(found.treat_all) == pytest.approx([0.5 - 0.5 * 0.25, 0])
    assert values(found.gain) == pytest.approx([0.0625, 0.5])
    # of 100: 25 false alarms fewer than treating all at .2; at .5 all 50
    assert values(found.avoided_per_100) == pytest.approx([25, 50])
    assert found.thresholds == (0.2, 0.5)


def test_another_prevalence_weights_the_classes():
    found = curve(prevalence=0.1)
    # at .2: .1 * 1 - .9 * .5 * .25; all: .1 - .9 * .25, worse than none
    assert values(found.net_benefit)[0] == pytest.approx(0.1 - 0.1125)
    assert values(found.treat_all)[0] == pytest.approx(-0.125)
    assert values(found.gain)[0] == pytest.approx(0.1 - 0.1125)
    same = curve(prevalence=0.5)
    assert values(same.net_benefit) == pytest.approx(values(curve().net_benefit))


def test_the_threshold_itself_is_acted_on():
    assert values(curve(thresholds=(0.4,)).net_benefit)[0] == pytest.approx(0.5 - 0.25 * 0.4 / 0.6)


def test_intervals_by_a_literal_loop():
    rng = generator(3)
    who = np.repeat(np.arange(60), 2)
    labels = (rng.random(60) < 0.3)[who].astype(float)
    probs = np.clip(0.3 + 0.3 * (labels - 0.3) + 0.2 * rng.normal(size=120), 0.01, 0.99)
    found = decision_curve(probs, labels, who, thresholds=(0.25,), rng=generator(1), draws=300)
    drawn = []
    for weights in np.concatenate(list(cluster_weights(who, 300, generator(1)))):
        rows = np.repeat(np.arange(120), weights)
        y, call = labels[rows] == 1, probs[rows] >= 0.25
        drawn.append((call & y).mean() - (call & ~y).mean() / 3)
    interval = found.net_benefit[0]
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=1e-12)
    assert interval.method == "patient-cluster bootstrap, 300 draws, percentile"
    skewed = decision_curve(probs, labels, who, thresholds=(0.25,), rng=generator(1), draws=300, bounds="bca")
    assert "BCa" in skewed.gain[0].method
    assert skewed.net_benefit[0].low != interval.low


def test_unknown_labels_are_left_out():
    labels = np.array([0, 0, 1, 1, np.nan])
    with_unknown = curve(np.append(PROBS, 0.99), labels, clusters=list("abcde"))
    assert values(with_unknown.net_benefit) == values(curve().net_benefit)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_an_absent_class_is_nan(label):
    found = curve(labels=np.full(4, label))
    for part in (found.net_benefit, found.treat_all, found.gain, found.avoided_per_100):
        assert all(math.isnan(i.estimate) and math.isnan(i.low) for i in part)


def test_difference_of_two_models():
    worse = np.array([0.6, 0.4, 0.1, 0.9])
    found = net_benefit_difference(PROBS, worse, LABELS, range(4), threshold=0.5, rng=generator(), draws=100)
    assert found.interval.estimate == pytest.approx(0.5 - (0.25 - 0.25))
    same = net_benefit_difference(PROBS, PROBS, LABELS, range(4), threshold=0.5, rng=generator(), draws=100)
    assert (same.interval.low, same.interval.high, same.p_value) == (0, 0, 1)
    turned = net_benefit_difference(worse, PROBS, LABELS, range(4), threshold=0.5, rng=generator(), draws=100)
    assert turned.interval.estimate == -found.interval.estimate


def test_refusals():
    for thresholds in ((0.0,), (1.0,), ()):
        with pytest.raises(UsageError, match="above 0 and below 1"):
            curve(thresholds=thresholds)
    with pytest.raises(UsageError, match="prevalence"):
        curve(prevalence=10)
    with pytest.raises(DataError, match="calibrator"):
        curve(probs=PROBS * 10)
    with pytest.raises(DataError, match="clusters"):
        curve(clusters=[1])
    with pytest.raises(DataError, match="0, 1"):
        curve(labels=LABELS + 1)
