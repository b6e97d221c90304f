"""For any data: ties, weights and thresholds against brute force."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tapetum.score import threshold_for_sensitivity
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.metrics.cohen_kappa_score import cohen_kappa_score
from tapetum.score.metrics.expected_calibration_error import expected_calibration_error
from tapetum.score.ranking import placements
from tapetum.score.reliability import reliability_bins
from tapetum.score.stats.bounds import drawn_interval
from tapetum.score.stats.clustered import obuchowski_covariance
from tapetum.score.stats.delong import delong_covariance
from tapetum.score.stats.draws import auroc_draws, jackknife_weights
from tapetum.score.stats.mcnemar import clustered_mcnemar, mcnemar
from tapetum.score.stats.multiple import benjamini_hochberg, holm
from tapetum.score.stats.ranks import friedman, nemenyi_p_values, ranks_of_errors, ranks_of_scores

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


@given(weighted(), st.integers(1, 8), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_covariance_over_patients_is_one_and_is_delong_for_single_images(data, patients, seed):
    scores, labels, _ = data
    rng = np.random.default_rng(seed)
    columns = np.stack([scores, rng.permutation(scores)], axis=1)
    who = rng.integers(0, patients, len(scores))
    areas, covariance = obuchowski_covariance(columns, labels, who)
    order = rng.permutation(len(scores))
    again = obuchowski_covariance(columns[order], labels[order], who[order])[1]
    np.testing.assert_allclose(again, covariance, atol=1e-12)
    if not np.isnan(covariance).any():
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-15)
    single = obuchowski_covariance(columns, labels, np.arange(len(scores)))
    for found, expected in zip(single, delong_covariance(columns, labels), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_array_equal(single[0], areas)


@given(st.integers(2, 30), st.integers(0, 2**32 - 1), st.sampled_from([None, "bca"]))
@settings(deadline=None)
def test_bounds_are_in_order_and_inside_the_draws(patients, seed, kind):
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=patients)
    drawn = rng.choice(values, (200, patients)).mean(axis=1)
    weights = np.concatenate(list(jackknife_weights(range(patients))))
    left_out = weights @ values / weights.sum(axis=1)
    found = drawn_interval(
        float(values.mean()), drawn, range(patients), level=0.9, jackknives=[left_out] if kind else None
    )
    assert drawn.min() <= found.low <= found.high <= drawn.max()


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_paired_calls_turn_with_the_methods(n, seed):
    rng = np.random.default_rng(seed)
    first, second, who = rng.integers(0, 2, n), rng.integers(0, 2, n), rng.integers(0, 10, n)
    for one, two in (
        (mcnemar(first, second), mcnemar(second, first)),
        (clustered_mcnemar(first, second, who), clustered_mcnemar(second, first, who)),
    ):
        assert one.interval.estimate == -two.interval.estimate
        assert (math.isnan(one.p_value) and math.isnan(two.p_value)) or one.p_value == two.p_value
        assert math.isnan(one.p_value) or 0 <= one.p_value <= 1
    exact, middle = mcnemar(first, second).p_value, mcnemar(first, second, form="mid p").p_value
    assert middle <= exact + 1e-12


@given(st.integers(2, 12), st.integers(2, 6), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_ranks_keep_their_sum_and_ignore_a_rising_change_of_scale(sets, methods, seed):
    scores = np.random.default_rng(seed).integers(0, 4, (sets, methods)) / 4
    ranks = ranks_of_scores(scores)
    np.testing.assert_allclose(ranks.sum(axis=1), methods * (methods + 1) / 2)
    np.testing.assert_array_equal(ranks, ranks_of_scores(np.exp(scores)))
    np.testing.assert_allclose(ranks + ranks_of_errors(scores), methods + 1)
    found, turned = friedman(ranks), friedman(ranks_of_errors(scores))
    assert (math.isnan(found.p_value) and math.isnan(turned.p_value)) or abs(found.p_value - turned.p_value) < 1e-9
    p_values = nemenyi_p_values(ranks)
    assert ((p_values >= 0) & (p_values <= 1)).all()


@given(arrays.arrays(np.float64, st.integers(0, 12), elements=st.floats(0, 1) | st.just(math.nan)))
@settings(deadline=None)
def test_adjusted_p_values_keep_their_order_and_never_fall(p_values):
    mild, strict = benjamini_hochberg(p_values), holm(p_values)
    known = ~np.isnan(p_values)
    np.testing.assert_array_equal(np.isnan(mild), ~known)
    assert (mild[known] >= p_values[known]).all()
    assert (strict[known] >= mild[known] - 1e-15).all()
    for adjusted in (mild, strict):
        assert (np.diff(adjusted[known][np.argsort(p_values[known], kind="stable")]) >= 0).all()
