"""The same numbers as independent implementations: scikit-learn, statsmodels, and brute force from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as peer
from scipy import optimize, special
from scipy import stats as scipy_stats
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import KBinsDiscretizer
from statsmodels.stats.proportion import proportion_confint

from tapetum.score import delong_interval, wilson_interval
from tapetum.score.calibration.beta import Beta
from tapetum.score.calibration.dirichlet import Dirichlet
from tapetum.score.calibration.histogram import Histogram
from tapetum.score.calibration.isotonic import Isotonic
from tapetum.score.calibration.platt import Platt
from tapetum.score.calibration.temperature import Temperature
from tapetum.score.calibration.vector import Vector
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.metrics.average_precision_score import average_precision_score
from tapetum.score.metrics.balanced_accuracy_score import balanced_accuracy_score
from tapetum.score.metrics.brier_error import brier_error
from tapetum.score.metrics.cohen_kappa_score import cohen_kappa_score
from tapetum.score.metrics.expected_calibration_error import expected_calibration_error
from tapetum.score.metrics.sensitivity_score import sensitivity_score
from tapetum.score.metrics.specificity_score import specificity_score
from tapetum.score.reliability import reliability_bins, roc_curve
from tapetum.score.stats.delong import delong_covariance, delong_paired
from tapetum.score.stats.draws import auroc_draws, cluster_weights
from tapetum.score.stats.proportions import clopper_pearson_interval

each_seed = pytest.mark.parametrize("seed", range(4))


def binary(seed, n=300, ties=True):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.3).astype(int)
    probs = 1 / (1 + np.exp(-(labels + rng.normal(size=n))))
    return (np.round(probs, 2) if ties else probs), labels


def multiclass(seed, n=300, k=5):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % k)
    logits = np.eye(k)[labels] + rng.normal(size=(n, k))
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), labels


@each_seed
def test_binary_metrics(seed):
    probs, labels = binary(seed)
    calls = probs >= 0.5
    assert auroc_score(probs, labels) == pytest.approx(peer.roc_auc_score(labels, probs), abs=1e-12)
    assert average_precision_score(probs, labels) == pytest.approx(
        peer.average_precision_score(labels, probs), abs=1e-12
    )
    assert brier_error(probs, labels) == pytest.approx(peer.brier_score_loss(labels, probs), abs=1e-12)
    assert balanced_accuracy_score(probs, labels) == pytest.approx(
        peer.balanced_accuracy_score(labels, calls), abs=1e-12
    )
    assert sensitivity_score(probs, labels, threshold=0.5) == pytest.approx(peer.recall_score(labels, calls), abs=1e-12)
    assert specificity_score(probs, labels, threshold=0.5) == pytest.approx(
        peer.recall_score(labels, calls, pos_label=0), abs=1e-12
    )


@each_seed
def test_multiclass_metrics(seed):
    probs, labels = multiclass(seed)
    calls = probs.argmax(axis=1)
    assert balanced_accuracy_score(probs, labels) == pytest.approx(
        peer.balanced_accuracy_score(labels, calls), abs=1e-12
    )
    assert brier_error(probs, labels) == pytest.approx(
        peer.brier_score_loss(labels, probs, scale_by_half=False), abs=1e-12
    )
    for weights in ("none", "linear", "quadratic"):
        expected = peer.cohen_kappa_score(labels, calls, weights=None if weights == "none" else weights)
        assert cohen_kappa_score(probs, labels, weights=weights) == pytest.approx(expected, abs=1e-12)


@each_seed
@pytest.mark.parametrize(("spacing", "strategy"), [("width", "uniform"), ("mass", "quantile")])
def test_reliability(seed, spacing, strategy):
    probs, labels = binary(seed, ties=False)
    observed, stated = calibration_curve(labels, probs, n_bins=10, strategy=strategy)
    bins = reliability_bins(probs, labels, bins=10, spacing=spacing)
    np.testing.assert_allclose(bins.observed, observed, atol=1e-12)
    np.testing.assert_allclose(bins.stated, stated, atol=1e-12)
    gap = np.sum(np.abs(observed - stated) * bins.images) / len(labels)
    assert expected_calibration_error(probs, labels, bins=10, spacing=spacing) == pytest.approx(gap, abs=1e-12)


@each_seed
def test_roc_curve(seed):
    probs, labels = binary(seed)
    false, true, thresholds = peer.roc_curve(labels, probs, drop_intermediate=False)
    curve = roc_curve(probs, labels)
    np.testing.assert_allclose(curve.false_positive_rate, false, atol=1e-12)
    np.testing.assert_allclose(curve.true_positive_rate, true, atol=1e-12)
    np.testing.assert_allclose(curve.thresholds, thresholds)


@pytest.mark.parametrize("ties", [True, False])
def test_bootstrap_draws_are_those_of_a_loop_with_scikit_learn(ties):
    probs, labels = binary(0, ties=ties)
    who = np.random.default_rng(1).integers(0, 150, len(labels))
    for block in cluster_weights(who, 60, np.random.default_rng(2)):
        fast = auroc_draws(probs, labels, block)
        for value, weights in zip(fast, block, strict=True):
            rows = np.repeat(np.arange(len(weights)), weights)
            assert value == pytest.approx(peer.roc_auc_score(labels[rows], probs[rows]), abs=1e-12)
            assert value == pytest.approx(peer.roc_auc_score(labels, probs, sample_weight=weights), abs=1e-12)


@each_seed
def test_delong_against_all_pairs(seed):
    first, labels = binary(seed, n=80)
    second = np.round(first + np.random.default_rng(seed + 9).normal(size=80) / 3, 2)
    parts = []
    for scores in (first, second):
        pairs = scores[labels == 1][:, None] - scores[labels == 0][None, :]
        wins = (pairs > 0) + 0.5 * (pairs == 0)
        parts.append((wins.mean(), wins.mean(axis=1), wins.mean(axis=0)))
    m, n = (labels == 1).sum(), (labels == 0).sum()
    covariance = np.cov([p[1] for p in parts]) / m + np.cov([p[2] for p in parts]) / n
    areas, found = delong_covariance(np.stack([first, second], axis=1), labels)
    np.testing.assert_allclose(areas, [p[0] for p in parts], atol=1e-12)
    np.testing.assert_allclose(found, covariance, atol=1e-14)

    z = (areas[0] - areas[1]) / np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert delong_paired(first, second, labels).p_value == pytest.approx(2 * scipy_stats.norm.sf(abs(z)), rel=1e-9)
    logit, slope = np.log(areas[0] / (1 - areas[0])), 1 / (areas[0] * (1 - areas[0]))
    bounds = logit + np.array([-1, 1]) * scipy_stats.norm.ppf(0.975) * slope * np.sqrt(covariance[0, 0])
    interval = delong_interval(first, labels)
    assert (interval.low, interval.high) == pytest.approx(tuple(1 / (1 + np.exp(-bounds))), abs=1e-12)


@pytest.mark.parametrize(("low_mean", "labels_per_set", "sets"), [(1.0, (40, 80), 300), (2.5, (30, 60), 300)])
def test_delong_covers_the_truth_about_as_often_as_it_says(low_mean, labels_per_set, sets):
    rng = np.random.default_rng(0)
    truth = scipy_stats.norm.cdf(low_mean / np.sqrt(2))
    positives, negatives = labels_per_set
    labels = np.concatenate([np.ones(positives), np.zeros(negatives)])
    covered = 0
    for _ in range(sets):
        interval = delong_interval(rng.normal(size=len(labels)) + low_mean * labels, labels)
        covered += interval.low <= truth <= interval.high
    # 3.5 standard errors of 300 sets at 95 %
    assert abs(covered / sets - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / sets)


@pytest.mark.parametrize(("hits", "trials"), [(0, 7), (1, 7), (5, 9), (9, 9), (300, 1000)])
def test_proportions(hits, trials):
    for interval, method in ((wilson_interval, "wilson"), (clopper_pearson_interval, "beta")):
        for level in (0.9, 0.95):
            found = interval(hits, trials, level=level)
            expected = proportion_confint(hits, trials, alpha=1 - level, method=method)
            assert (found.low, found.high) == pytest.approx(expected, abs=1e-9)


def test_isotonic():
    probs, labels = binary(3)
    logits = np.round(np.log(probs / (1 - probs)), 1)
    fitted = Isotonic().fit(logits[:, None], labels[:, None].astype(float))
    expected = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(logits, labels)
    other = np.linspace(-6, 6, 200)
    np.testing.assert_allclose(fitted(other[:, None])[:, 0], expected.predict(other), atol=1e-9)


def test_platt_is_logistic_regression_on_smoothed_labels():
    probs, labels = binary(4, n=2000)
    logits = np.log(probs.clip(0.01, 0.99) / (1 - probs.clip(0.01, 0.99)))
    positives, negatives = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    line = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000)
    line.fit(
        np.concatenate([logits, logits])[:, None],
        np.concatenate([np.ones(2000), np.zeros(2000)]),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    fitted = Platt().fit(logits[:, None], labels[:, None].astype(float))
    assert fitted.slopes[0] == pytest.approx(line.coef_[0, 0], rel=1e-4)
    assert fitted.intercepts[0] == pytest.approx(line.intercept_[0], rel=1e-4)


def test_temperature_is_logistic_regression_without_intercept():
    probs, labels = binary(5, n=2000)
    logits = np.log(probs.clip(0.01, 0.99) / (1 - probs.clip(0.01, 0.99)))
    line = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12).fit(logits[:, None], labels)
    fitted = Temperature().fit(logits[:, None], labels[:, None].astype(float))
    assert 1 / fitted.temperatures[0] == pytest.approx(line.coef_[0, 0], rel=1e-4)


def classes_of(seed, n=400, k=3):
    """Logits twice too large, of classes that lean to the first."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, k)) + np.array([0.5, 0, 0])
    return 2 * true, np.argmax(true + rng.gumbel(size=true.shape), axis=1)


@each_seed
def test_vector_and_beta_of_a_column(seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(500, 1)) * 2
    labels = (rng.random((500, 1)) < special.expit(0.6 * logits - 0.4)).astype(float)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits, labels[:, 0])
    ours = Vector().fit(logits, labels)
    assert (ours.weights[0], ours.biases[0]) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), rel=1e-4)
    p = special.expit(logits)
    sides = np.hstack([np.log(p), -np.log1p(-p)])
    curve = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(sides, labels[:, 0])
    if (curve.coef_ < 0).any():  # the published way: leave the negative one out and fit again
        kept = np.flatnonzero(curve.coef_[0] > 0)
        sides = sides[:, kept]
        curve = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(sides, labels[:, 0])
    np.testing.assert_allclose(Beta().fit(logits, labels)(logits)[:, 0], curve.predict_proba(sides)[:, 1], atol=1e-4)


@each_seed
def test_vector_of_classes(seed):
    logits, labels = classes_of(seed)

    def loss(flat):
        return -special.log_softmax(logits * flat[:3] + np.append(flat[3:], 0), axis=1)[range(400), labels].mean()

    found = optimize.minimize(loss, [1, 1, 1, 0, 0], method="Powell", options={"xtol": 1e-9, "ftol": 1e-14}).x
    theirs = special.softmax(logits * found[:3] + np.append(found[3:], 0), axis=1)
    np.testing.assert_allclose(Vector("softmax").fit(logits, labels)(logits), theirs, atol=1e-4)


@each_seed
def test_dirichlet(seed):
    logits, labels = classes_of(seed)
    logs = special.log_softmax(logits, axis=1)
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(logs, labels)
    free = Dirichlet(off_diagonal=1e-9, bias=1e-9).fit(logits, labels)
    np.testing.assert_allclose(free(logits), theirs.predict_proba(logs), atol=1e-4)

    def loss(flat):
        w, b = flat[:9].reshape(3, 3), flat[9:]
        nll = -special.log_softmax(logs @ w.T + b, axis=1)[range(400), labels].mean()
        off = np.mean([w[i, j] ** 2 for i in range(3) for j in range(3) if i != j])
        return nll + 0.3 * off + 0.2 * np.mean(b**2)

    found = optimize.minimize(loss, np.append(np.eye(3).ravel(), np.zeros(3)), method="BFGS").x
    ours = Dirichlet(off_diagonal=0.3, bias=0.2).fit(logits, labels)
    np.testing.assert_allclose(ours.weights.ravel(), found[:9], atol=1e-3)
    np.testing.assert_allclose(ours.biases, found[9:], atol=1e-3)


@each_seed
def test_histogram(seed):
    """Bins of scikit-learn's quantiles: equal but for the images nearest to an edge."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(1000, 1))
    labels = (rng.random((1000, 1)) < special.expit(2 * logits)).astype(float)
    cut = KBinsDiscretizer(8, encode="ordinal", strategy="quantile", quantile_method="averaged_inverted_cdf")
    place = cut.fit_transform(logits)[:, 0].astype(int)
    shares = np.bincount(place, labels[:, 0]) / np.bincount(place)
    ours = Histogram(bins=8).fit(logits, labels)(logits)[:, 0]
    assert np.mean(np.abs(ours - shares[place]) < 0.02) > 0.98
