"""Calls of several runs: recalls by hand, parity with the metrics, intervals over patients and runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError
from tapetum.core.registry import Family
from tapetum.score.stats import bootstrap_interval, mean_interval
from tapetum.score.stats.confusions import (
    accuracy,
    balanced_accuracy,
    confusions,
    mean_recall_of,
    quadratic_kappa,
    recalls,
    worst_recall,
)

METRICS = Family("tapetum.score.metrics")


def graded(seed=0, n=120, k=4, runs=3):
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=n)
    called = np.where(rng.random((runs, n)) < 0.6, truth, rng.integers(k, size=(runs, n)))
    return called, truth, np.repeat(np.arange(n // 2), 2)


def test_tables_and_recalls_by_hand():
    called, truth = np.array([[0, 0, 1, 2, 2], [1, 0, 1, 0, 2]]), np.array([0, 0, 1, 1, 2])
    made = confusions(called, truth, 3, list("abcde"), rng=np.random.default_rng(0), draws=20)
    assert made.whole.tolist() == [[[2, 0, 0], [0, 1, 1], [0, 0, 1]], [[1, 1, 0], [1, 1, 0], [0, 0, 1]]]
    assert recalls(made.whole).tolist() == [[1, 0.5, 1], [0.5, 0.5, 1]]
    assert made.interval(accuracy).estimate == pytest.approx((4 / 5 + 3 / 5) / 2)
    assert made.interval(balanced_accuracy).estimate == pytest.approx((2.5 / 3 + 2 / 3) / 2)
    assert made.interval(worst_recall).estimate == 0.5
    assert made.interval(mean_recall_of(np.array([False, True, True]))).estimate == 0.75
    assert made.drawn.sum(axis=(2, 3)).tolist() == [[5, 5]] * 20


@pytest.mark.parametrize(
    ("statistic", "metric"),
    [
        (balanced_accuracy, "balanced_accuracy_score"),
        (quadratic_kappa, "cohen_kappa_score(weights='quadratic')"),
    ],
)
def test_one_run_is_what_the_metric_gives_draw_by_draw(statistic, metric):
    called, truth, who = graded(runs=1)
    made = confusions(called, truth, 4, who, rng=np.random.default_rng(5), draws=200).interval(statistic)
    slow = bootstrap_interval(
        METRICS.build(metric), [np.eye(4)[called[0]], truth], who, rng=np.random.default_rng(5), draws=200
    )
    assert (made.estimate, made.low, made.high) == pytest.approx((slow.estimate, slow.low, slow.high))


def test_accuracy_is_the_mean_of_hits():
    called, truth, who = graded(runs=1)
    made = confusions(called, truth, 4, who, rng=np.random.default_rng(5), draws=300).interval(accuracy)
    slow = mean_interval((called[0] == truth).astype(float), who, rng=np.random.default_rng(5), draws=300)
    assert (made.estimate, made.low, made.high) == pytest.approx((slow.estimate, slow.low, slow.high))


def test_runs_that_differ_widen_the_interval():
    called, truth, who = graded()
    alike, apart = called[[0, 0, 0]], called.copy()
    apart[2] = (truth + 1) % 4
    same, other = (
        confusions(c, truth, 4, who, rng=np.random.default_rng(1), draws=400).interval(accuracy) for c in (alike, apart)
    )
    assert other.high - other.low > 2 * (same.high - same.low)
    assert "3 runs" in other.method


def test_differences_are_paired():
    called, truth, who = graded()
    first = confusions(called, truth, 4, who, rng=np.random.default_rng(1), draws=200)
    nothing = first.minus(confusions(called, truth, 4, who, rng=np.random.default_rng(1), draws=200), accuracy)
    assert (nothing.interval.low, nothing.interval.estimate, nothing.interval.high) == (0, 0, 0)
    better = called.copy()
    better[:, :30] = truth[:30]
    gain = confusions(better, truth, 4, who, rng=np.random.default_rng(1), draws=200).minus(first, accuracy)
    assert gain.interval.low > 0
    assert gain.p_value < 0.05
    with pytest.raises(DataError):
        first.minus(confusions(called, truth, 4, who, rng=np.random.default_rng(2), draws=200), accuracy)
    with pytest.raises(DataError):
        first.minus(confusions(called[:2], truth, 4, who, rng=np.random.default_rng(1), draws=200), accuracy)


def test_what_is_undefined_is_nan():
    called, truth = np.array([[0, 1, 1]]), np.array([0, 1, 1])
    made = confusions(called, truth, 3, list("abc"), rng=np.random.default_rng(0), draws=20)
    assert math.isnan(made.interval(balanced_accuracy).estimate)
    assert math.isnan(made.interval(mean_recall_of(np.array([False, False, True]))).estimate)
    assert made.interval(accuracy).estimate == 1
    one = confusions(called, np.zeros(3, int), 2, list("abc"), rng=np.random.default_rng(0), draws=20)
    assert math.isnan(one.interval(quadratic_kappa).estimate)
    assert math.isnan(made.interval(mean_recall_of(np.zeros(3, bool))).estimate)


@pytest.mark.parametrize(
    ("called", "labels"),
    [
        (np.array([0, 1]), np.array([0, 1])),
        (np.array([[0, 1]]), np.array([0])),
        (np.array([[0, 2]]), np.array([0, 1])),
        (np.array([[0, -1]]), np.array([0, 1])),
    ],
)
def test_invalid_use(called, labels):
    with pytest.raises(DataError):
        confusions(called, labels, 2, ["a", "b"], rng=np.random.default_rng(0), draws=10)
