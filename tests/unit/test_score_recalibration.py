"""Debiased, largest and logarithmic errors, the parts of the Brier error, slope and intercept: by hand and by peers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import special
from sklearn.metrics import log_loss

from tapetum.core.errors import DataError, UsageError
from tapetum.score.metrics.brier_error import brier_error
from tapetum.score.metrics.debiased_calibration_error import debiased_calibration_error
from tapetum.score.metrics.expected_calibration_error import expected_calibration_error
from tapetum.score.metrics.log_loss_error import log_loss_error
from tapetum.score.metrics.maximum_calibration_error import maximum_calibration_error
from tapetum.score.recalibration import brier_draws, brier_parts, recalibration, recalibration_draws
from tapetum.score.reliability import bin_of


def drawn(seed, n=400, slope=1.0, shift=0.0):
    """Probabilities stated, and outcomes whose log odds are slope times those stated, plus a shift."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=n) * 1.5
    return special.expit(logits), (rng.random(n) < special.expit(slope * logits + shift)).astype(int)


# --- errors in bins --------------------------------------------------------------------------------------------------


def test_debiased_by_hand():
    # bin 1: said .2, 1 of 4: .05² - .1875 / 3; bin 2: said .9, 2 of 4: .4² - .25 / 3
    probs, labels = np.repeat([0.2, 0.9], 4), np.array([1, 0, 0, 0, 1, 1, 0, 0])
    expected = (0.05**2 - 0.0625 + 0.16 - 0.25 / 3) / 2
    assert debiased_calibration_error(probs, labels, bins=2, squared=True) == pytest.approx(expected)
    assert debiased_calibration_error(probs, labels, bins=2) == pytest.approx(math.sqrt(expected))
    # a bin of one image is left out, and alone there is nothing
    more = np.append(probs, 0.5), np.append(labels, 1)
    assert debiased_calibration_error(*more, bins=3, spacing="width", squared=True) == pytest.approx(expected)
    assert math.isnan(debiased_calibration_error(np.array([0.5]), np.array([1])))
    assert debiased_calibration_error(np.full(4, 0.5), np.array([0, 1, 0, 1])) == 0


def test_debiased_is_right_on_average_where_the_expected_error_is_not():
    """A perfect model, 200 images: the mean over 400 samples is 0; the plain error sees what is not there."""
    samples = [drawn(seed, 200) for seed in range(400)]
    debiased = np.array([debiased_calibration_error(p, y, squared=True) for p, y in samples])
    assert abs(debiased.mean()) < 3 * debiased.std() / math.sqrt(400)
    assert np.mean([expected_calibration_error(p, y, spacing="mass") for p, y in samples]) > 0.06


def test_largest_error_by_hand():
    probs, labels = np.array([0.1, 0.1, 0.9, 0.9, 0.5]), np.array([0, 0, 1, 0, 1])
    assert maximum_calibration_error(probs, labels, bins=3, spacing="width") == pytest.approx(0.5)
    assert maximum_calibration_error(probs[:4], labels[:4], bins=3, spacing="width") == pytest.approx(0.4)
    columns = np.stack([1 - probs, probs], axis=1)
    assert maximum_calibration_error(columns, labels, bins=3, spacing="width", of="each_class") == pytest.approx(0.5)
    assert math.isnan(maximum_calibration_error(np.empty(0), np.empty(0)))


def test_log_loss_is_scikit_learns():
    rng = np.random.default_rng(0)
    probs, labels = drawn(0)
    assert log_loss_error(probs, labels) == pytest.approx(log_loss(labels, probs))
    several, classes = rng.dirichlet(np.ones(4), size=100), rng.integers(4, size=100)
    assert log_loss_error(several, classes) == pytest.approx(log_loss(classes, several, labels=range(4)))
    assert log_loss_error(np.array([0.0]), np.array([1])) == pytest.approx(-math.log(1e-15))
    assert log_loss_error(np.array([0.0]), np.array([1]), floor=0.01) == pytest.approx(-math.log(0.01))
    with pytest.raises(UsageError, match="floor"):
        log_loss_error(probs, labels, floor=0.0)
    with pytest.raises(UsageError):
        debiased_calibration_error(probs, labels, bins=0)
    with pytest.raises((UsageError, TypeError)):
        maximum_calibration_error(probs, labels, of="worst")


# --- the parts of the Brier error ------------------------------------------------------------------------------------


@pytest.mark.parametrize("spacing", ["width", "mass"])
@pytest.mark.parametrize("seed", range(3))
def test_the_parts_add_up(seed, spacing):
    probs, labels = drawn(seed, slope=0.5, shift=0.3)
    parts = brier_parts(probs, labels, bins=7, spacing=spacing)
    assert parts.total == pytest.approx(brier_error(probs, labels), abs=1e-12)
    assert parts.within_variance > 0
    assert parts.uncertainty == pytest.approx(labels.var())


def test_parts_by_hand():
    # said .3 twice (0, 1) and .8 three times (1, 1, 0); base 3/5
    probs, labels = np.array([0.3, 0.3, 0.8, 0.8, 0.8]), np.array([0, 1, 1, 1, 0])
    parts = brier_parts(probs, labels, bins=2)
    assert parts.reliability == pytest.approx((2 * 0.2**2 + 3 * (0.8 - 2 / 3) ** 2) / 5)
    assert parts.resolution == pytest.approx((2 * 0.1**2 + 3 * (2 / 3 - 0.6) ** 2) / 5)
    assert parts.uncertainty == pytest.approx(0.24)
    assert (parts.within_variance, parts.within_covariance) == pytest.approx((0, 0), abs=1e-12)
    wide = brier_parts(np.array([0.1, 0.3]), np.array([0, 1]), bins=1)
    # inside the one bin: variance .01, covariance .1 · .5 = .05, twice
    assert (wide.within_variance, wide.within_covariance) == pytest.approx((0.01, 0.1))
    assert brier_parts(probs, np.ones(5)).uncertainty == 0
    assert math.isnan(brier_parts(np.empty(0), np.empty(0)).reliability)
    with pytest.raises(DataError):
        brier_parts(np.array([1.5]), np.array([1]))


# --- slope and intercept ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_slope_and_intercept_are_those_of_statsmodels(seed):
    probs, labels = drawn(seed, slope=0.4 + 0.4 * seed, shift=seed - 1.0)
    z = special.logit(probs)
    family = sm.families.Binomial()
    line = sm.GLM(labels, sm.add_constant(z), family=family).fit()
    shift = sm.GLM(labels, np.ones(len(z)), family=family, offset=z).fit()
    found = recalibration(probs, labels)
    assert found.slope == pytest.approx(line.params[1], rel=1e-5)
    assert found.intercept == pytest.approx(shift.params[0], abs=1e-5)


def test_what_was_planted_is_found():
    found = recalibration(*drawn(0, 40000, slope=0.5))
    assert found.slope == pytest.approx(0.5, abs=0.03)
    shifted = recalibration(*drawn(1, 40000, shift=-1.0))
    assert (shifted.slope, shifted.intercept) == pytest.approx((1.0, -1.0), abs=0.05)


def test_what_has_no_slope_is_nan():
    assert math.isnan(recalibration(np.array([0.2, 0.7]), np.array([1, 1])).intercept)
    assert math.isnan(recalibration(np.array([0.2, 0.7]), np.array([0, 0])).slope)
    apart = recalibration(np.array([0.2, 0.3, 0.6, 0.7]), np.array([0, 0, 1, 1]))
    assert math.isnan(apart.slope)
    assert math.isfinite(apart.intercept)
    assert math.isnan(recalibration(np.array([0.2, 0.3, 0.6, 0.7]), np.array([1, 1, 0, 0])).slope)
    assert math.isnan(recalibration(np.array([0.2, 0.5, 0.5, 0.7]), np.array([0, 0, 1, 1])).slope)
    flat = recalibration(np.full(4, 0.3), np.array([0, 1, 0, 1]))
    assert math.isnan(flat.slope)
    assert flat.intercept == pytest.approx(-special.logit(0.3))
    extremes = recalibration(np.array([0.0, 0.0, 1.0, 1.0, 0.5]), np.array([0, 1, 1, 0, 1]))
    assert math.isfinite(extremes.slope)
    assert math.isfinite(extremes.intercept)
    with pytest.raises(DataError, match="NaN"):
        recalibration(np.array([np.nan]), np.array([1]))


# --- draws -----------------------------------------------------------------------------------------------------------


def test_a_weight_is_a_repeated_image():
    probs, labels = drawn(3, 150, slope=0.6)
    weights = np.random.default_rng(0).integers(0, 3, (6, 150))
    slopes, intercepts = recalibration_draws(probs, labels == 1, weights)
    parts = brier_draws(probs, labels == 1, weights, bin_of(probs, 15, "width"), 15)
    for i, row in enumerate(weights):
        p, y = np.repeat(probs, row), np.repeat(labels, row)
        once, split = recalibration(p, y), brier_parts(p, y)
        assert (slopes[i], intercepts[i]) == pytest.approx((once.slope, once.intercept), rel=1e-5)
        assert parts[:2, i].tolist() == pytest.approx([split.reliability, split.resolution], abs=1e-12)
    nobody = np.where(labels == 1, 0, 1)[None]
    assert np.isnan(recalibration_draws(probs, labels == 1, nobody)[0]).all()
