"""McNemar's test, plain and for clusters, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.score.stats.mcnemar import clustered_mcnemar, mcnemar


def calls(both, only_first, only_second, neither):
    first = np.array([1] * both + [1] * only_first + [0] * only_second + [0] * neither)
    second = np.array([1] * both + [0] * only_first + [1] * only_second + [0] * neither)
    return first, second


def test_by_hand():
    first, second = calls(4, 5, 1, 2)
    exact = mcnemar(first, second)
    assert exact.p_value == pytest.approx(2 * (1 + 6) / 2**6)
    assert exact.interval.estimate == pytest.approx(4 / 12)
    assert "only first 5, only second 1" in exact.interval.method
    # Bonett and Price: shares 6/14 and 2/14
    half = 1.959964 * math.sqrt((8 / 14 - (4 / 14) ** 2) / 14)
    assert (exact.interval.low, exact.interval.high) == pytest.approx((4 / 14 - half, 4 / 14 + half), rel=1e-6)
    assert mcnemar(first, second, form="mid p").p_value == pytest.approx(2 * 7 / 64 - 6 / 64)
    assert mcnemar(first, second, form="asymptotic").p_value == pytest.approx(math.erfc(math.sqrt(16 / 6 / 2)))


def test_exchanged_methods_change_the_sign_only():
    first, second = calls(10, 7, 2, 5)
    one, two = mcnemar(first, second), mcnemar(second, first)
    assert one.p_value == two.p_value
    assert (one.interval.low, one.interval.high) == pytest.approx((-two.interval.high, -two.interval.low))


@pytest.mark.parametrize("form", ["exact", "mid p", "asymptotic"])
def test_no_disagreement_is_no_difference(form):
    found = mcnemar(*calls(3, 0, 0, 2), form=form)
    assert found.p_value == 1
    assert found.interval.estimate == 0
    assert found.interval.low < 0 < found.interval.high
    assert mcnemar(*calls(3, 4, 4, 2), form=form).p_value == pytest.approx(1)


def test_unknown_is_left_out_and_nothing_is_nan():
    first, second = calls(4, 5, 1, 2)
    hidden = first.astype(float)
    hidden[[0, 5]] = np.nan
    kept = ~np.isnan(hidden)
    assert mcnemar(hidden, second) == mcnemar(first[kept], second[kept])
    for found in (mcnemar(np.zeros(0), np.zeros(0)), clustered_mcnemar(np.zeros(0), np.zeros(0), [])):
        assert math.isnan(found.interval.estimate)
        assert math.isnan(found.p_value)


def test_clusters_by_hand():
    # differences of the four patients: 2, 1, 0, -1 over 2, 2, 1, 1 images
    first = np.array([1, 1, 1, 0, 1, 0])
    second = np.array([0, 0, 0, 0, 1, 1])
    found = clustered_mcnemar(first, second, list("aabbcd"))
    share = 2 / 6
    assert found.interval.estimate == pytest.approx(share)
    under_null = 4 / 3 * (4 + 1 + 0 + 1) / 36
    assert found.p_value == pytest.approx(math.erfc(math.sqrt(share**2 / under_null / 2)))
    rest = (2 - 2 / 3) ** 2 + (1 - 2 / 3) ** 2 + (1 / 3) ** 2 + (4 / 3) ** 2
    half = 1.959964 * math.sqrt(4 / 3 * rest / 36)
    assert share + half > 1
    assert (found.interval.low, found.interval.high) == pytest.approx((share - half, 1), rel=1e-6)


def test_one_image_per_patient_is_mcnemar_but_for_one_patient():
    first, second = calls(20, 12, 4, 10)
    plain = mcnemar(first, second, form="asymptotic").p_value
    clustered = clustered_mcnemar(first, second, range(46)).p_value
    chi2 = 64 / 16
    assert plain == pytest.approx(math.erfc(math.sqrt(chi2 / 2)))
    assert clustered == pytest.approx(math.erfc(math.sqrt(chi2 * 45 / 46 / 2)))


def test_eyes_that_say_the_same_count_once():
    first, second = calls(20, 12, 4, 10)
    once = clustered_mcnemar(first, second, range(46))
    twice = clustered_mcnemar(np.tile(first, 2), np.tile(second, 2), np.tile(np.arange(46), 2))
    assert twice.p_value == pytest.approx(once.p_value)
    assert twice.interval.low == pytest.approx(once.interval.low)
    assert mcnemar(np.tile(first, 2), np.tile(second, 2)).p_value < 0.5 * once.p_value


def test_the_null_for_clusters_is_kept_where_the_plain_test_breaks_it():
    rng = np.random.default_rng(0)
    plain = clustered = 0
    for _ in range(500):
        who = np.repeat(np.arange(60), 3)
        luck = rng.random((60, 2))[who]
        first, second = ((luck[:, i] < 0.7) ^ (rng.random(180) < 0.05) for i in (0, 1))
        plain += mcnemar(first, second, form="asymptotic").p_value < 0.05
        clustered += clustered_mcnemar(first, second, who).p_value < 0.05
    assert abs(clustered / 500 - 0.05) < 3.5 * math.sqrt(0.05 * 0.95 / 500)
    assert plain / 500 > 0.12


def test_one_patient_and_patients_alike_have_no_bounds():
    one = clustered_mcnemar(np.array([1, 1]), np.array([0, 1]), ["a", "a"])
    assert one.interval.estimate == 0.5
    assert math.isnan(one.interval.low)
    assert math.isnan(one.p_value)
    alike = clustered_mcnemar(np.ones(6), np.zeros(6), list("aabbcc"))
    assert alike.interval.estimate == 1
    assert math.isnan(alike.interval.high)
    assert 0 < alike.p_value < 0.5
    equal = clustered_mcnemar(np.ones(4), np.ones(4), list("aabb"))
    assert equal.p_value == 1


def test_refusals():
    first, second = calls(4, 5, 1, 2)
    with pytest.raises(UsageError, match="mid p"):
        mcnemar(first, second, form="midp")
    with pytest.raises(DataError, match="0, 1"):
        mcnemar(first * 2, second)
    with pytest.raises(DataError, match="shapes"):
        mcnemar(first, second[1:])
    with pytest.raises(DataError, match="clusters"):
        clustered_mcnemar(first, second, [1])
    with pytest.raises(UsageError, match="level"):
        clustered_mcnemar(first, second, range(12), level=0)
