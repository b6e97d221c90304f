"""Whitening: covariance, axes, shrinkage."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.learn.aligner.whiten import whitening


def texts(n=200, t=6):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, t)) @ rng.normal(size=(t, t)) + 3


def test_covariance_becomes_the_identity():
    mean, weight = whitening(texts(), 1e-12)
    white = (texts() - mean) @ weight
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(6), atol=1e-6)


def test_the_map_is_symmetric_so_that_axes_keep_their_meaning():
    _, weight = whitening(texts(), 0.1)
    np.testing.assert_allclose(weight, weight.T, atol=1e-12)


def test_shrinkage_by_hand():
    # Variances 2 and 0.5; the floor is 0.5·2 = 1: 1/√3 and 1/√1.5.
    points = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    _, weight = whitening(points, 0.5)
    np.testing.assert_allclose(np.abs(weight), [[1 / np.sqrt(3), 0], [0, 1 / np.sqrt(1.5)]], atol=1e-12)


def test_directions_never_seen_stay_finite():
    flat = np.concatenate([texts(20, 3), np.zeros((20, 3))], axis=1)
    _, weight = whitening(flat, 0.1)
    assert np.isfinite(weight).all()
    assert np.linalg.norm(weight, 2) <= 1 / np.sqrt(0.1 * np.linalg.eigvalsh(np.cov(flat.T, bias=True))[-1]) + 1e-9


def test_equal_texts_give_zero():
    mean, weight = whitening(np.ones((5, 3)), 0.1)
    np.testing.assert_array_equal((np.ones((5, 3)) - mean) @ weight, 0)


@pytest.mark.parametrize("shrinkage", [0.0, -0.1])
def test_no_shrinkage_is_refused(shrinkage):
    with pytest.raises(UsageError):
        whitening(texts(), shrinkage)
