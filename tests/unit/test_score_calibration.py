"""Calibrators by hand: what they find, and when they say that there is nothing to find."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.score.calibrating import NO_LABELS, NO_RELATION, ONE_CLASS

CALIBRATORS = Family("tapetum.score.calibration")
PER_COLUMN = ("temperature", "platt", "isotonic", "beta", "histogram", "vector")


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
    for name in ("platt", "isotonic", "beta", "histogram", "vector"):
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
    with pytest.raises(DataError, match="softmax"):
        CALIBRATORS.build("dirichlet").fit(np.ones((2, 2)), np.eye(2))
    with pytest.raises((UsageError, TypeError)):
        CALIBRATORS.build("vector(mode='tanh')")
    for spec in ("histogram(bins=0)", "dirichlet(bias=-1.0)", "dirichlet(off_diagonal=0.0, bias=0.0)"):
        with pytest.raises(UsageError):
            CALIBRATORS.build(spec)


def counted(shares, of):
    """Labels that have exactly these shares of positives, at each logit."""
    return np.concatenate([np.arange(of) < round(of * share) for share in shares]).astype(float)[:, None]


def test_vector_of_one_column_by_hand():
    # 3 of 4 at logit 4, 2 of 4 at -4: 4 w + b = ln 3 and -4 w + b = 0
    logits = np.repeat([4.0, -4.0], 4)[:, None]
    fitted = CALIBRATORS.build("vector").fit(logits, counted([0.75, 0.5], 4))
    assert fitted.weights[0] == pytest.approx(np.log(3) / 8, rel=1e-6)
    assert fitted.biases[0] == pytest.approx(np.log(3) / 2, rel=1e-6)


def test_vector_of_classes_by_hand():
    # odds of class 0: 3 at (1, 0), 1 at (0, 1), 2 at (0, 0), hence w0 = ln 3/2, w1 = ln 2, b0 - b1 = ln 2
    logits = np.repeat([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]], 12, axis=0)
    labels = 1 - counted([3 / 4, 1 / 2, 2 / 3], 12)[:, 0]
    fitted = CALIBRATORS.build("vector(mode='softmax')").fit(logits, labels)
    assert fitted.weights.tolist() == pytest.approx([np.log(1.5), np.log(2)], rel=1e-5)
    assert fitted.biases.tolist() == pytest.approx([np.log(2) / 2, -np.log(2) / 2], rel=1e-5)


def test_vector_needs_every_class_and_does_not_turn_them_round():
    spec, logits = "vector(mode='softmax')", np.eye(3)
    missing = CALIBRATORS.build(spec).fit(logits, np.array([0, 1, 1]))
    assert set(missing.uncalibrated.values()) == {"no labels of class 2"}
    assert np.isnan(missing(logits)).all()
    turned = CALIBRATORS.build(spec).fit(-logits, np.arange(3))
    assert set(turned.uncalibrated.values()) == {NO_RELATION}


def test_classes_fully_apart_stay_finite():
    logits = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    for name in ("vector", "beta"):
        probs = CALIBRATORS.build(name).fit(logits, np.array([[0.0], [0], [1], [1]]))(logits)
        assert probs[:, 0].round(6).tolist() == [0, 0, 1, 1]
    wide = np.array([[-2.0, 2], [-1, 1], [1, -1], [2, -2]])
    for spec in ("vector(mode='softmax')", "dirichlet"):
        assert np.isfinite(CALIBRATORS.build(spec).fit(wide, np.array([1, 1, 0, 0]))(wide)).all()


def test_beta_of_three_logits_by_hand():
    # three logits, three numbers: the curve goes through all three shares
    levels, shares = np.array([-2.0, 0.0, 2.0]), [0.1, 0.4, 0.9]
    fitted = CALIBRATORS.build("beta").fit(np.repeat(levels, 10)[:, None], counted(shares, 10))
    np.testing.assert_allclose(fitted(levels[:, None])[:, 0], shares, rtol=1e-5)
    p = 1 / (1 + np.exp(-levels))
    by_hand = np.linalg.solve(
        np.stack([np.log(p), -np.log(1 - p), np.ones(3)], axis=1), np.log(shares / (1 - np.array(shares)))
    )
    np.testing.assert_allclose(fitted.parameters[:, 0], by_hand, rtol=1e-4)


def test_beta_bends_where_platt_is_straight():
    """What is right below one half and too sure above: logits doubled where they are positive."""
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (20000, 1))
    labels = (rng.random(true.shape) < 1 / (1 + np.exp(-true))).astype(float)
    logits = np.where(true > 0, 2 * true, true)
    far = {}
    for name in ("beta", "platt"):
        probs = CALIBRATORS.build(name).fit(logits[:10000], labels[:10000])(logits[10000:])
        far[name] = np.abs(probs - 1 / (1 + np.exp(-true[10000:]))).mean()
    assert far["beta"] < 0.6 * far["platt"]


def test_histogram_by_hand():
    # ten logits in three bins: the cuts fall at 4 and 7 images, and 3, 3, 3 stay together
    logits = np.array([0.0, 1, 2, 3, 3, 3, 4, 5, 6, 7])[:, None]
    labels = np.array([0.0, 0, 1, 0, 0, 1, 1, 1, 0, 1])[:, None]
    fitted = CALIBRATORS.build("histogram(bins=3)").fit(logits, labels)
    assert fitted.edges.tolist() == [[0, 0, 2 / 6], [0, 3.5, 1 / 1], [0, 4.5, 2 / 3]]
    assert fitted(np.array([[-5.0], [3.4], [3.6], [99]]))[:, 0].tolist() == pytest.approx([1 / 3, 1 / 3, 1, 2 / 3])
    assert not fitted.preserves_order


def test_dirichlet_mends_confusions_that_vector_cannot():
    """Where the model says class 0, it is class 1 half the time, and where it says 2, class 3."""
    rng = np.random.default_rng(0)
    said = rng.integers(4, size=4000)
    labels = np.where((said % 2 == 0) & (rng.random(4000) < 0.5), said + 1, said)
    labels = np.where(rng.random(4000) < 0.08, rng.integers(4, size=4000), labels)
    logits, shown = 4 * np.eye(4)[said] + rng.normal(0, 0.3, (4000, 4)), 4 * np.eye(4)
    truth = 0.02 + 0.92 * np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 1]])
    far = {
        spec: np.abs(CALIBRATORS.build(spec).fit(logits, labels)(shown) - truth).max()
        for spec in ("dirichlet", "vector(mode='softmax')", "temperature(mode='softmax')")
    }
    assert far["dirichlet"] < 0.05
    assert min(far["vector(mode='softmax')"], far["temperature(mode='softmax')"]) > 0.15


def test_the_penalty_of_dirichlet_keeps_it_near_the_diagonal():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(60, 4)), rng.integers(4, size=60)
    free = CALIBRATORS.build("dirichlet(off_diagonal=1e-6)").fit(logits, labels).weights
    held = CALIBRATORS.build("dirichlet(off_diagonal=100.0)").fit(logits, labels).weights
    off = ~np.eye(4, dtype=bool)
    assert np.abs(held[off]).max() < 0.05 * np.abs(free[off]).max()
