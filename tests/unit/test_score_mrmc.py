"""Readers and cases: by hand, as DeLong's test, on published results, and under a null that is known."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path

import numpy as np
import pytest
from scipy import stats as scipy_stats

from tapetum.core.errors import DataError, UsageError
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.stats.delong import delong_paired
from tapetum.score.stats.mrmc import ReaderVariances, mrmc_auroc, obuchowski_rockette
from tapetum.score.stats.mrmc_power import cases_for_power, mrmc_power

SHARED = Path(__file__).parents[3] / "shared" / "data"
DATA = Path(os.environ.get("TAPETUM_DATA", SHARED)) / "vandyke" / "vandyke.csv"


def covariance(error, same_reader, same_treatment, neither, treatments=2, readers=2):
    out = np.empty((treatments, readers, treatments, readers))
    for i, j, k, m in np.ndindex(out.shape):
        out[i, j, k, m] = (error if i == k else same_reader) if j == m else (same_treatment if i == k else neither)
    return out.reshape(treatments * readers, -1)


def study(rng, treatments=2, readers=4, cases=60, gap=0.0, reader_sd=0.3):
    """Cases, readers and their interactions as normal effects; no treatment effect unless a gap is given."""
    labels = (np.arange(cases) < cases // 2).astype(float)
    skill = 1.2 + gap * np.arange(treatments)[:, None] + reader_sd * rng.normal(size=readers)
    skill = skill + 0.1 * rng.normal(size=(treatments, readers))
    ratings = skill[:, :, None] * labels + 0.6 * rng.normal(size=cases) + 0.5 * rng.normal(size=(readers, cases))
    return ratings + 0.4 * rng.normal(size=(treatments, 1, cases)) + rng.normal(
        size=(treatments, readers, cases)
    ), labels


# --- by hand ---------------------------------------------------------------------------------------------------------


def test_three_kinds_of_conclusion_by_hand():
    estimates = np.array([[0.80, 0.90], [0.95, 0.95]])
    spread = covariance(4e-3, 2e-3, 2e-3, 1e-3)
    # means .85 and .95: MS(T) = 2 * .005 = .01; residuals all ±.025: MS(TR) = .0025; r (Cov2 - Cov3) = .002
    both = obuchowski_rockette(estimates, spread, cases=50)
    assert both.statistic == pytest.approx(0.01 / 0.0045)
    assert both.freedom == pytest.approx((1, 0.0045**2 / 0.0025**2))
    assert both.p_value == pytest.approx(scipy_stats.f.sf(0.01 / 0.0045, 1, 3.24))
    apart = both.differences[0, 1]
    half = scipy_stats.t.ppf(0.975, 3.24) * math.sqrt(2 / 2 * 0.0045)
    assert (apart.interval.low, apart.interval.high) == pytest.approx((-0.1 - half, -0.1 + half))
    assert apart.p_value == pytest.approx(both.p_value)
    # cases only: .004 - .002 + 1 * .001 = .003
    cases = obuchowski_rockette(estimates, spread, cases=50, generalise="cases")
    assert cases.statistic == pytest.approx(0.01 / 0.003)
    assert cases.p_value == pytest.approx(scipy_stats.chi2.sf(0.01 / 0.003, 1))
    assert cases.differences[0, 1].interval.high == pytest.approx(-0.1 + 1.959964 * math.sqrt(0.003))
    # readers only
    readers = obuchowski_rockette(estimates, spread, cases=50, generalise="readers")
    assert readers.statistic == pytest.approx(4)
    assert readers.freedom == (1, 1)
    # the first mean, readers and cases: MS(R) = .005, + 2 * .002; df = (.009 / .005)^2
    half = scipy_stats.t.ppf(0.975, 3.24) * math.sqrt(0.009 / 2)
    assert (both.means[0].low, both.means[0].high) == pytest.approx((0.85 - half, 0.85 + half))
    # of the second its readers agree: only cases vary
    assert both.means[1].high == pytest.approx(0.95 + 1.959964 * math.sqrt(0.002))
    variances = both.variances
    assert (variances.error, variances.same_reader, variances.same_treatment, variances.neither) == pytest.approx(
        (4e-3, 2e-3, 2e-3, 1e-3)
    )
    assert variances.treatment_by_reader == pytest.approx(0.0025 - 0.004 + 0.002 + 0.001)


def test_readers_who_all_gain_the_same_leave_only_cases():
    found = obuchowski_rockette(np.array([[0.8, 0.9], [0.9, 1.0]]), covariance(4e-3, 2e-3, 2e-3, 1e-3), cases=50)
    assert found.statistic == pytest.approx(0.01 / 0.002)
    assert math.isinf(found.freedom[1])
    assert found.p_value == pytest.approx(scipy_stats.chi2.sf(5, 1))


def test_covariances_in_the_wrong_order_count_as_none():
    estimates = np.array([[0.80, 0.90], [0.95, 0.95]])
    found = obuchowski_rockette(estimates, covariance(4e-3, 2e-3, 1e-3, 2e-3), cases=50)
    assert found.statistic == pytest.approx(0.01 / 0.0025)
    assert found.freedom[1] == pytest.approx(1)


def test_estimates_and_jackknife_by_literal_loops():
    ratings, labels = study(np.random.default_rng(0), cases=24)
    ratings = np.round(ratings, 1)
    who = np.repeat(np.arange(12), 2)
    labels = labels[np.random.default_rng(1).permutation(24)]
    found = mrmc_auroc(ratings, labels, clusters=who)
    expected = np.array([[auroc_score(r, labels) for r in t] for t in ratings])
    np.testing.assert_allclose(found.estimates, expected, atol=1e-14)
    left = np.array([[auroc_score(r[who != p], labels[who != p]) for r in ratings.reshape(8, -1)] for p in range(12)])
    spread = np.cov(left.T, ddof=0) * 11
    again = obuchowski_rockette(expected, spread, cases=12)
    assert found.statistic == pytest.approx(again.statistic, rel=1e-9)
    assert found.variances.error == pytest.approx(np.diag(spread).mean(), rel=1e-9)
    assert found.variances.cases == 12


def test_one_reader_with_cases_drawn_is_delong():
    ratings, labels = study(np.random.default_rng(3), readers=1)
    found = mrmc_auroc(ratings, labels, generalise="cases", covariance="closed form").differences[0, 1]
    expected = delong_paired(ratings[0, 0], ratings[1, 0], labels)
    assert found.p_value == pytest.approx(expected.p_value, rel=1e-9)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.interval.low, expected.interval.high))


def test_two_ways_to_the_covariance_agree_and_clusters_widen():
    ratings, labels = study(np.random.default_rng(4), cases=200)
    one, two = (mrmc_auroc(ratings, labels, covariance=c) for c in ("jackknife", "closed form"))
    assert one.variances.error == pytest.approx(two.variances.error, rel=0.03)
    who = np.tile(np.arange(200), 2)
    doubled = mrmc_auroc(np.tile(ratings, 2), np.tile(labels, 2), clusters=who, covariance="closed form")
    assert doubled.statistic == pytest.approx(two.statistic, rel=1e-9)
    assert doubled.variances.cases == 200


def test_order_of_treatments_and_readers_does_not_matter():
    ratings, labels = study(np.random.default_rng(5), treatments=3)
    found = mrmc_auroc(ratings, labels)
    turned = mrmc_auroc(ratings[::-1, ::-1], labels)
    assert turned.statistic == pytest.approx(found.statistic, rel=1e-9)
    assert sorted(found.differences) == [(0, 1), (0, 2), (1, 2)]
    assert turned.differences[0, 2].interval.estimate == pytest.approx(-found.differences[0, 2].interval.estimate)


def test_undefined_is_nan():
    ratings, labels = study(np.random.default_rng(6))
    absent = mrmc_auroc(ratings, np.zeros(60))
    assert math.isnan(absent.statistic)
    assert math.isnan(absent.p_value)
    assert np.isnan(absent.estimates).all()
    assert math.isnan(absent.means[0].low)
    assert math.isnan(absent.differences[0, 1].p_value)
    alone = mrmc_auroc(ratings[:1], labels)
    assert math.isnan(alone.p_value)
    assert alone.differences == {}
    assert alone.means[0].low < alone.means[0].estimate < alone.means[0].high
    same = mrmc_auroc(np.stack([ratings[0], ratings[0]]), labels)
    assert same.differences[0, 1].p_value == 1
    unknown = labels.copy()
    unknown[::4] = np.nan
    kept = ~np.isnan(unknown)
    assert mrmc_auroc(ratings, unknown).p_value == mrmc_auroc(ratings[:, :, kept], labels[kept]).p_value


def test_refusals():
    ratings, labels = study(np.random.default_rng(6))
    missing = ratings.copy()
    missing[0, 1, 2] = np.nan
    with pytest.raises(DataError, match="NaN"):
        mrmc_auroc(missing, labels)
    with pytest.raises(DataError, match="treatments, readers, cases"):
        mrmc_auroc(ratings[0], labels)
    with pytest.raises(DataError, match="one for each row"):
        mrmc_auroc(ratings, labels[1:])
    with pytest.raises(DataError, match="clusters"):
        mrmc_auroc(ratings, labels, clusters=["a"])
    with pytest.raises(UsageError, match="cannot stand for others"):
        mrmc_auroc(ratings[:, :1], labels)
    with pytest.raises(UsageError, match="readers and cases"):
        mrmc_auroc(ratings, labels, generalise="random")
    with pytest.raises(UsageError, match="jackknife"):
        mrmc_auroc(ratings, labels, covariance="bootstrap")
    with pytest.raises(DataError, match="4 rows"):
        obuchowski_rockette(np.zeros((2, 2)), np.zeros((3, 3)), cases=5)


def test_a_true_null_is_rejected_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    found = [mrmc_auroc(*study(rng), covariance="closed form") for _ in range(600)]
    rejected = np.mean([s.p_value < 0.05 for s in found])
    # three standard errors of 600 studies; the test is known to be a little timid
    assert 0.05 - 3 * 0.0089 - 0.01 < rejected < 0.05 + 3 * 0.0089
    # of two treatments, F is the square of t
    assert all(s.differences[0, 1].p_value == pytest.approx(s.p_value, rel=1e-6) for s in found)


# --- power -----------------------------------------------------------------------------------------------------------

PILOT = ReaderVariances(8.0e-4, 3.5e-4, 3.4e-4, 2.4e-4, 2.0e-4, readers=5, cases=100)


def test_power_with_cases_drawn_by_hand():
    # scale 100 / 200; noise .5 (.00045 + 3 * .0001) = .000375; strength 4 * .0025 / 2 / .000375
    found = mrmc_power(PILOT, readers=4, cases=200, difference=0.05, generalise="cases")
    assert found == pytest.approx(scipy_stats.ncx2.sf(3.841459, 1, 0.005 / 0.000375), rel=1e-6)
    turned = mrmc_power(PILOT, readers=4, cases=200, difference=-0.05, generalise="cases")
    assert turned == found


def test_power_with_readers_drawn_by_hand():
    # interaction .0002 + .5 (.00045 - .0001) = .000375, whole + .5 * 4 * .0001 = .000575
    freedom = 3 * (0.000575 / 0.000375) ** 2
    bar = scipy_stats.f.isf(0.05, 1, freedom)
    expected = scipy_stats.ncf.sf(bar, 1, freedom, 0.005 / 0.000575)
    assert mrmc_power(PILOT, readers=4, cases=200, difference=0.05) == pytest.approx(expected, rel=1e-9)
    only = scipy_stats.ncf.sf(scipy_stats.f.isf(0.05, 1, 3), 1, 3, 0.005 / 0.000375)
    assert mrmc_power(PILOT, readers=4, cases=200, difference=0.05, generalise="readers") == pytest.approx(only)


def test_the_number_of_cases_is_the_smallest_that_is_enough():
    for generalise in ("readers and cases", "cases"):
        found = cases_for_power(PILOT, readers=8, difference=0.05, generalise=generalise)
        assert mrmc_power(PILOT, readers=8, cases=found, difference=0.05, generalise=generalise) >= 0.8
        assert mrmc_power(PILOT, readers=8, cases=found - 1, difference=0.05, generalise=generalise) < 0.8
    assert cases_for_power(PILOT, readers=3, difference=0.01) is None
    with pytest.raises(UsageError, match="power"):
        cases_for_power(PILOT, readers=8, difference=0.05, power=80)
    with pytest.raises(UsageError, match="at least 2"):
        mrmc_power(PILOT, readers=1, cases=10, difference=0.05)
    with pytest.raises(UsageError, match="readers and cases"):
        mrmc_power(PILOT, readers=3, cases=10, difference=0.05, generalise="all")


# --- published results: Van Dyke 1993, as analysed with RJafroc and MRMCaov (jackknife covariances) -------------------


def van_dyke():
    ratings, labels = np.full((2, 5, 114), np.nan), np.full(114, np.nan)
    with DATA.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            case = int(row["case"]) - 1
            ratings[int(row["treatment"]) - 1, int(row["reader"]) - 1, case] = float(row["rating"])
            labels[case] = float(row["truth"])
    return ratings, labels


@pytest.mark.parametrize(
    ("generalise", "statistic", "freedom", "p_value", "low", "high", "mean_low", "mean_high"),
    [
        ("readers and cases", 4.456319, 15.25967, 0.05166569, -0.08795950, 0.00035885, 0.82522360, 0.96885048),
        ("cases", 5.4759532, math.inf, 0.019279843, -0.08048591, -0.00711473, 0.84943008, 0.94464399),
        ("readers", 8.704, 4, 0.041958752, -0.08502022, -0.00258042, 0.82809808, 0.96597599),
    ],
    ids=["readers and cases", "cases", "readers"],
)
@pytest.mark.real
@pytest.mark.skipif(not DATA.is_file(), reason="TAPETUM_DATA has no vandyke/vandyke.csv")
def test_van_dyke(generalise, statistic, freedom, p_value, low, high, mean_low, mean_high):
    found = mrmc_auroc(*van_dyke(), generalise=generalise)
    assert found.statistic == pytest.approx(statistic, rel=2e-7)
    assert found.freedom == pytest.approx((1, freedom), rel=1e-6)
    assert found.p_value == pytest.approx(p_value, rel=1e-6)
    apart = found.differences[0, 1].interval
    assert (apart.estimate, apart.low, apart.high) == pytest.approx((-0.04380032, low, high), abs=2e-8)
    assert (found.means[0].estimate, found.means[1].estimate) == pytest.approx((0.89703704, 0.94083736), abs=5e-9)
    assert (found.means[0].low, found.means[0].high) == pytest.approx((mean_low, mean_high), abs=1e-8)


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_file(), reason="TAPETUM_DATA has no vandyke/vandyke.csv")
def test_van_dyke_variances_and_the_studies_planned_from_them():
    found = mrmc_auroc(*van_dyke()).variances
    expected = (0.00080228827, 0.00034661371, 0.00034407483, 0.00023902837, 0.00020040252)
    measured = (found.error, found.same_reader, found.same_treatment, found.neither, found.treatment_by_reader)
    assert measured == pytest.approx(expected, rel=2e-8)
    apart = 0.043800322
    assert mrmc_power(found, readers=10, cases=165, difference=apart) == pytest.approx(0.80541995, abs=1e-8)
    assert mrmc_power(found, readers=6, cases=111, difference=apart) == pytest.approx(0.5526116, abs=5e-8)
    for cases, generalise, power in ((131, "cases", 0.80091813), (53, "readers", 0.80496663)):
        reached = mrmc_power(found, readers=10, cases=cases, difference=apart, generalise=generalise)
        assert reached == pytest.approx(power, abs=1e-8)
        assert cases_for_power(found, readers=10, difference=apart, generalise=generalise) == cases
    assert cases_for_power(found, readers=6, difference=apart) == 251
