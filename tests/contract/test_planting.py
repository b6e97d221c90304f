"""What every maker of wrong labels promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.score.planted import by_finding

MAKERS = Family("tapetum.score.planting")
each_maker = pytest.mark.parametrize("name", MAKERS.names())


def toy(n=20_000, classes=4, seed=100):
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, size=n, p=np.arange(classes, 0, -1) / np.arange(classes + 1).sum())
    return labels, np.eye(classes)[labels] @ rng.normal(size=(classes, 5)) + rng.normal(size=(n, 5))


def made(name, labels, features, seed=0, **options):
    return MAKERS.build(name)(labels, features, rng=np.random.default_rng(seed), **options)


@each_maker
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_rate_is_reached_and_told(name, classes, rate):
    labels, features = toy(classes=classes)
    planted = made(name, labels, features, classes=classes, rate=rate)
    np.testing.assert_array_equal(planted.flipped, planted.labels != labels)
    assert planted.rate == planted.flipped.mean()
    assert abs(planted.rate - rate) < 0.015  # four standard errors of 20,000 draws
    assert set(np.unique(planted.labels)) <= set(range(classes))


@each_maker
def test_rate_0_flips_nothing_and_the_generator_alone_decides(name):
    labels, features = toy(n=500)
    assert not made(name, labels, features, classes=4, rate=0.0).flipped.any()
    first, again, other = (made(name, labels, features, seed, classes=4) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.labels, again.labels)
    assert (first.labels != other.labels).any()


@each_maker
def test_what_was_handed_in_is_left_alone(name):
    labels, features = toy(n=200)
    before = labels.copy()
    made(name, labels, features, classes=4, rate=0.5)
    np.testing.assert_array_equal(labels, before)


@each_maker
def test_findings_flip_column_by_column_and_unknown_stays_unknown(name):
    labels, features = toy(n=4000)
    matrix = np.eye(4)[labels][:, 1:3]
    matrix[::7, 0] = np.nan
    planted = by_finding(MAKERS.build(f"{name}(rate=0.2)"), matrix, features, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(np.isnan(planted.labels), np.isnan(matrix))
    assert not planted.flipped[np.isnan(matrix)].any()
    known = ~np.isnan(matrix)
    np.testing.assert_array_equal((planted.labels != matrix) & known, planted.flipped)
    assert (np.abs(planted.flipped.sum(0) / known.sum(0) - 0.2) < 0.03).all()
    assert planted.rate == planted.flipped.sum() / known.sum()


@each_maker
def test_wrong_labels_and_rates_are_refused(name):
    labels, features = toy(n=50)
    with pytest.raises(DataError):
        made(name, labels, features, classes=2)
    with pytest.raises(UsageError):
        made(name, labels, features, classes=4, rate=1.5)
