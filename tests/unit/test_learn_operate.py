"""Operating points: probabilities, thresholds, storing."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from tapetum.core.registry import Family
from tapetum.learn.fitting.operate import FEWEST, Operating, choose_operating

NAMES = ("a", "b", "c")


def validation(n=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 3)) < 0.4).astype(float)
    return labels * 2 + rng.normal(size=(n, 3)), labels


def chosen(calibrator="platt", sensitivity=0.9, labels=None):
    logits, truth = validation()
    return choose_operating(
        NAMES, logits, truth if labels is None else labels, calibrator=calibrator, sensitivity=sensitivity,
        truth="labels",
    )  # fmt: skip


@pytest.mark.parametrize("sensitivity", [0.5, 0.9, 1.0])
def test_the_threshold_reaches_the_sensitivity_on_validation(sensitivity):
    logits, labels = validation()
    found = chosen(sensitivity=sensitivity)
    called = found.probabilities(NAMES, logits) >= found.thresholds
    for j in range(3):
        caught = called[labels[:, j] == 1, j]
        assert caught.mean() >= sensitivity
        assert (caught.sum() - 1) / len(caught) < sensitivity  # and not by one more than needed


def test_a_finding_with_too_few_images_has_no_operating_point():
    logits, labels = validation()
    labels[:, 1] = 0
    labels[: FEWEST - 1, 1] = 1
    found = chosen(labels=labels)
    assert found.findings == ("a", "c")
    probs = found.probabilities(NAMES, logits)
    assert np.isnan(probs[:, 1]).all()
    assert np.isfinite(probs[:, [0, 2]]).all()
    assert np.isnan(found.thresholds_of(NAMES)[1])
    assert found.positives == tuple((labels == 1).sum(0)[[0, 2]])


def test_nothing_to_choose_on_is_none():
    assert chosen(labels=np.full((60, 3), np.nan)) is None


def test_columns_may_be_asked_in_any_order_and_number():
    logits, _ = validation()
    found = chosen()
    whole = found.probabilities(NAMES, logits)
    part = found.probabilities(("c", "other", "a"), logits[:, [2, 1, 0]])
    np.testing.assert_array_equal(part[:, [2, 0]], whole[:, [0, 2]])
    assert np.isnan(part[:, 1]).all()
    np.testing.assert_array_equal(found.thresholds_of(("c", "a")), found.thresholds[[2, 0]])


def test_scores_against_the_labels_give_no_probability_and_no_threshold():
    logits, labels = validation()
    logits[:, 1] *= -1
    found = choose_operating(NAMES, logits, labels, calibrator="platt", sensitivity=0.9, truth="labels")
    assert np.isnan(found.thresholds_of(NAMES)[1])
    assert np.isnan(found.probabilities(NAMES, logits)[:, 1]).all()


def of_findings() -> list[str]:
    """Calibrators that read findings that occur together."""
    names = Family("tapetum.score.calibration").names()
    return [n for n in names if "sigmoid" in importlib.import_module(f"tapetum.score.calibration.{n}").MODES]


@pytest.mark.parametrize("calibrator", of_findings())
def test_it_survives_storing_as_json_nan_included(calibrator):
    logits, labels = validation()
    logits[:, 1] *= -1
    found = choose_operating(NAMES, logits, labels, calibrator=calibrator, sensitivity=0.9, truth="labels")
    again = Operating.from_dict(json.loads(json.dumps(found.as_dict(), allow_nan=False)))
    np.testing.assert_array_equal(again.probabilities(NAMES, logits), found.probabilities(NAMES, logits))
    np.testing.assert_array_equal(again.thresholds, found.thresholds)
    assert again.as_dict() == found.as_dict()
    assert np.isnan(again.thresholds).any()


def test_unknown_labels_are_left_out():
    logits, labels = validation()
    holed = labels.copy()
    holed[40:] = np.nan
    found = chosen(labels=holed)
    alone = choose_operating(NAMES, logits[:40], labels[:40], calibrator="platt", sensitivity=0.9, truth="labels")
    np.testing.assert_allclose(found.thresholds, alone.thresholds)
