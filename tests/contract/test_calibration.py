"""What every calibrator promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import DataError
from tapetum.core.registry import Family
from tapetum.score.calibrating import modes
from tapetum.score.metrics.expected_calibration_error import expected_calibration_error

CALIBRATORS = Family("tapetum.score.calibration")


def specs():
    """Every member, in each of its modes."""
    for name in CALIBRATORS.names():
        both = len(modes(name)) > 1
        yield from (f"{name}(mode={mode!r})" if both else name for mode in modes(name))


def softmax(spec):
    return "softmax" in spec or modes(spec) == ("softmax",)


each_spec = pytest.mark.parametrize("spec", list(specs()))


def overconfident(spec, n=1500, seed=0):
    """Logits three times too large, with the labels that the mode wants."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, 3))
    if softmax(spec):
        labels = np.argmax(true + rng.gumbel(size=true.shape), axis=1)
    else:
        labels = (rng.random(true.shape) < 1 / (1 + np.exp(-true))).astype(float)
    return 3 * true, labels


def raw(spec, logits):
    if softmax(spec):
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)
    return 1 / (1 + np.exp(-logits))


def error(spec, probs, labels):
    if softmax(spec):
        return expected_calibration_error(probs, labels)
    return float(np.mean([expected_calibration_error(probs[:, j], labels[:, j]) for j in range(probs.shape[1])]))


@each_spec
def test_probabilities(spec):
    logits, labels = overconfident(spec)
    fitted = CALIBRATORS.build(spec)
    assert fitted.fit(logits, labels) is fitted
    assert not fitted.uncalibrated
    probs = fitted(np.random.default_rng(1).normal(size=(50, 3)) * 20)
    assert probs.shape == (50, 3)
    assert ((probs >= 0) & (probs <= 1)).all()
    if softmax(spec):
        np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-12)


@each_spec
def test_calibration_error_falls_on_the_data_it_was_fitted_on(spec):
    logits, labels = overconfident(spec)
    before, after = raw(spec, logits), CALIBRATORS.build(spec).fit(logits, labels)(logits)
    assert error(spec, after, labels) < 0.5 * error(spec, before, labels)


@each_spec
def test_calibration_error_falls_on_other_data(spec):
    fitted = CALIBRATORS.build(spec).fit(*overconfident(spec))
    logits, labels = overconfident(spec, seed=1)
    assert error(spec, fitted(logits), labels) < 0.6 * error(spec, raw(spec, logits), labels)


@each_spec
def test_what_is_declared_of_the_order_holds(spec):
    fitted = CALIBRATORS.build(spec).fit(*overconfident(spec))
    logits = np.random.default_rng(2).normal(size=(300, 3)) * 10
    probs = fitted(logits)
    if fitted.preserves_order:
        for column, before in zip(probs.T, logits.T, strict=True):
            assert (np.diff(column[np.argsort(before)]) >= 0).all()
    if fitted.preserves_argmax:
        np.testing.assert_array_equal(np.argmax(probs, axis=1), np.argmax(logits, axis=1))


@each_spec
def test_what_is_declared_of_the_modes_holds(spec):
    assert set(modes(spec)) <= {"sigmoid", "softmax"}
    assert ("mode" in CALIBRATORS.options(spec.split("(")[0])) == (len(modes(spec)) > 1)
    logits, labels = overconfident(spec)
    other = np.argmax(labels, axis=1) if labels.ndim == 2 else np.eye(3)[labels]
    with pytest.raises((DataError, TypeError, ValueError)):  # labels of the other kind
        CALIBRATORS.build(spec).fit(logits, other)


@each_spec
def test_state_survives_storing(spec):
    logits, labels = overconfident(spec)
    if not softmax(spec):
        labels[:, 1] = 0.0
    fitted = CALIBRATORS.build(spec).fit(logits, labels)
    state = fitted.state()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    again = CALIBRATORS.build(spec).restore(state)
    np.testing.assert_array_equal(again(logits), fitted(logits))
    assert set(again.uncalibrated) == set(fitted.uncalibrated)


@each_spec
def test_fitting_again_forgets(spec):
    logits, labels = overconfident(spec)
    fitted = CALIBRATORS.build(spec).fit(logits * 5, labels)
    np.testing.assert_allclose(fitted.fit(logits, labels)(logits), CALIBRATORS.build(spec).fit(logits, labels)(logits))
