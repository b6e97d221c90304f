"""Bootstrap, DeLong, proportions and permutation, by hand and against literal loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.score import (
    auroc_interval,
    bootstrap_interval,
    delong_interval,
    macro_auroc_interval,
    mean_interval,
    paired_auroc_difference,
    permutation_p_value,
    wilson_interval,
)
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.stats import draws as draws_module
from tapetum.score.stats import paired_runs_difference, runs_auroc_interval
from tapetum.score.stats.delong import delong_covariance, delong_paired
from tapetum.score.stats.draws import auroc_draws, cluster_weights
from tapetum.score.stats.proportions import clopper_pearson_interval


def eyes(patients=60, seed=0, findings=1):
    """Two eyes per patient in mixed order, scores with ties."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(patients), 2))
    ill = rng.random((patients, findings)) < 0.3
    labels = ill[who].astype(float)
    scores = np.round(labels + rng.normal(size=labels.shape), 1)
    return scores, labels, np.array([f"p{i:03d}" for i in who])


def test_draws_take_whole_patients_as_often_as_there_are():
    _, _, who = eyes()
    weights = np.concatenate(list(cluster_weights(who, 50, np.random.default_rng(1))))
    assert weights.shape == (50, 120)
    assert (weights.sum(axis=1) == 120).all()
    for name in np.unique(who):
        pair = weights[:, who == name]
        assert (pair[:, 0] == pair[:, 1]).all()
    assert 0.9 < weights.var(axis=0).mean() < 1.1  # of a multinomial of n in n cells: (n - 1) / n


def test_draws_do_not_depend_on_the_size_of_blocks(monkeypatch):
    _, _, who = eyes()
    whole = np.concatenate(list(cluster_weights(who, 300, np.random.default_rng(1))))
    monkeypatch.setattr(draws_module, "BLOCK_BYTES", 1)
    monkeypatch.setattr(draws_module, "CACHED_DRAWS", 7)
    blocks = list(cluster_weights(who, 300, np.random.default_rng(1)))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_several_runs_by_a_literal_loop():
    scores, labels, who = eyes(findings=2)
    runs = np.stack([scores, scores + np.random.default_rng(3).normal(size=scores.shape), -scores])
    found = runs_auroc_interval(runs, labels, who, rng=np.random.default_rng(5), draws=40)
    aurocs = [[auroc_score(run[:, j], labels[:, j].astype(int)) for j in range(2)] for run in runs]
    assert found.estimate == pytest.approx(np.mean(aurocs))
    assert "3 runs" in found.method
    rng = np.random.default_rng(5)
    drawn = []
    blocks = np.concatenate(list(cluster_weights(who, 40, rng)))
    chosen = rng.multinomial(3, [1 / 3] * 3, size=40)
    for weights, times in zip(blocks, chosen, strict=True):
        rows = np.repeat(np.arange(len(who)), weights)
        means = [np.mean([auroc_score(run[rows, j], labels[rows, j].astype(int)) for j in range(2)]) for run in runs]
        drawn.append(np.dot(means, times) / 3)
    np.testing.assert_allclose([found.low, found.high], np.quantile(drawn, [0.025, 0.975]))


def test_one_run_is_the_plain_interval_and_equal_runs_do_not_differ():
    scores, labels, who = eyes(findings=2)
    plain = macro_auroc_interval(scores, labels, who, rng=np.random.default_rng(1), draws=100)
    once = runs_auroc_interval(scores[None], labels, who, rng=np.random.default_rng(1), draws=100)
    assert once == plain
    runs = np.stack([scores, scores**3])
    same = paired_runs_difference(runs, runs, labels, who, rng=np.random.default_rng(1), draws=100)
    assert (same.interval.estimate, same.interval.low, same.interval.high, same.p_value) == (0, 0, 0, 1)
    better = paired_runs_difference(
        np.stack([labels, labels]), runs, labels, who, rng=np.random.default_rng(1), draws=100
    )
    assert better.interval.low > 0
    assert better.p_value < 0.05
    single = paired_runs_difference(labels[None], scores[None], labels, who, rng=np.random.default_rng(1), draws=100)
    assert single == paired_auroc_difference(labels, scores, labels, who, rng=np.random.default_rng(1), draws=100)
    with pytest.raises(DataError, match="same runs"):
        paired_runs_difference(runs, scores[None], labels, who, rng=np.random.default_rng(1))
    with pytest.raises(DataError, match="at least one run"):
        runs_auroc_interval(scores, labels, who, rng=np.random.default_rng(1))


def test_weights_above_a_byte_are_kept(monkeypatch):
    monkeypatch.setattr(
        draws_module, "_count", lambda size, draws, rng: np.full((draws, size), 300 if rng.random() < 0.5 else 3)
    )
    weights = np.concatenate(list(cluster_weights(list("abc"), 100, np.random.default_rng(0))))
    assert set(np.unique(weights)) == {3, 300}


def test_interval_equals_a_literal_resampling_loop():
    scores, labels, who = eyes()
    interval = auroc_interval(scores[:, 0], labels[:, 0], who, rng=np.random.default_rng(3), draws=200)
    weights = np.concatenate(list(cluster_weights(who, 200, np.random.default_rng(3))))
    loop = []
    for row in weights:
        rows = np.repeat(np.arange(len(row)), row)
        loop.append(auroc_score(scores[rows, 0], labels[rows, 0]))
    low, high = np.quantile(loop, [0.025, 0.975])
    assert interval.estimate == auroc_score(scores[:, 0], labels[:, 0])
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-12)
    assert interval.method == "patient-cluster bootstrap, 200 draws, percentile"
    other = bootstrap_interval(auroc_score, [scores[:, 0], labels[:, 0]], who, rng=np.random.default_rng(3), draws=200)
    assert (other.estimate, other.low, other.high) == pytest.approx((interval.estimate, low, high), abs=1e-12)


def test_auroc_of_draws_by_hand():
    scores, labels = np.array([1.0, 2.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0, np.nan])
    weights = np.array([[1, 1, 1, 9], [1, 3, 2, 0], [1, 1, 0, 1], [0, 0, 1, 1]])
    # (1 + .5) / 2; (1*2 + .5*3*2) / (4*2); no positive; no negative
    np.testing.assert_allclose(auroc_draws(scores, labels, weights), [0.75, 5 / 8, np.nan, np.nan])
    both = auroc_draws(np.stack([scores, -scores], axis=1), labels, weights)
    np.testing.assert_allclose(both[:2], [[0.75, 0.25], [5 / 8, 3 / 8]])


def test_macro_uses_the_same_draws_for_all_columns():
    scores, labels, who = eyes(findings=3)
    macro = macro_auroc_interval(scores, labels, who, rng=np.random.default_rng(5), draws=300)
    weights = np.concatenate(list(cluster_weights(who, 300, np.random.default_rng(5))))
    means = np.mean([auroc_draws(scores[:, j], labels[:, j], weights) for j in range(3)], axis=0)
    assert (macro.low, macro.high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=1e-12)


def test_macro_leaves_unknown_labels_out_by_column_and_says_what_is_missing():
    scores, labels, who = eyes(findings=3)
    labels[:10, 0], labels[:, 1] = np.nan, 0
    macro = macro_auroc_interval(scores, labels, who, rng=np.random.default_rng(5), draws=100)
    expected = [auroc_score(scores[10:, 0], labels[10:, 0]), auroc_score(scores[:, 2], labels[:, 2])]
    assert macro.estimate == pytest.approx(np.mean(expected))
    assert "2 of 3" in macro.method


def test_draws_without_a_class_are_left_out_and_counted():
    scores, labels = np.arange(12.0), np.array([0.0] * 11 + [1.0])
    one = auroc_interval(scores, labels, np.arange(12), rng=np.random.default_rng(0), draws=500)
    left_out = int(one.method.split(", ")[-1].split()[0])
    assert 0.25 < left_out / 500 < 0.45  # (11/12)^12 = .352
    assert one.low == one.high == 1.0
    every = labels[:, None] * np.ones(2)
    every[:, 1] = np.arange(12) % 2
    macro = macro_auroc_interval(
        np.stack([scores, scores], 1), every, np.arange(12), rng=np.random.default_rng(0), draws=500
    )
    assert f"a class absent {left_out} times" in macro.method


@pytest.mark.parametrize(
    ("labels", "who"), [([0.0, 0.0, 0.0], "abc"), ([np.nan, np.nan, 1.0], "abc"), ([0.0, 1.0, 1.0], "aaa")]
)
def test_what_cannot_be_known_has_no_bounds(labels, who):
    interval = auroc_interval(np.arange(3.0), np.array(labels), list(who), rng=np.random.default_rng(0), draws=20)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert math.isnan(interval.estimate) == (len(set(labels)) == 1 or who == "abc")


def test_clusters_widen_the_interval():
    scores, labels, _ = eyes(patients=150, seed=2)
    twice = np.repeat(np.arange(300), 2)  # every image doubled: nothing new is known
    s, y = np.repeat(scores[:, 0], 2), np.repeat(labels[:, 0], 2)
    right = auroc_interval(s, y, twice, rng=np.random.default_rng(0), draws=500)
    wrong = auroc_interval(s, y, np.arange(600), rng=np.random.default_rng(0), draws=500)
    assert (right.high - right.low) / (wrong.high - wrong.low) == pytest.approx(math.sqrt(2), rel=0.15)


def test_paired_difference():
    scores, labels, who = eyes(patients=100, findings=2)
    worse = scores + np.random.default_rng(9).normal(size=scores.shape) * 3
    found = paired_auroc_difference(scores, worse, labels, who, rng=np.random.default_rng(0), draws=400)
    back = paired_auroc_difference(worse, scores, labels, who, rng=np.random.default_rng(0), draws=400)
    assert found.interval.low > 0
    assert found.p_value == back.p_value == pytest.approx(2 / 401)
    assert back.interval.low == pytest.approx(-found.interval.high, abs=1e-12)
    one = paired_auroc_difference(scores[:, 0], worse[:, 0], labels[:, 0], who, rng=np.random.default_rng(0), draws=400)
    alone = macro_auroc_interval(scores, labels, who, rng=np.random.default_rng(0), draws=400)
    other = macro_auroc_interval(worse, labels, who, rng=np.random.default_rng(0), draws=400)
    assert found.interval.estimate == pytest.approx(alone.estimate - other.estimate)
    assert one.interval.estimate == pytest.approx(
        auroc_score(scores[:, 0], labels[:, 0]) - auroc_score(worse[:, 0], labels[:, 0])
    )


def test_paired_difference_of_the_same_scores_is_nothing():
    scores, labels, who = eyes()
    same = paired_auroc_difference(scores, scores, labels, who, rng=np.random.default_rng(0), draws=50)
    assert (same.interval.estimate, same.interval.low, same.interval.high, same.p_value) == (0, 0, 0, 1)
    delong = delong_paired(scores[:, 0], scores[:, 0], labels[:, 0])
    assert (delong.interval.estimate, delong.interval.low, delong.p_value) == (0, 0, 1)


def test_mean_interval_equals_the_generic_one_and_leaves_nan_out():
    rng = np.random.default_rng(4)
    values, who = rng.random(40), np.repeat(np.arange(20), 2)
    fast = mean_interval(values, who, rng=np.random.default_rng(0), draws=100)
    slow = bootstrap_interval(np.mean, [values], who, rng=np.random.default_rng(0), draws=100)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=1e-12)
    values[:3] = np.nan
    assert mean_interval(values, who, rng=rng, draws=10).estimate == pytest.approx(np.nanmean(values))
    assert math.isnan(mean_interval(np.full(4, np.nan), list("abcd"), rng=rng, draws=10).estimate)


def test_the_same_generator_gives_the_same_interval():
    scores, labels, who = eyes()
    first, again = (
        auroc_interval(scores[:, 0], labels[:, 0], who, rng=np.random.default_rng(8), draws=50) for _ in range(2)
    )
    assert first == again


def test_delong_by_hand():
    # negatives 1 2 3, positives 2 4: placements of positives (1.5/3, 3/3), of negatives (2/2, 1.5/2, 1/2)
    areas, covariance = delong_covariance(np.array([[1.0], [2], [3], [2], [4]]), np.array([0, 0, 0, 1, 1]))
    assert areas[0] == pytest.approx(0.75)
    assert covariance[0, 0] == pytest.approx(np.var([0.5, 1], ddof=1) / 2 + np.var([1, 0.75, 0.5], ddof=1) / 3)


def test_delong_stays_inside_and_gives_no_false_promise():
    rng = np.random.default_rng(0)
    labels = (np.arange(60) % 2).astype(float)
    near = delong_interval(labels * 2.5 + rng.normal(size=60), labels)
    assert 0.9 < near.estimate < 1
    assert 0 < near.low < near.estimate < near.high < 1
    apart = delong_interval(labels, labels)
    assert apart.estimate == 1
    assert math.isnan(apart.low)
    assert "no bounds" in apart.method
    assert math.isnan(delong_interval(labels, np.zeros(60)).estimate)
    assert math.isnan(delong_paired(labels, -labels, labels).p_value)


def test_proportions_by_hand():
    z = 1.959963984540054
    both = wilson_interval(0, 10), wilson_interval(10, 10)
    assert both[0].low == 0
    assert both[0].high == pytest.approx(z**2 / (10 + z**2))
    assert both[1].high == 1
    exact = clopper_pearson_interval(0, 10)
    assert (exact.low, exact.high) == (0, pytest.approx(1 - 0.025 ** (1 / 10)))
    assert clopper_pearson_interval(10, 10).low == pytest.approx(0.025 ** (1 / 10))
    assert math.isnan(wilson_interval(0, 0).estimate)
    assert math.isnan(clopper_pearson_interval(0, 0).low)
    for interval in (wilson_interval, clopper_pearson_interval):
        for hits, trials in ((3, 2), (-1, 2)):
            with pytest.raises(UsageError):
                interval(hits, trials)
        with pytest.raises(UsageError, match="level"):
            interval(1, 2, level=95.0)


def test_permutation_p_value():
    null = np.array([0.5, 0.6, 0.7])
    assert permutation_p_value(0.9, null) == 1 / 4
    assert permutation_p_value(0.6, null) == 3 / 4
    assert permutation_p_value(0.4, null, alternative="less") == 1 / 4
    assert permutation_p_value(0.9, null, alternative="two-sided") == 1 / 2
    assert permutation_p_value(0.6, null, alternative="two-sided") == 1
    assert math.isnan(permutation_p_value(0.6, np.array([0.5, np.nan])))
    assert math.isnan(permutation_p_value(0.6, np.empty(0)))
    with pytest.raises((UsageError, TypeError)):
        permutation_p_value(0.6, null, alternative="more")  # type: ignore[arg-type]


def test_bad_input_is_refused():
    scores, labels, who = np.arange(4.0), np.array([0.0, 1, 0, 1]), list("abcd")
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="NaN"):
        auroc_interval(np.array([0, np.nan, 1, 2]), labels, who, rng=rng)
    with pytest.raises(DataError, match="neither"):
        auroc_interval(scores, labels + 1, who, rng=rng)
    with pytest.raises(DataError, match="clusters"):
        auroc_interval(scores, labels, who[:3], rng=rng)
    with pytest.raises(DataError, match="clusters"):
        bootstrap_interval(np.mean, [scores], who[:3], rng=rng)
    with pytest.raises(UsageError, match="draws"):
        auroc_interval(scores, labels, who, rng=rng, draws=0)
    with pytest.raises(UsageError, match="level"):
        auroc_interval(scores, labels, who, rng=rng, draws=9, level=95.0)
    with pytest.raises((DataError, TypeError)):
        macro_auroc_interval(scores[:, None], np.stack([labels, labels], 1), who, rng=rng)
    with pytest.raises((DataError, TypeError)):
        paired_auroc_difference(scores, scores[:3], labels, who, rng=rng)
    with pytest.raises((DataError, TypeError)):
        delong_interval(scores, labels[:3])
    with pytest.raises(UsageError, match="level"):
        delong_interval(scores, labels, level=0.0)
