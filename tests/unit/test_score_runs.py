"""Runs x patients: the split against a literal analysis of variance, and the interval against the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tapetum.core.errors import DataError, UsageError
from tapetum.score.stats import mean_interval, runs_auroc_interval
from tapetum.score.stats.clustered import obuchowski_covariance
from tapetum.score.stats.runs import auroc_run_variances, mean_run_variances, split_variance


def crossed(rng, runs=4, patients=80, of_runs=0.2, of_patients=1.0, rest=0.5):
    """Values with a patient effect, a run effect and their interaction; true mean 0."""
    values = of_runs * rng.normal(size=(runs, 1)) + of_patients * rng.normal(size=patients)
    return values + rest * rng.normal(size=(runs, patients))


def test_split_by_hand():
    # variance of runs .02; covariance matrix: 4e-3 on the diagonal, 1e-3 beside it
    found = split_variance(np.array([0.7, 0.9]), np.array([[4e-3, 1e-3], [1e-3, 4e-3]]))
    assert found.runs == pytest.approx(0.02 - 3e-3)
    assert found.patients == pytest.approx(1e-3)
    assert found.interaction == pytest.approx(3e-3)
    assert found.total == pytest.approx(0.02 / 2 + 1e-3)
    assert found.total == pytest.approx(found.runs / 2 + found.patients + found.interaction / 2)
    # df (.022 / .02)² = 1.21
    half = scipy_stats.t.ppf(0.975, 1.21) * math.sqrt(found.total)
    assert (found.mean.low, found.mean.high) == pytest.approx((0.8 - half, 0.8 + half))


def test_means_are_split_as_by_a_crossed_analysis_of_variance():
    values = crossed(np.random.default_rng(0), of_runs=0.5)
    runs, patients = values.shape
    grand = values.mean()
    of_runs, of_patients = values.mean(axis=1), values.mean(axis=0)
    ms_runs = patients * ((of_runs - grand) ** 2).sum() / (runs - 1)
    ms_patients = runs * ((of_patients - grand) ** 2).sum() / (patients - 1)
    rest = values - of_runs[:, None] - of_patients + grand
    ms_rest = (rest**2).sum() / ((runs - 1) * (patients - 1))
    found = mean_run_variances(values, range(patients))
    assert found.interaction == pytest.approx(ms_rest / patients)
    assert found.patients == pytest.approx((ms_patients - ms_rest) / runs / patients)
    assert found.runs == pytest.approx((ms_runs - ms_rest) / patients)
    assert found.total == pytest.approx((ms_runs + ms_patients - ms_rest) / (runs * patients))


def test_the_interval_covers_where_those_of_patients_or_runs_alone_do_not():
    rng = np.random.default_rng(1)
    held = {"both": 0, "patients": 0, "runs": 0}
    for _ in range(400):
        values = crossed(rng)
        found = mean_run_variances(values, range(80)).mean
        held["both"] += found.low <= 0 <= found.high
        alone = mean_interval(values.mean(axis=0), range(80), rng=rng, draws=200)
        held["patients"] += alone.low <= 0 <= alone.high
        spread = 3.182446 * values.mean(axis=1).std(ddof=1) / 2  # t of 3 degrees of freedom
        held["runs"] += abs(values.mean()) <= spread
    assert 0.92 < held["both"] / 400 < 0.985
    assert held["patients"] / 400 < 0.92
    assert held["runs"] / 400 < 0.92


def test_macro_auroc_of_one_finding_is_obuchowski():
    rng = np.random.default_rng(2)
    who = np.repeat(np.arange(50), 2)
    labels = (rng.random(100) < 0.4).astype(float)
    runs = np.round(labels + rng.normal(size=50)[who] + 0.5 * rng.normal(size=(3, 100)), 1)
    found = auroc_run_variances(runs[:, :, None], labels[:, None], who)
    areas, covariance = obuchowski_covariance(runs.T, labels, who)
    expected = split_variance(areas, covariance)
    assert found.mean.estimate == pytest.approx(areas.mean())
    assert found.patients == pytest.approx(expected.patients, rel=0.05)  # another factor for the number of patients
    assert found.interaction == pytest.approx(expected.interaction, rel=0.05)
    boot = runs_auroc_interval(runs[:, :, None], labels[:, None], who, rng=rng, draws=2000)
    assert found.mean.high - found.mean.low == pytest.approx(boot.high - boot.low, rel=0.25)


def test_findings_without_both_classes_are_left_out():
    rng = np.random.default_rng(3)
    labels = (rng.random((60, 3)) < 0.4).astype(float)
    labels[:, 1] = 0
    labels[:9, 0] = np.nan
    runs = rng.normal(size=(2, 60, 3))
    found = auroc_run_variances(runs, labels, range(60))
    kept = auroc_run_variances(runs[:, :, [0, 2]], labels[:, [0, 2]], range(60))
    assert found == kept
    nothing = auroc_run_variances(runs, np.zeros((60, 3)), range(60))
    assert math.isnan(nothing.mean.estimate)
    assert math.isnan(nothing.patients)
    assert math.isnan(nothing.total)


def test_equal_runs_leave_the_patients_only():
    values = np.tile(np.random.default_rng(4).normal(size=30), (3, 1))
    found = mean_run_variances(values, range(30))
    assert found.runs == pytest.approx(0, abs=1e-15)
    assert found.interaction == pytest.approx(0, abs=1e-15)
    assert found.patients == pytest.approx(values[0].var(ddof=1) / 30)
    half = 1.959964 * math.sqrt(found.patients)
    assert found.mean.high - found.mean.estimate == pytest.approx(half, rel=1e-6)


def test_one_run_cannot_be_split():
    values = np.random.default_rng(4).normal(size=(1, 30))
    found = mean_run_variances(values, range(30))
    assert math.isnan(found.runs)
    assert math.isnan(found.patients)
    assert math.isnan(found.mean.low)
    assert math.isnan(found.interaction)
    assert found.mean.estimate == pytest.approx(values.mean())
    assert "one run" in found.mean.method


def test_eyes_said_twice_add_nothing_and_unknown_values_are_left_out():
    values = crossed(np.random.default_rng(5), patients=30)
    once = mean_run_variances(values, range(30))
    twice = mean_run_variances(np.tile(values, 2), np.tile(np.arange(30), 2))
    assert twice.total == pytest.approx(once.total)
    gap = values.copy()
    gap[1, 3] = np.nan
    kept = np.arange(30) != 3
    assert mean_run_variances(gap, range(30)) == mean_run_variances(values[:, kept], np.flatnonzero(kept))
    assert math.isnan(mean_run_variances(values * np.nan, range(30)).mean.estimate)
    assert math.isnan(mean_run_variances(values, ["a"] * 30).total)


def test_refusals():
    with pytest.raises(DataError, match="row and a column per run"):
        split_variance(np.zeros(2), np.zeros((3, 3)))
    with pytest.raises(UsageError, match="level"):
        split_variance(np.zeros(2), np.eye(2), level=95)
    with pytest.raises(DataError, match="one score per run and label"):
        auroc_run_variances(np.zeros((2, 5, 1)), np.zeros((4, 1)), range(5))
    with pytest.raises(DataError, match="at least one run"):
        auroc_run_variances(np.zeros((0, 5, 1)), np.zeros((5, 1)), range(5))
    with pytest.raises(DataError, match="clusters"):
        mean_run_variances(np.zeros((2, 5)), range(4))
