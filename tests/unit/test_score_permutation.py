"""Exchanging methods patient by patient: listed by hand, by literal loops, and what clusters change."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import rankdata

from tapetum.core.errors import DataError, UsageError
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.stats.permutation import paired_auroc_permutation, paired_mean_permutation


def generator():
    return np.random.default_rng(0)


def test_all_exchanges_by_hand():
    # differences 3, 1, 1 sum to 5; ±5 is reached by 2 of the 8 exchanges
    assert paired_mean_permutation(np.array([3.0, 1, 1]), np.zeros(3), list("abc"), rng=generator()) == 2 / 8
    # differences 3, 1, -1 sum to 3: |sum| >= 3 in 3+1-1, 3-1+1, 3+1+1 and their mirrors: 6 of 8
    assert paired_mean_permutation(np.array([3.0, 1, -1]), np.zeros(3), list("abc"), rng=generator()) == 6 / 8


def test_images_of_a_patient_are_exchanged_together():
    first, second = np.array([3.0, 1, 1]), np.zeros(3)
    # a: 3, b: 2; |±3 ± 2| >= 5 in 2 of 4
    assert paired_mean_permutation(first, second, list("abb"), rng=generator()) == 2 / 4
    assert paired_mean_permutation(first, second, list("aaa"), rng=generator()) == 1


def test_nothing_to_exchange_is_no_difference_and_nothing_is_nan():
    values = np.array([1.0, 0, 1, 1])
    assert paired_mean_permutation(values, values, list("abcd"), rng=generator()) == 1
    assert math.isnan(paired_mean_permutation(values * np.nan, values, list("abcd"), rng=generator()))
    with_gap = paired_mean_permutation(np.array([3.0, 1, 1, np.nan]), np.zeros(4), list("abcd"), rng=generator())
    assert with_gap == 2 / 8


def test_random_exchanges_come_near_to_all_of_them():
    rng = np.random.default_rng(5)
    first, second = rng.normal(0.4, 1, 12), rng.normal(size=12)
    listed = paired_mean_permutation(first, second, range(12), rng=generator())
    drawn = paired_mean_permutation(first, second, range(12), rng=generator(), draws=4000)
    assert listed == paired_mean_permutation(first, second, range(12), rng=np.random.default_rng(9))
    assert 0 < abs(drawn - listed) < 3.5 * math.sqrt(listed * (1 - listed) / 4000)


def test_auroc_by_a_literal_loop_over_all_exchanges():
    rng = np.random.default_rng(2)
    who = np.repeat(np.arange(7), 2)
    labels = (rng.random(14) < 0.5).astype(float)
    a, b = np.round(labels + rng.normal(size=14), 1), np.round(100 * rng.normal(size=14), 0)
    ranks = rankdata(a), rankdata(b)
    whole = abs(auroc_score(a, labels) - auroc_score(b, labels))
    reached = []
    for swap in itertools.product([False, True], repeat=7):
        taken = np.array(swap)[who]
        one, two = np.where(taken, ranks[1], ranks[0]), np.where(taken, ranks[0], ranks[1])
        reached.append(abs(auroc_score(one, labels) - auroc_score(two, labels)) >= whole - 1e-12)
    found = paired_auroc_permutation(a, b, labels, who, rng=generator())
    assert 0 < found < 1
    assert found == pytest.approx(np.mean(reached))


def test_scale_of_the_scores_does_not_matter_and_equal_ranks_are_equal():
    rng = np.random.default_rng(3)
    labels = (rng.random(40) < 0.5).astype(float)
    a, b = 2 * labels + rng.normal(size=40), rng.normal(size=40)
    found = paired_auroc_permutation(a, b, labels, range(40), rng=generator())
    assert found == paired_auroc_permutation(np.exp(a), 1000 * b, labels, range(40), rng=generator())
    assert found < 0.05
    assert paired_auroc_permutation(a, np.exp(a), labels, range(40), rng=generator(), draws=50) == 1
    assert math.isnan(paired_auroc_permutation(a, b, np.zeros(40), range(40), rng=generator()))
    labels[:5] = np.nan
    kept = paired_auroc_permutation(a[5:], b[5:], labels[5:], range(35), rng=generator())
    assert paired_auroc_permutation(a, b, labels, range(40), rng=generator()) == kept


def test_the_null_holds_with_two_eyes_per_patient():
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(300):
        who = np.repeat(np.arange(30), 2)
        labels = (rng.random(30) < 0.4)[who].astype(float)
        a, b = (labels + rng.normal(size=30)[who] + 0.3 * rng.normal(size=60) for _ in range(2))
        rejected += paired_auroc_permutation(a, b, labels, who, rng=rng, draws=199) <= 0.05
    assert abs(rejected / 300 - 0.05) < 3.5 * math.sqrt(0.05 * 0.95 / 300)


def test_refusals():
    with pytest.raises(DataError, match="second method"):
        paired_mean_permutation(np.ones(3), np.ones(2), list("abc"), rng=generator())
    with pytest.raises(DataError, match="clusters"):
        paired_auroc_permutation(np.ones(3), np.ones(3), np.array([0, 1, 1]), list("ab"), rng=generator())
    with pytest.raises(DataError, match="NaN"):
        paired_auroc_permutation(np.full(2, np.nan), np.ones(2), np.array([0, 1]), list("ab"), rng=generator())
    with pytest.raises(UsageError, match="at least one"):
        paired_mean_permutation(np.ones(3), np.zeros(3), list("abc"), rng=generator(), draws=0)
