"""Scores asked together: what is shared is worked out once and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Head
from tapetum.score.gaussian import Gaussian
from tapetum.score.in_distribution import BLOCK, InDistribution
from tapetum.score.neighbours import GROUP, largest
from tapetum.score.post_hoc import together
from tapetum.score.query import queries

SCORES = Family("tapetum.score.ood")


def known(images=90, dim=12, seed=0, mode="softmax"):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=images)
    features = np.maximum(rng.normal(size=(images, dim)) + 2 * np.eye(3, dim)[labels], 0)
    head = Head(rng.normal(size=(3, dim)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    return InDistribution(features, labels if mode == "softmax" else np.eye(3)[labels], head, mode, np.ones((2, dim)))


@pytest.mark.parametrize("mode", ["softmax", "sigmoid"])
def test_together_as_each_by_itself(mode):
    query = np.random.default_rng(1).normal(size=(BLOCK + 7, 12))
    images = known(mode=mode)
    scores = [SCORES.build(name).fit(images) for name in SCORES.names()]
    alone = [SCORES.build(name).fit(known(mode=mode))(query) for name in SCORES.names()]
    for name, one, other in zip(SCORES.names(), together(scores, query), alone, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, err_msg=name)


def test_a_covariance_is_decomposed_once(monkeypatch):
    asked = []
    whole = np.linalg.cholesky
    monkeypatch.setattr(np.linalg, "cholesky", lambda matrix: asked.append(1) or whole(matrix))
    images = known()
    first, second = (SCORES.build(n).fit(images) for n in ("mahalanobis", "relative_mahalanobis"))
    assert first.gaussian_ is second.gaussian_
    assert SCORES.build("mahalanobis(shrinkage=0.5)").fit(images).gaussian_ is not first.gaussian_
    assert len(asked) == 2


def test_cosines_are_worked_out_once_a_block(monkeypatch):
    asked = []
    whole = np.matmul
    monkeypatch.setattr(np, "matmul", lambda *given, **more: asked.append(1) or whole(*given, **more))
    images = known()
    together([SCORES.build(n).fit(images) for n in ("knn", "nnguide", "knn(k=3)")], np.ones((2 * BLOCK, 12)))
    assert len(asked) == 2


def test_cosines_in_memory_that_is_used_again():
    images, rows = known(), np.random.default_rng(2).normal(size=(BLOCK + 3, 12))
    found = np.concatenate([query.cosines.copy() for query in queries(rows, images)])
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    np.testing.assert_allclose(found, unit @ images.directions.T, atol=1e-6)


def test_scores_of_other_images_are_not_asked_together():
    one, other = SCORES.build("knn").fit(known()), SCORES.build("residual").fit(known())
    with pytest.raises(UsageError, match="different known images"):
        together([one, other], np.ones((2, 12)))
    with pytest.raises(UsageError, match="not fitted"):
        together([one, SCORES.build("msp")], np.ones((2, 12)))
    assert together([], np.ones((2, 12))) == []


@pytest.mark.parametrize("columns", [5, GROUP * 6 + 3, GROUP * 40, GROUP * 40 + 5])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_the_largest_are_those_of_a_sort(columns, k):
    rng = np.random.default_rng(columns)
    values, weights = rng.normal(size=(150, columns)).astype(np.float32), rng.random(columns).astype(np.float32)
    values[0, :] = 1  # ties
    found = largest(values, k)
    np.testing.assert_array_equal(np.sort(found), np.sort(values)[:, -k:])
    np.testing.assert_array_equal(found[:, 0], np.sort(values)[:, -k])
    np.testing.assert_array_equal(np.sort(largest(values, k, weights)), np.sort(values * weights)[:, -k:])


def test_the_covariance_of_all_by_that_within_and_the_means():
    images = known(images=400)
    gaussian = Gaussian.of(images, 0.2)
    query = next(queries(np.random.default_rng(3).normal(size=(20, 12)) * 3, images))
    scale = np.trace(images.within) / 12
    away = query.features - images.features.mean(axis=0)
    slow = np.linalg.inv(0.8 * np.cov(images.features.T, bias=True) + 0.2 * scale * np.eye(12))
    np.testing.assert_allclose(gaussian.distance_to_all(query), np.einsum("ij,jk,ik->i", away, slow, away))
