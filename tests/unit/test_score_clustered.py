"""Obuchowski's variance: the formula spelled out over pairs, DeLong's as a special case, and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.score.stats import mean_interval
from tapetum.score.stats.clustered import (
    auroc_influence,
    obuchowski_covariance,
    obuchowski_interval,
    obuchowski_paired,
)
from tapetum.score.stats.delong import delong_covariance, delong_interval, delong_paired
from tapetum.score.stats.proportions import clustered_wilson_interval, wilson_interval


def clinic(patients=50, seed=0, shared=0.7):
    """Two eyes per patient, three for some; ill eyes beside healthy ones; two methods, ties."""
    rng = np.random.default_rng(seed)
    who = np.concatenate([np.repeat(np.arange(patients), 2), np.arange(0, patients, 5)])
    labels = ((rng.random(patients) < 0.5)[who] & (rng.random(len(who)) < 0.7)).astype(float)
    common = np.sqrt(shared) * rng.normal(size=patients)[who]
    first = labels + common + np.sqrt(1 - shared) * rng.normal(size=len(who))
    second = 0.7 * labels + common + np.sqrt(1 - shared) * rng.normal(size=len(who))
    return np.round(np.stack([first, second], axis=1), 1), labels, who


def test_by_the_formula_over_all_pairs():
    scores, labels, who = clinic(12)
    ill, well = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    m, n = len(ill), len(well)
    psi = [np.array([[float(s[i] > s[j]) + 0.5 * (s[i] == s[j]) for j in well] for i in ill]) for s in scores.T]
    areas = [p.mean() for p in psi]
    rows = []
    for patient in np.unique(who):
        of_ill = [p[who[ill] == patient].mean(axis=1) - a for p, a in zip(psi, areas, strict=True)]
        of_well = [p[:, who[well] == patient].mean(axis=0) - a for p, a in zip(psi, areas, strict=True)]
        rows.append([[x.sum() for x in of_ill], [x.sum() for x in of_well]])
    sums = np.array(rows)  # patient, class, method
    i10, i01, i = len(np.unique(who[ill])), len(np.unique(who[well])), len(sums)
    s10 = np.einsum("pa,pb->ab", sums[:, 0], sums[:, 0]) * i10 / ((i10 - 1) * m)
    s01 = np.einsum("pa,pb->ab", sums[:, 1], sums[:, 1]) * i01 / ((i01 - 1) * n)
    s11 = np.einsum("pa,pb->ab", sums[:, 0], sums[:, 1]) * i / (i - 1)
    expected = s10 / m + s01 / n + (s11 + s11.T) / (m * n)
    found, covariance = obuchowski_covariance(scores, labels, who)
    np.testing.assert_allclose(found, areas, atol=1e-14)
    np.testing.assert_allclose(covariance, expected, rtol=1e-12)


def test_with_one_image_per_patient_it_is_delong():
    scores, labels, _ = clinic()
    patients = np.random.default_rng(1).permutation(len(labels))
    for found, expected in zip(
        obuchowski_covariance(scores, labels, patients), delong_covariance(scores, labels), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    one, two = obuchowski_interval(scores[:, 0], labels, patients), delong_interval(scores[:, 0], labels)
    assert (one.low, one.high) == pytest.approx((two.low, two.high), rel=1e-12)
    pair, other = obuchowski_paired(*scores.T, labels, patients), delong_paired(*scores.T, labels)
    assert pair.p_value == pytest.approx(other.p_value, rel=1e-9)


def test_an_image_said_twice_says_nothing_new():
    """Both eyes equal: the variance stays that of one eye, where DeLong halves it."""
    rng = np.random.default_rng(0)
    labels = (rng.random(400) < 0.4).astype(float)
    scores = labels + rng.normal(size=400)
    who = np.arange(400)
    single = obuchowski_covariance(scores[:, None], labels, who)[1][0, 0]
    double = obuchowski_covariance(np.tile(scores, 2)[:, None], np.tile(labels, 2), np.tile(who, 2))[1][0, 0]
    assert double == pytest.approx(single, rel=1e-12)
    naive = delong_covariance(np.tile(scores, 2)[:, None], np.tile(labels, 2))[1][0, 0]
    assert naive == pytest.approx(single / 2, rel=0.02)


def test_the_variance_is_that_of_repeated_clinics():
    areas, said, naive = [], [], []
    for seed in range(800):
        scores, labels, who = clinic(60, seed)
        found, covariance = obuchowski_covariance(scores, labels, who)
        areas.append([*found, found[0] - found[1]])
        said.append([*np.diag(covariance), covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]])
        naive.append(delong_covariance(scores, labels)[1][0, 0])
    truth = np.var(areas, axis=0, ddof=1)
    # the variance of 800 clinics is itself known to sqrt(2 / 800) = 5 %: three of these
    np.testing.assert_allclose(np.mean(said, axis=0) / truth, 1, atol=0.15)
    assert np.mean(naive) / truth[0] < 0.8


def test_influence_sums_to_zero_and_gives_the_variance_but_for_the_factor():
    scores, labels, who = clinic(40)
    moved = auroc_influence(scores, labels, who, 40)
    np.testing.assert_allclose(moved.sum(axis=0), 0, atol=1e-12)
    _, covariance = obuchowski_covariance(scores, labels, who)
    np.testing.assert_allclose(moved.T @ moved, covariance, rtol=0.08)


def test_unknown_labels_are_left_out_and_absent_classes_are_nan():
    scores, labels, who = clinic()
    hidden = labels.copy()
    hidden[::3] = np.nan
    seen = ~np.isnan(hidden)
    for found, expected in zip(
        obuchowski_covariance(scores, hidden, who),
        obuchowski_covariance(scores[seen], labels[seen], who[seen]),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-14)
    absent = obuchowski_interval(scores[:, 0], np.zeros(len(labels)), who)
    assert math.isnan(absent.estimate)
    assert math.isnan(absent.low)
    one = obuchowski_interval(np.array([0.1, 0.5, 0.4, 0.9]), np.array([0, 0, 1, 1]), ["a", "b", "c", "c"])
    assert one.estimate == 0.75
    assert math.isnan(one.low)  # one patient with the finding
    assert "no bounds" in one.method


def test_equal_methods_do_not_differ():
    scores, labels, who = clinic()
    same = obuchowski_paired(scores[:, 0], np.exp(scores[:, 0]), labels, who)
    assert (same.interval.low, same.interval.high, same.p_value) == (0, 0, 1)
    better = obuchowski_paired(labels + 0.01 * scores[:, 0], -scores[:, 1], labels, who)
    assert better.interval.low > 0
    assert better.p_value < 1e-6


def test_refusals():
    scores, labels, who = clinic()
    with pytest.raises(DataError, match="clusters"):
        obuchowski_covariance(scores, labels, who[1:])
    with pytest.raises(DataError, match="NaN"):
        obuchowski_covariance(scores * np.nan, labels, who)
    with pytest.raises(UsageError, match="level"):
        obuchowski_interval(scores[:, 0], labels, who, level=95)


# --- shares ----------------------------------------------------------------------------------------------------------


def test_a_share_with_one_image_per_patient_is_wilson_but_for_one_patient():
    hits = np.array([1.0] * 30 + [0.0] * 10)
    found, plain = clustered_wilson_interval(hits, range(40)), wilson_interval(30, 40)
    # 40 / 39 of the variance: 39 trials
    assert "worth 39.0" in found.method
    assert found.low == pytest.approx(plain.low, abs=0.003)
    assert found.high == pytest.approx(plain.high, abs=0.003)


def test_eyes_that_agree_count_once_and_eyes_that_never_agree_do_not_count_more_than_images():
    hits = np.array([1.0] * 30 + [0.0] * 10)
    once = clustered_wilson_interval(hits, range(40))
    twice = clustered_wilson_interval(np.tile(hits, 2), np.tile(np.arange(40), 2))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    opposed = clustered_wilson_interval(np.tile([1.0, 0.0], 20), np.repeat(np.arange(20), 2))
    expected = wilson_interval(20, 40)
    assert (opposed.low, opposed.high) == pytest.approx((expected.low, expected.high))


def test_all_hits_leave_room_for_doubt_where_the_bootstrap_leaves_none():
    who = np.repeat(np.arange(10), 2)
    found = clustered_wilson_interval(np.ones(20), who)
    assert (found.low, found.high) == pytest.approx((wilson_interval(10, 10).low, 1))
    assert clustered_wilson_interval(np.zeros(20), who).low == 0
    assert mean_interval(np.ones(20), who, rng=np.random.default_rng(0)).low == 1
    assert math.isnan(clustered_wilson_interval(np.full(3, np.nan), [1, 2, 3]).estimate)
    assert clustered_wilson_interval(np.array([1.0, 0.0]), ["a", "a"]).high > 0.9
    with pytest.raises(DataError, match="clusters"):
        clustered_wilson_interval(np.ones(3), [1])
    with pytest.raises(UsageError, match="level"):
        clustered_wilson_interval(np.ones(2), [1, 2], level=0)


def test_a_share_near_one_is_covered():
    rng = np.random.default_rng(0)
    held = {"wilson": 0, "naive": 0}
    for _ in range(1000):
        skill = rng.beta(9, 1, size=60)  # mean .9, related within a patient
        hits = (rng.random(180) < np.repeat(skill, 3)).astype(float)
        found = clustered_wilson_interval(hits, np.repeat(np.arange(60), 3))
        held["wilson"] += found.low <= 0.9 <= found.high
        naive = wilson_interval(int(hits.sum()), 180)
        held["naive"] += naive.low <= 0.9 <= naive.high
    assert 0.93 < held["wilson"] / 1000 < 0.97
    assert held["naive"] < held["wilson"]
