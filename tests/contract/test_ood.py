"""What every out-of-distribution score promises; a new file in the family is tested by being there."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Head
from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.metrics.auroc_score import auroc_score

SCORES = Family("tapetum.score.ood")
CLASSES, EACH, UNUSED = 4, 5, 4
each_score = pytest.mark.parametrize("name", SCORES.names())
each_mode = pytest.mark.parametrize("mode", ["softmax", "sigmoid"])
NEGATIVES = np.eye(CLASSES * EACH + UNUSED, dtype=np.float32)[-UNUSED:]  # words for what no class uses
HEAD = Head(
    np.hstack([0.8 * np.kron(np.eye(CLASSES), np.ones(EACH)), np.zeros((CLASSES, UNUSED))]).astype(np.float32),
    np.full(CLASSES, -2, np.float32),
)


def images(shown, unused, seed):
    """Features after a ReLU: five for each class that is shown, and four that no class uses."""
    rng = np.random.default_rng(seed)
    active = np.hstack([np.kron(shown, np.ones(EACH)), np.full((len(shown), UNUSED), float(unused))])
    return np.maximum(active * rng.normal(2, 0.5, active.shape) + rng.normal(0, 0.1, active.shape), 0)


def known(mode, n=300, seed=0):
    """Known images; in mode sigmoid every fifth shows two findings, and some labels are unknown."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.arange(n) % CLASSES)
    shown = np.eye(CLASSES)[classes]
    if mode == "softmax":
        return InDistribution(images(shown, 0, seed), labels=classes, head=HEAD, negatives=NEGATIVES)
    shown[::5, 0] = 1
    labels = shown.copy()
    labels[3::7] = np.where(labels[3::7] == 1, 1, np.nan)
    return InDistribution(images(shown, 0, seed), labels=labels, head=HEAD, mode="sigmoid", negatives=NEGATIVES)


def others(n=100, seed=5):
    return images(np.zeros((n, CLASSES)), 1, seed)


def fitted(name, mode="softmax"):
    return SCORES.build(name).fit(known(mode))


def test_the_family_is_complete():
    assert len(SCORES.names()) >= 20


@each_score
def test_what_it_needs_is_declared_and_asked_for(name):
    needs = SCORES.member(name).NEEDS
    assert set(needs) <= set(get_args(Need))
    for need in needs:
        with pytest.raises(UsageError, match=need):
            SCORES.build(name).fit(dataclasses.replace(known("softmax"), **{need: None}))
    bare = {need: None for need in get_args(Need) if need not in needs}
    less = SCORES.build(name).fit(dataclasses.replace(known("softmax"), **bare))(others())
    np.testing.assert_allclose(less, fitted(name)(others()), rtol=1e-9)


@each_mode
@each_score
def test_one_finite_number_per_image(name, mode):
    score = SCORES.build(name)
    reference = known(mode)
    before = reference.features.copy()
    assert score.fit(reference) is score
    query = others().astype(np.float32)
    found = score(query)
    assert found.shape == (len(query),)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
    assert np.isfinite(score(np.zeros((1, query.shape[1])))).all()
    assert score(query[:0]).shape == (0,)
    np.testing.assert_array_equal(reference.features, before)


@each_mode
@each_score
def test_higher_is_more_ood(name, mode):
    near, far = fitted(name, mode)(known(mode, seed=1).features), fitted(name, mode)(others())
    assert auroc_score(np.concatenate([near, far]), np.repeat([0, 1], [len(near), len(far)])) > 0.9


@each_mode
@each_score
def test_a_second_sample_of_the_same_kind_is_not_found(name, mode):
    first, second = (fitted(name, mode)(known(mode, n=1000, seed=s).features) for s in (1, 2))
    area = auroc_score(np.concatenate([first, second]), np.repeat([0, 1], [len(first), len(second)]))
    assert abs(area - 0.5) < 0.05  # standard error 0.013


@each_mode
@each_score
def test_each_image_is_scored_by_itself(name, mode):
    score, query = fitted(name, mode), np.vstack([others(20), known(mode, n=20, seed=1).features])
    whole = score(query)
    order = np.random.default_rng(2).permutation(len(query))
    np.testing.assert_allclose(score(query[order]), whole[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(score(query[7:8]), whole[7:8], rtol=1e-5, atol=1e-6)


@each_mode
@each_score
def test_the_order_of_known_images_and_of_classes_does_not_matter(name, mode):
    reference, query = known(mode), others(30)
    order, turned = np.random.default_rng(3).permutation(len(reference.features)), np.array([2, 0, 3, 1])
    labels = reference.labels[order]
    again = InDistribution(
        reference.features[order],
        np.argsort(turned)[labels] if mode == "softmax" else labels[:, turned],
        Head(HEAD.weight[turned], HEAD.bias[turned]),
        mode,
        NEGATIVES,
    )
    np.testing.assert_allclose(SCORES.build(name).fit(again)(query), fitted(name, mode)(query), rtol=1e-5, atol=1e-6)


@each_score
def test_fitting_again_forgets(name):
    score = SCORES.build(name).fit(InDistribution(others(), np.zeros(100, int), HEAD, negatives=NEGATIVES))
    np.testing.assert_array_equal(score.fit(known("softmax"))(others()), fitted(name)(others()))


@each_score
def test_what_cannot_be_scored_is_refused(name):
    with pytest.raises(UsageError, match="not fitted"):
        SCORES.build(name)(others())
    score, query = fitted(name), others()
    with pytest.raises(DataError, match="features of shape"):
        score(query[:, 1:])
    query[3, 3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        score(query)
