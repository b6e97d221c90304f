"""Tests of paired calls, ranks, several comparisons and exchanges against statsmodels and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from tapetum.score.stats.mcnemar import mcnemar
from tapetum.score.stats.multiple import benjamini_hochberg, holm
from tapetum.score.stats.permutation import paired_mean_permutation
from tapetum.score.stats.ranks import friedman, nemenyi_p_values, ranks_of_scores


@pytest.mark.parametrize("counts", [(20, 9, 3, 8), (5, 30, 12, 4), (50, 1, 0, 50), (0, 6, 6, 0)])
def test_mcnemar(counts):
    both, only_first, only_second, neither = counts
    first = np.repeat([1, 1, 0, 0], counts)
    second = np.repeat([1, 0, 1, 0], counts)
    table = [[both, only_first], [only_second, neither]]
    assert mcnemar(first, second).p_value == pytest.approx(statsmodels_mcnemar(table, exact=True).pvalue)
    expected = statsmodels_mcnemar(table, exact=False, correction=False).pvalue
    assert mcnemar(first, second, form="asymptotic").p_value == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_several_comparisons(seed):
    p = np.random.default_rng(seed).beta(0.4, 1.5, size=11).round(2 if seed % 2 else 12)
    np.testing.assert_allclose(holm(p), multipletests(p, method="holm")[1], atol=1e-14)
    np.testing.assert_allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], atol=1e-14)
    np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p), atol=1e-14)


@pytest.mark.parametrize(("sets", "methods", "digits"), [(12, 3, 6), (12, 5, 1), (40, 4, 1)])
def test_friedman(sets, methods, digits):
    scores = np.round(np.random.default_rng(sets).random((sets, methods)), digits)
    found = friedman(ranks_of_scores(scores))
    expected = stats.friedmanchisquare(*scores.T)
    assert (found.statistic, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_nemenyi_of_two_methods_is_a_z_test():
    """Of two methods the studentized range is sqrt(2) |z|."""
    ranks = ranks_of_scores(np.random.default_rng(3).random((17, 2)))
    apart = abs(np.subtract(*ranks.mean(axis=0))) / np.sqrt(2 * 3 / (6 * 17))
    assert nemenyi_p_values(ranks)[0, 1] == pytest.approx(2 * stats.norm.sf(apart), abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_all_exchanges(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(0.3, 1, 9), rng.normal(size=9)
    expected = stats.permutation_test(
        (first, second),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
        vectorized=True,
    )
    assert paired_mean_permutation(first, second, range(9), rng=rng) == pytest.approx(expected.pvalue)
