"""The same qualities, thresholds and joint as cleanlab; the mixture as scikit-learn fits it."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab import count, rank
from cleanlab import filter as peer_filter
from sklearn.mixture import GaussianMixture

from tapetum.score.given import class_thresholds, confident_class, without_thresholds
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.noise.confidence_weighted_entropy import confidence_weighted_entropy
from tapetum.score.noise.confident_learning import confident_learning
from tapetum.score.noise.loss_mixture import loss_mixture
from tapetum.score.noise.normalized_margin import normalized_margin
from tapetum.score.noise.self_confidence import self_confidence
from tapetum.score.noise_rate import by_confident_joint, confident_counts

each_seed = pytest.mark.parametrize("seed", range(4))
each_width = pytest.mark.parametrize("classes", [2, 5])


def clouds(seed, classes, n=500, rate=0.2):
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, size=n, p=np.arange(1, classes + 1) / np.arange(classes + 1).sum())
    given = np.where(rng.random(n) < rate, (truth + rng.integers(1, classes, size=n)) % classes, truth)
    powers = np.exp(2.5 * np.eye(classes)[truth] + rng.normal(size=(n, classes)))
    return powers / powers.sum(axis=1, keepdims=True), given


@each_seed
@each_width
def test_qualities(seed, classes):
    probs, given = clouds(seed, classes)
    same = {"atol": 1e-12}
    np.testing.assert_allclose(
        self_confidence(probs, given), rank.get_self_confidence_for_each_label(given, probs), **same
    )
    np.testing.assert_allclose(
        normalized_margin(probs, given), rank.get_normalized_margin_for_each_label(given, probs), **same
    )
    np.testing.assert_allclose(
        confidence_weighted_entropy(probs, given),
        rank.get_confidence_weighted_entropy_for_each_label(given, probs),
        atol=1e-9,
    )
    for ours, method in ((self_confidence, "self_confidence"), (normalized_margin, "normalized_margin")):
        theirs = rank.get_label_quality_scores(given, probs, method=method, adjust_pred_probs=True)
        np.testing.assert_allclose(ours(probs, given, adjusted=True), theirs, atol=1e-12)


@each_seed
@each_width
def test_thresholds_and_joint(seed, classes):
    probs, given = clouds(seed, classes)
    np.testing.assert_allclose(class_thresholds(probs, given), count.get_confident_thresholds(given, probs))
    counts = confident_counts(probs, given)
    theirs = count.compute_confident_joint(given, probs, calibrate=False)
    np.testing.assert_array_equal(counts, theirs)
    # cleanlab rounds the calibrated counts, so that its joint may be off by an image a cell
    ours = by_confident_joint(probs, given)
    np.testing.assert_allclose(ours.joint, count.estimate_joint(given, probs), atol=1.01 / len(given))


def test_two_confident_classes_and_a_third_more_probable():
    """The one place where cleanlab does not do what the paper says; elsewhere the counts are equal."""
    rng = np.random.default_rng(0)
    probs, given, thresholds = (
        rng.dirichlet(np.ones(3), size=2000),
        rng.integers(3, size=2000),
        np.array([0.8, 0.3, 0.2]),
    )
    reached = (probs >= thresholds - 1e-6).sum(axis=1)
    sure = confident_class(probs, thresholds)
    apart = (reached > 1) & (sure != probs.argmax(axis=1))
    assert apart.any()
    ours = np.zeros((3, 3), int)
    np.add.at(ours, (given[~apart & (sure >= 0)], sure[~apart & (sure >= 0)]), 1)
    theirs = count.compute_confident_joint(given[~apart], probs[~apart], thresholds=list(thresholds), calibrate=False)
    np.testing.assert_array_equal(ours, theirs)


@each_seed
def test_what_the_confident_joint_prunes(seed):
    probs, given = clouds(seed, 2)
    issues = peer_filter.find_label_issues(given, probs, filter_by="confident_learning", n_jobs=1)
    np.testing.assert_array_equal(confident_learning(probs, given, prune="confident") < 0.5, issues)
    for prune, theirs in (("noise_rate", "prune_by_noise_rate"), ("class", "prune_by_class")):
        issues = peer_filter.find_label_issues(given, probs, filter_by=theirs, n_jobs=1)
        ours = confident_learning(probs, given, prune=prune) < 0.5
        assert (issues != ours).mean() < 0.02, "they round, spare small classes and what the argmax agrees with"


@each_seed
def test_adjusted_probabilities_keep_their_order(seed):
    probs, given = clouds(seed, 3)
    np.testing.assert_allclose(without_thresholds(probs, given).sum(axis=1), 1)


@each_seed
def test_mixture(seed):
    probs, given = clouds(seed, 2)
    loss = -np.log(np.clip(probs[np.arange(len(given)), given], 1e-6, 1))
    scaled = ((loss - loss.min()) / np.ptp(loss))[:, None]
    peer = GaussianMixture(2, max_iter=20_000, tol=1e-13, reg_covar=5e-4, random_state=0).fit(scaled)
    theirs = peer.predict_proba(scaled)[:, int(np.argmin(peer.means_))]
    ours = loss_mixture(probs, given, rounds=20_000)
    low, high = np.sort(peer.means_.ravel())
    between = (scaled[:, 0] > low) & (scaled[:, 0] < high)  # outside, ours is held monotone
    np.testing.assert_allclose(ours[between], theirs[between], atol=1e-3)
    assert auroc_score(ours, theirs > 0.5) > 0.99
