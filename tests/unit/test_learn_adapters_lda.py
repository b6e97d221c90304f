"""Shrinkage LDA: hand-computed values, tiny classes, options out of range."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.learn.adapters.lda import LDA
from tapetum.learn.fitting.standardise import Standardiser

# Two images of each kind, so spread that the overall mean is 0 and the deviation of either column is known.
ROWS = np.array([[3.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-3.0, -1.0]], dtype=np.float32)
LABELS = np.array([[1.0], [1.0], [0.0], [0.0]])


def standardised():
    return Standardiser.fit(ROWS, 1.0)(ROWS).astype(np.float64)


def test_a_sphere_gives_the_difference_of_the_means_over_its_variance():
    z = standardised()
    deviations = z - np.repeat([z[:2].mean(0), z[2:].mean(0)], 2, axis=0)
    found = LDA(shrinkage=1.0, power=1.0).fit(ROWS, LABELS)
    np.testing.assert_allclose(found.weight_[:, 0], (z[:2].mean(0) - z[2:].mean(0)) / (deviations**2).mean(), rtol=1e-6)
    np.testing.assert_allclose(found(ROWS)[[0, 3]].sum(), 0, atol=1e-5)


def test_half_a_sphere_by_hand():
    z = standardised()
    deviations = z - np.repeat([z[:2].mean(0), z[2:].mean(0)], 2, axis=0)
    covariance = 0.5 * deviations.T @ deviations / 4 + 0.5 * np.eye(2) * (deviations**2).mean()
    expected = np.linalg.solve(covariance, z[:2].mean(0) - z[2:].mean(0))
    found = LDA(shrinkage=0.5, power=1.0).fit(ROWS, LABELS)
    np.testing.assert_allclose(found.weight_[:, 0], expected, rtol=1e-6)


def test_the_intercept_knows_the_numbers():
    labels = np.array([[1.0], [0.0], [0.0], [0.0]])
    z = standardised()
    found = LDA(shrinkage=1.0, power=1.0).fit(ROWS, labels)
    middle = (z[0] + z[1:].mean(0)) / 2
    np.testing.assert_allclose(middle @ found.weight_[:, 0] + found.bias_[0], np.log(1 / 3), rtol=1e-6)


@pytest.mark.parametrize("pooled", [True, False])
def test_one_image_of_each_kind_is_nearest_mean(pooled):
    rows = np.random.default_rng(0).normal(size=(2, 40)).astype(np.float32)
    found = LDA(pooled=pooled, power=1.0).fit(rows, np.array([[1.0], [0.0]]))
    z = found.standardiser_(rows)
    np.testing.assert_allclose(found.weight_[:, 0], z[0] - z[1], rtol=1e-6)


def test_a_finding_with_one_class_is_unknown():
    found = LDA().fit(ROWS, np.array([[1.0, 1.0], [1.0, 0.0], [np.nan, 0.0], [1.0, 1.0]]))
    logits = found(ROWS)
    assert np.isnan(logits[:, 0]).all()
    assert np.isfinite(logits[:, 1]).all()


def test_rows_and_columns_give_the_same_answer():
    """More columns than rows are solved through the rows; the same rows twice weigh the same, through the columns."""
    rng = np.random.default_rng(2)
    rows, labels = rng.normal(size=(20, 25)).astype(np.float32), (rng.random((20, 1)) < 0.5).astype(float)
    once = LDA(shrinkage=0.3, power=1.0).fit(rows, labels)
    twice = LDA(shrinkage=0.3, power=1.0).fit(np.tile(rows, (2, 1)), np.tile(labels, (2, 1)))
    np.testing.assert_allclose(twice.weight_, once.weight_, rtol=1e-5)


@pytest.mark.parametrize("options", [{"shrinkage": 0.0}, {"shrinkage": 1.5}, {"shrinkage": 0.5, "pooled": False}])
def test_shrinkage_out_of_range_is_refused(options):
    with pytest.raises(UsageError, match="shrinkage"):
        LDA(**options).fit(ROWS, LABELS)
