"""Metrics by hand, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.score.inputs import declaration

METRICS = Family("tapetum.score.metrics")
THREE = np.array([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])


def value(spec, probs, labels):
    return METRICS.build(spec)(np.asarray(probs, dtype=np.float64), np.asarray(labels))


@pytest.mark.parametrize(
    ("spec", "probs", "labels", "expected"),
    [
        ("auroc_score", [1, 2, 2, 3], [0, 0, 1, 1], 3.5 / 4),
        ("auroc_score", [-np.inf, 0, np.inf], [0, 1, 1], 1.0),
        # precision 1/1 at the first positive, 2/4 when the tie of three is admitted at once
        ("average_precision_score", [0.9, 0.5, 0.5, 0.5, 0.1], [1, 1, 0, 0, 0], 0.5 * 1 + 0.5 * 0.5),
        ("balanced_accuracy_score", [0.9, 0.4, 0.1], [1, 1, 0], (0.5 + 1) / 2),
        ("balanced_accuracy_score(threshold=0.3)", [0.9, 0.4, 0.1], [1, 1, 0], 1.0),
        ("balanced_accuracy_score", THREE, [0, 1, 1, 2], (1 + 0.5 + 1) / 3),
        # calls 0 0 1 2 against 0 1 1 2: agreement 3/4, by chance (1*2 + 2*1 + 1*1)/16 = 5/16
        ("cohen_kappa_score", THREE, [0, 1, 1, 2], (12 - 5) / (16 - 5)),
        # one miss by one grade; mean squared distance of all pairs of label and call: 20/16, of the pairs seen: 1/4
        ("cohen_kappa_score(weights='quadratic')", THREE, [0, 1, 1, 2], 1 - 1 / (20 / 4)),
        ("brier_error", [0.9, 0.2], [1, 0], (0.01 + 0.04) / 2),
        ("brier_error", [[0.5, 0.3, 0.2]], [0], 0.25 + 0.09 + 0.04),
        # bins (0, .5] and (.5, 1]: |0.2 + 0.4 - 1| / 4 + |0.6 + 1.0 - 1| / 4
        ("expected_calibration_error(bins=2)", [0.2, 0.4, 0.6, 1.0], [0, 1, 0, 1], 0.25),
        ("expected_calibration_error(bins=2, spacing='mass')", [0.1, 0.1, 0.1, 0.9], [0, 0, 1, 1], (0.7 + 0.1) / 4),
        ("expected_calibration_error(bins=1)", [[0.9, 0.1], [0.6, 0.4]], [0, 1], 0.25),
        ("expected_calibration_error(bins=1, of='each_class')", [[0.9, 0.1], [0.6, 0.4]], [0, 1], 0.25),
        ("sensitivity_score(threshold=0.5)", [0.5, 0.4, 0.9], [1, 1, 0], 0.5),
        ("specificity_score(threshold=-1.0)", [-3.0, -1.0, 0.0], [0, 0, 1], 0.5),
    ],
)
def test_by_hand(spec, probs, labels, expected):
    assert value(spec, probs, labels) == pytest.approx(expected, abs=1e-12)


def test_the_quadratic_kappa_above_is_right_by_its_definition():
    truth, called = np.array([0, 1, 1, 2]), np.array([0, 0, 1, 2])
    seen = np.mean((truth - called) ** 2)
    by_chance = np.mean((truth[:, None] - called[None, :]) ** 2)
    assert 1 - seen / by_chance == pytest.approx(1 - 1 / (20 / 4))


@pytest.mark.parametrize(
    ("spec", "probs", "labels"),
    [
        ("average_precision_score", [0.1, 0.9], [1, 1]),
        ("balanced_accuracy_score", THREE, [0, 0, 1, 1]),
        ("cohen_kappa_score", [0.1, 0.9], [1, 1]),
        ("expected_calibration_error", [], []),
        ("brier_error", np.empty((0, 3)), np.empty(0)),
        ("specificity_score(threshold=0.5)", [0.1], [1]),
    ],
)
def test_undefined_is_nan(spec, probs, labels):
    assert math.isnan(value(spec, probs, labels))


@pytest.mark.parametrize("name", METRICS.names())
def test_nan_and_unknown_labels_are_refused(name):
    spec = f"{name}(threshold=0.5)" if name.startswith("s") else name
    with pytest.raises(DataError, match="NaN"):
        value(spec, [0.1, np.nan, 0.9], [0, 1, 1])
    with pytest.raises(DataError, match="neither 0 nor 1"):
        value(spec, [0.1, 0.2, 0.9], [0.0, np.nan, 1.0])
    with pytest.raises(DataError, match="neither 0 nor 1"):
        value(spec, [0.1, 0.2, 0.9], [0, 2, 1])
    with pytest.raises((DataError, TypeError)):
        value(spec, [0.1, 0.2, 0.9], [0, 1])


@pytest.mark.parametrize("name", [n for n in METRICS.names() if "binary probabilities" in declaration(n).takes])
def test_logits_are_refused_where_probabilities_are_needed(name):
    with pytest.raises(DataError, match=r"probabilities in 0\.\.1"):
        value(name, [-2.0, 3.0], [0, 1])
    with pytest.raises(DataError, match=r"probabilities in 0\.\.1"):
        value(name, [[-2.0, 3.0], [1.0, 0.0]], [0, 1])
    with pytest.raises(DataError, match="add up to 1"):
        value(name, [[0.9, 0.9], [0.5, 0.5]], [0, 1])
    with pytest.raises(DataError, match="0 to 1"):
        value(name, [[0.9, 0.1], [0.5, 0.5]], [0, 2])


@pytest.mark.parametrize("name", ["auroc_score", "average_precision_score"])
def test_columns_are_refused_where_one_score_is_needed(name):
    with pytest.raises((DataError, TypeError)):
        value(name, [[0.9, 0.1], [0.5, 0.5]], [0, 1])


@pytest.mark.parametrize(
    "spec",
    [
        "cohen_kappa_score(weights='cubic')",
        "expected_calibration_error(bins=0)",
        "expected_calibration_error(spacing='log')",
        "expected_calibration_error(of='each_eye')",
        "balanced_accuracy_score(threshold=3.0)",
    ],
)
def test_wrong_options_are_refused(spec):
    with pytest.raises((UsageError, TypeError)):
        value(spec, [0.1, 0.9], [0, 1])


def test_a_threshold_is_never_assumed():
    with pytest.raises(TypeError, match="threshold"):
        value("sensitivity_score", [0.1, 0.9], [0, 1])
