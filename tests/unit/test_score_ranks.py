"""Average ranks, Friedman, Nemenyi and the false discovery rate, by hand and against printed tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.score.stats.multiple import benjamini_hochberg, holm
from tapetum.score.stats.ranks import (
    friedman,
    nemenyi_critical_difference,
    nemenyi_p_values,
    ranks_of_errors,
    ranks_of_scores,
    wins_and_ties,
)

SCORES = np.array([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.7, 0.6, 0.5], [0.9, 0.7, 0.8]])


def test_one_is_best_in_both_directions():
    np.testing.assert_array_equal(ranks_of_scores(SCORES), [[1, 2, 3], [1, 2, 3], [1, 2, 3], [1, 3, 2]])
    np.testing.assert_array_equal(ranks_of_errors(1 - SCORES), ranks_of_scores(SCORES))
    np.testing.assert_array_equal(ranks_of_errors(np.array([[0.1, 0.1, 0.0]])), [[2.5, 2.5, 1]])


def test_friedman_by_hand():
    found = friedman(ranks_of_scores(SCORES))
    # 12 / (4 * 3 * 4) (4² + 9² + 11²) - 3 * 4 * 4 = 6.5
    assert found.statistic == pytest.approx(6.5)
    assert found.p_value == pytest.approx(math.exp(-6.5 / 2))
    # Iman and Davenport: 3 * 6.5 / (4 * 2 - 6.5) = 13 on 2 and 6
    assert found.f_statistic == pytest.approx(13)
    assert found.f_p_value == pytest.approx((1 + 2 * 13 / 6) ** -3)


def test_a_perfect_order_and_no_order():
    perfect = friedman(np.tile([1.0, 2, 3], (5, 1)))
    assert perfect.statistic == pytest.approx(10)
    assert math.isinf(perfect.f_statistic)
    assert perfect.f_p_value == 0
    for undefined in (friedman(np.full((4, 3), 2.0)), friedman(np.array([[1.0, 2, 3]])), friedman(np.ones((4, 1)))):
        assert math.isnan(undefined.p_value)
        assert math.isnan(undefined.f_p_value)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (0.95, [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]),
        (0.90, [1.645, 2.052, 2.291, 2.459, 2.589, 2.693, 2.780, 2.855, 2.920]),
    ],
)
def test_critical_values_are_those_of_the_printed_table(level, expected):
    """Demšar, JMLR 2006, table 5(a): q for 2 to 10 methods; the difference is q sqrt(m (m + 1) / 6 d)."""
    for methods, q in enumerate(expected, 2):
        scale = math.sqrt(methods * (methods + 1) / (6 * 20))
        assert nemenyi_critical_difference(methods, 20, level=level) / scale == pytest.approx(q, abs=1.1e-3)


def test_two_methods_as_far_apart_as_the_critical_difference_have_p_of_five_percent():
    bar = nemenyi_critical_difference(3, 100)
    middle = 2.0
    averages = np.array([middle - bar / 2, middle, middle + bar / 2])
    found = nemenyi_p_values(np.tile(averages, (100, 1)))
    assert found[0, 2] == pytest.approx(0.05, abs=1e-4)
    np.testing.assert_allclose(found, found.T)
    np.testing.assert_allclose(np.diag(found), 1)
    assert 0.05 < found[0, 1] < 1


def test_wins_losses_and_ties_add_up():
    ranks = ranks_of_scores(np.array([[0.9, 0.8, 0.8], [0.5, 0.6, 0.7]]))
    wins, ties = wins_and_ties(ranks)
    np.testing.assert_array_equal(wins, [[0, 1, 1], [1, 0, 0], [1, 1, 0]])
    np.testing.assert_array_equal(wins + wins.T + ties, np.full((3, 3), 2))


def test_refusals():
    with pytest.raises(DataError, match="data set 1"):
        ranks_of_scores(np.array([[1.0, 2], [np.nan, 1]]))
    with pytest.raises(DataError, match="data sets, methods"):
        ranks_of_scores(np.ones(3))
    with pytest.raises(UsageError, match="two methods"):
        nemenyi_critical_difference(1, 5)
    with pytest.raises(UsageError, match="two"):
        nemenyi_p_values(np.ones((5, 1)))
    with pytest.raises(UsageError, match="level"):
        nemenyi_critical_difference(3, 5, level=95)


def test_false_discovery_rate_by_hand():
    found = benjamini_hochberg(np.array([0.04, math.nan, 0.01, 0.03, 0.9]))
    # sorted .01 .03 .04 .9 times 4/1, 4/2, 4/3, 4/4 = .04 .06 .0533 .9, smallest from behind
    np.testing.assert_allclose(found, [0.04 * 4 / 3, np.nan, 0.04, 0.04 * 4 / 3, 0.9])
    assert (holm(np.array([0.04, 0.01, 0.03])) >= benjamini_hochberg(np.array([0.04, 0.01, 0.03]))).all()
    assert benjamini_hochberg(np.array([math.nan])).size == 1
    assert benjamini_hochberg(np.zeros(0)).size == 0
