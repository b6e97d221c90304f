"""What every method on label noise promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import DataError
from tapetum.core.registry import Family
from tapetum.score.given import as_classes
from tapetum.score.metrics.auroc_score import auroc_score

METHODS = Family("tapetum.score.noise")
each_method = pytest.mark.parametrize("name", METHODS.names())


def clouds(seed=0, n=600, classes=3, members=0, rate=0.15):
    """Probabilities of overlapping normal clouds, labels with planted flips; members see them with their own noise."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(classes, size=n)
    given = np.where(rng.random(n) < rate, (truth + rng.integers(1, classes, size=n)) % classes, truth)
    logits = (
        3.0 * np.eye(classes)[truth] + rng.normal(size=(max(1, members), n, classes)) + rng.normal(size=(n, classes))
    )
    powers = np.exp(logits)
    probs = powers / powers.sum(axis=-1, keepdims=True)
    return (probs if members else probs[0]), given, given != truth


@each_method
@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize("classes", [2, 4])
def test_planted_flips_are_found(name, members, classes):
    probs, given, flipped = clouds(classes=classes, members=members)
    quality = METHODS.build(name)(probs, given)
    assert quality.shape == given.shape
    assert ((quality >= 0) & (quality <= 1)).all()
    assert auroc_score(1 - quality, flipped) > 0.8


@each_method
def test_it_stands_between_0_and_1_at_the_edges(name):
    probs = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    quality = METHODS.build(name)(probs, np.array([0, 0, 1, 1, 2]))
    assert ((quality >= 0) & (quality <= 1)).all()


@each_method
def test_a_more_probable_label_is_trusted_more(name):
    """Two classes, every image given class 0 but one: quality never falls as its probability rises."""
    rising = np.linspace(0.02, 0.98, 25)
    quality = METHODS.build(name)(np.append(1 - as_classes(rising), [[0.1, 0.9]], axis=0), np.append(np.zeros(25), 1))
    assert (np.diff(quality[:-1]) >= -1e-12).all()
    assert quality[0] < quality[-2]


@each_method
def test_order_of_images_and_names_of_classes_do_not_matter(name):
    probs, given, _ = clouds(n=200)
    quality = METHODS.build(name)(probs, given)
    order = np.random.default_rng(1).permutation(200)
    np.testing.assert_allclose(METHODS.build(name)(probs[order], given[order]), quality[order], atol=1e-12)
    renamed = np.array([2, 0, 1])
    np.testing.assert_allclose(METHODS.build(name)(probs[:, np.argsort(renamed)], renamed[given]), quality, atol=1e-9)


@each_method
def test_equal_members_are_one(name):
    probs, given, _ = clouds(n=100)
    one, many = METHODS.build(name)(probs[None], given), METHODS.build(name)(np.stack([probs] * 4), given)
    assert auroc_score(one, many > np.quantile(many, 0.2)) == 1.0
    np.testing.assert_allclose(METHODS.build(name)(probs, given), one)


@each_method
@pytest.mark.parametrize(
    ("probs", "labels"),
    [
        (np.array([[0.9, 0.2]]), np.array([0])),
        (np.array([[3.0, -2.0]]), np.array([0])),
        (np.array([[np.nan, 0.5]]), np.array([0])),
        (np.array([[0.5, 0.5]]), np.array([2])),
        (np.array([[0.5, 0.5]]), np.array([0, 1])),
        (np.array([0.5, 0.5]), np.array([0, 1])),
    ],
)
def test_what_is_no_probability_or_label_is_refused(name, probs, labels):
    with pytest.raises(DataError):
        METHODS.build(name)(probs, labels)
