"""For any data: ties, weights and thresholds against brute force."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tapetum.score import threshold_for_sensitivity
from tapetum.score.stats.draws import auroc_draws
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.metrics.cohen_kappa_score import cohen_kappa_score
from tapetum.score.metrics.expected_calibration_error import expected_calibration_error
from tapetum.score.ranking import placements
from tapetum.score.reliability import reliability_bins

COUNTS = st.integers(1, 30)


@st.composite
def weighted(draw):
    """Few distinct scores, so that most are tied; labels with unknowns; weights with zeros."""
    n = draw(COUNTS)
    scores = draw(arrays.arrays(np.float64, n, elements=st.sampled_from([-1.0, 0.0, 0.25, 1.0, 7.5])))
    labels = draw(arrays.arrays(np.float64, n, elements=st.sampled_from([0.0, 1.0, math.nan])))
    weights = draw(arrays.arrays(np.int64, (draw(st.integers(1, 4)), n), elements=st.integers(0, 300)))
    return scores, labels, weights


@given(weighted())
@settings(deadline=None)
def test_weighted_auroc_is_that_of_all_pairs(data):
    scores, labels, weights = data
    wins = (scores[:, None] > scores) + 0.5 * (scores[:, None] == scores)
    pairs = (labels[:, None] == 1) & (labels == 0)
    for found, w in zip(auroc_draws(scores, labels, weights), weights, strict=True):
        mass = (np.outer(w, w) * pairs).sum()
        if mass:
            assert abs(found - (np.outer(w, w) * pairs * wins).sum() / mass) < 1e-12
        else:
            assert math.isnan(found)


@given(weighted())
@settings(deadline=None)
def test_auroc_turns_with_the_scores_and_with_the_labels(data):
    scores, labels, _ = data
    known = ~np.isnan(labels)
    scores, labels = scores[known], labels[known].astype(int)
    area = auroc_score(scores, labels)
    if math.isnan(area):
        assert len(set(labels.tolist())) < 2
        return
    assert abs(auroc_score(-scores, labels) - (1 - area)) < 1e-12
    assert abs(auroc_score(scores, 1 - labels) - (1 - area)) < 1e-12
    assert auroc_score(np.arctan(scores), labels) == area
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    of_positives, of_negatives = placements(scores, positives, negatives)
    assert abs(of_positives.mean() - area) < 1e-12
    assert abs(of_negatives.mean() - area) < 1e-12


@given(weighted(), st.floats(0.01, 1.0))
@settings(deadline=None)
def test_no_larger_threshold_reaches_the_sensitivity(data, target):
    scores, labels, _ = data
    found = threshold_for_sensitivity(scores, labels, sensitivity=target)
    positives = scores[labels == 1]
    if not len(positives):
        assert math.isnan(found)
        return
    assert np.mean(positives >= found) >= target - 1e-9
    assert np.mean(positives > found) < target


@given(st.integers(1, 60), st.integers(1, 20), st.sampled_from(["width", "mass"]), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_bins_hold_every_image_and_the_error_stays_in_range(n, bins, spacing, seed):
    rng = np.random.default_rng(seed)
    probs, labels = np.round(rng.random(n), 1), rng.integers(0, 2, n)
    table = reliability_bins(probs, labels, bins=bins, spacing=spacing)
    assert table.images.sum() == n
    assert (np.diff(table.stated) > 0).all()
    error = expected_calibration_error(probs, labels, bins=bins, spacing=spacing)
    assert abs(probs.mean() - labels.mean()) - 1e-12 <= error <= 1


@given(st.integers(2, 40), st.integers(2, 5), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_kappa_never_exceeds_one_and_weights_agree_for_two_classes(n, classes, seed):
    rng = np.random.default_rng(seed)
    probs, labels = rng.dirichlet(np.ones(classes), n), rng.integers(0, classes, n)
    values = [cohen_kappa_score(probs, labels, weights=w) for w in ("none", "linear", "quadratic")]
    if len(set(labels.tolist())) < 2:
        assert all(math.isnan(v) for v in values)
        return
    assert max(values) <= 1 + 1e-12
    if classes == 2:
        assert max(values) - min(values) < 1e-12
