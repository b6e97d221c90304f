"""Out-of-distribution scores that read words, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Head
from tapetum.score.in_distribution import InDistribution
from tapetum.score.ood.msp import Msp
from tapetum.score.ood.neg_label import NegLabel
from tapetum.score.words import far_words, gl_mcm

WORDS = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=np.float32)
OTHER = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]], dtype=np.float32)
KNOWN = InDistribution(np.eye(3), None, Head(WORDS, np.zeros(2, np.float32)), "softmax", OTHER)


def test_neg_label_is_the_share_that_goes_to_the_classes():
    query = np.array([[0.6, 0.0, 0.8], [3.0, 0.0, 0.0]])
    found = NegLabel(temperature=0.5).fit(KNOWN)(query)
    for row, score in zip(query, found, strict=True):
        unit = row / np.linalg.norm(row)
        ours = sum(math.exp(w @ unit / 0.5) for w in WORDS)
        theirs = sum(math.exp(w @ unit / 0.5) for w in OTHER)
        assert score == pytest.approx(-ours / (ours + theirs))


def test_lengths_of_words_and_images_play_no_part():
    longer = InDistribution(np.eye(3), None, Head(5 * WORDS, np.zeros(2, np.float32)), "softmax", 2 * OTHER)
    query = np.array([[0.3, 0.2, 0.9]])
    assert NegLabel().fit(longer)(7 * query) == pytest.approx(NegLabel().fit(KNOWN)(query))


def test_gl_mcm_without_places_is_mcm_and_with_them_by_hand():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(6, 3))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    cosines = images @ WORDS.T
    places = rng.uniform(-1, 1, (6, 4, 2))
    mcm = Msp(temperature=0.1).fit(KNOWN)(images)
    np.testing.assert_allclose(gl_mcm(cosines, places, temperature=0.1, weight=0), mcm, atol=1e-6)
    best = [max(1 / (1 + math.exp(-abs(a - b) / 0.1)) for a, b in image) for image in places]
    np.testing.assert_allclose(
        gl_mcm(cosines, places, temperature=0.1, weight=0.5), mcm - 0.5 * np.array(best), atol=1e-6
    )


def test_far_words_are_those_whose_nearest_class_is_far():
    candidates = np.array([[1.0, 0.1, 0], [0.0, 0.1, 1.0], [0.6, 0.0, 0.8]])
    assert far_words(candidates, WORDS, keep=2, quantile=1).tolist() == [1, 2]
    assert far_words(candidates, WORDS, keep=9).tolist() == [1, 2, 0]


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="negatives"):
        NegLabel().fit(InDistribution(np.eye(3), None, KNOWN.head))
    with pytest.raises(DataError, match="negative words"):
        InDistribution(np.eye(3), negatives=np.eye(2))
    with pytest.raises(UsageError, match="temperature"):
        NegLabel(temperature=0)
    with pytest.raises(UsageError, match="temperature"):
        gl_mcm(np.zeros((1, 2)), np.zeros((1, 3, 2)), temperature=0)
    with pytest.raises(DataError, match="places"):
        gl_mcm(np.zeros((1, 2)), np.zeros((1, 3, 4)))
    with pytest.raises(UsageError, match="keep"):
        far_words(WORDS, WORDS, keep=0)
