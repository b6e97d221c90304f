"""Calibrators by hand: what they find, and when they say that there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.score.calibrating import NO_LABELS, NO_RELATION, ONE_CLASS

CALIBRATORS = Family("tapetum.score.calibration")
PER_COLUMN = ("temperature", "platt", "isotonic")


def drawn(slope, shift, n=4000, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 1)) * 3
    labels = (rng.random((n, 1)) < 1 / (1 + np.exp(-(slope * logits + shift)))).astype(float)
    return logits, labels


def test_temperature_is_found():
    logits, labels = drawn(0.4, 0.0)
    assert CALIBRATORS.build("temperature").fit(logits, labels).temperatures[0] == pytest.approx(2.5, rel=0.1)


def test_temperature_of_two_logits_by_hand():
    # three of four right at logit 4 and -4: sigmoid(4 / T) = 3/4, T = 4 / ln 3
    logits = np.array([[4.0], [4.0], [4.0], [4.0], [-4.0], [-4.0], [-4.0], [-4.0]])
    labels = np.array([[1.0], [1], [1], [0], [0], [0], [0], [1]])
    fitted = CALIBRATORS.build("temperature").fit(logits, labels)
    assert fitted.temperatures[0] == pytest.approx(4 / np.log(3), rel=1e-9)
    both = CALIBRATORS.build("temperature(mode='softmax')").fit(np.hstack([logits, -logits]), 1 - labels[:, 0])
    assert both.temperatures.tolist() == pytest.approx([8 / np.log(3)] * 2, rel=1e-9)


def test_temperature_of_classes_fully_apart_is_bounded():
    logits = np.array([[1.0], [-1.0]])
    fitted = CALIBRATORS.build("temperature").fit(logits, np.array([[1.0], [0.0]]))
    assert fitted.temperatures[0] == pytest.approx(1e-3)


def test_platt_finds_slope_and_shift():
    fitted = CALIBRATORS.build("platt").fit(*drawn(0.7, -2.0))
    assert fitted.slopes[0] == pytest.approx(0.7, rel=0.1)
    assert fitted.intercepts[0] == pytest.approx(-2.0, rel=0.1)


def test_platt_stays_finite_when_classes_are_apart():
    fitted = CALIBRATORS.build("platt").fit(np.array([[-1.0], [-2.0], [1.0], [2.0]]), np.array([[0.0], [0], [1], [1]]))
    assert np.isfinite(fitted.slopes).all()
    assert 0.5 < fitted(np.array([[2.0]]))[0, 0] < 1


def test_isotonic_by_hand():
    logits = np.array([[0.0], [1], [2], [3], [3]])
    fitted = CALIBRATORS.build("isotonic").fit(logits, np.array([[0.0], [1], [0], [1], [0]]))
    # 1, 2 and the two at 3 pool to one half: 1 0 and then (1 0)
    np.testing.assert_allclose(
        fitted(np.array([[-9.0], [0], [0.5], [1], [2.5], [3], [9]]))[:, 0], [0, 0, 0.25] + [0.5] * 4
    )


@pytest.mark.parametrize("name", PER_COLUMN)
def test_a_column_that_cannot_be_calibrated_is_nan_and_says_why(name):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 5))
    labels = (logits + rng.normal(size=logits.shape) > 0).astype(float)
    labels[:, 1] = 0.0
    labels[:, 2] = np.nan
    labels[:, 3] = 1 - labels[:, 3]
    labels[::2, 4] = np.nan
    fitted = CALIBRATORS.build(name).fit(logits, labels)
    assert dict(fitted.uncalibrated) == {1: ONE_CLASS, 2: NO_LABELS, 3: NO_RELATION}
    probs = fitted(logits)
    assert np.isnan(probs[:, [1, 2, 3]]).all()
    alone = CALIBRATORS.build(name).fit(logits[1::2, 4:], labels[1::2, 4:])
    np.testing.assert_allclose(probs[:, 4:], alone(logits[:, 4:]), atol=1e-9)


def test_constant_logits_have_no_relation():
    for name in ("platt", "isotonic"):
        fitted = CALIBRATORS.build(name).fit(np.full((4, 1), 0.3), np.array([[0.0], [1], [0], [1]]))
        assert dict(fitted.uncalibrated) == {0: NO_RELATION}


def test_softmax_of_one_class_or_reversed_logits():
    logits = np.eye(3)
    one = CALIBRATORS.build("temperature(mode='softmax')").fit(logits, np.zeros(3))
    assert dict(one.uncalibrated) == {0: ONE_CLASS, 1: ONE_CLASS, 2: ONE_CLASS}
    assert np.isnan(one(logits)).all()
    turned = CALIBRATORS.build("temperature(mode='softmax')").fit(-logits, np.arange(3))
    assert set(turned.uncalibrated.values()) == {NO_RELATION}


@pytest.mark.parametrize("name", PER_COLUMN)
def test_bad_input_is_refused(name):
    logits, labels = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    with pytest.raises(UsageError, match="fit"):
        CALIBRATORS.build(name)(logits)
    with pytest.raises(DataError, match="NaN"):
        CALIBRATORS.build(name).fit(logits * np.nan, labels)
    with pytest.raises(DataError, match="infinite"):
        CALIBRATORS.build(name).fit(logits * np.inf, labels)
    with pytest.raises(DataError, match="neither"):
        CALIBRATORS.build(name).fit(logits, labels * 2)
    with pytest.raises((DataError, TypeError)):
        CALIBRATORS.build(name).fit(logits, labels[:1])
    fitted = CALIBRATORS.build(name).fit(logits, labels)
    with pytest.raises(DataError, match=r"\[n 1\]"):
        fitted(np.ones((2, 3)))


def test_modes_are_checked():
    with pytest.raises((UsageError, TypeError)):
        CALIBRATORS.build("temperature(mode='tanh')")
    with pytest.raises(DataError, match="softmax"):
        CALIBRATORS.build("temperature(mode='softmax')").fit(np.ones((2, 2)), np.array([0.0, np.nan]))
