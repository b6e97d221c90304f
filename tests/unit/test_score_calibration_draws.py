"""Measures of calibration in draws: equal to the single functions, and intervals that hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from tapetum.core.errors import DataError
from tapetum.score.calibration_draws import MEASURES, calibration_draws, measured_calibration
from tapetum.score.metrics.brier_error import brier_error
from tapetum.score.metrics.debiased_calibration_error import debiased_calibration_error
from tapetum.score.metrics.expected_calibration_error import expected_calibration_error
from tapetum.score.metrics.log_loss_error import log_loss_error
from tapetum.score.recalibration import brier_parts, recalibration


def eyes(seed, patients=100, slope=1.0):
    """Probabilities stated for two eyes of each patient, who resemble each other; outcomes by slope times the logit."""
    rng = np.random.default_rng(seed)
    logits = np.repeat(rng.normal(size=patients) * 1.5, 2) + rng.normal(size=2 * patients) * 0.5
    labels = (rng.random(2 * patients) < special.expit(slope * logits)).astype(float)
    return special.expit(logits), labels, np.repeat(np.arange(patients), 2)


def test_estimates_are_those_of_the_single_functions():
    probs, labels, who = eyes(0, slope=0.5)
    found = measured_calibration(probs[:, None], labels[:, None], who, rng=np.random.default_rng(0), draws=50)
    of = {name: float(values[0]) for name, values in found.estimates.items()}
    assert set(of) == set(MEASURES)
    assert of["expected_calibration_error"] == pytest.approx(expected_calibration_error(probs, labels))
    assert of["debiased_calibration_error"] == pytest.approx(debiased_calibration_error(probs, labels))
    assert of["brier_error"] == pytest.approx(brier_error(probs, labels))
    assert of["log_loss_error"] == pytest.approx(log_loss_error(probs, labels))
    line, parts = recalibration(probs, labels), brier_parts(probs, labels)
    assert (of["calibration_slope"], of["calibration_intercept"]) == pytest.approx((line.slope, line.intercept))
    whole = of["brier_reliability_error"] - of["brier_resolution_score"] + of["brier_uncertainty"]
    assert whole + of["brier_within_bins"] == pytest.approx(brier_error(probs, labels))
    assert of["brier_reliability_error"] == pytest.approx(parts.reliability)


def test_a_weight_is_a_repeated_image():
    probs, labels, _ = eyes(1)
    row = np.random.default_rng(0).integers(0, 3, (1, 200))
    drawn = calibration_draws(probs, labels == 1, row)
    p, y = np.repeat(probs, row[0]), np.repeat(labels, row[0])
    assert drawn["expected_calibration_error"][0] == pytest.approx(expected_calibration_error(p, y))
    assert drawn["brier_error"][0] == pytest.approx(brier_error(p, y))
    assert drawn["log_loss_error"][0] == pytest.approx(log_loss_error(p, y))


def test_columns_without_both_classes_are_nan_and_unknown_labels_are_left_out():
    probs, labels, who = eyes(2)
    three = np.stack([labels, np.zeros(200), np.where(np.arange(200) < 150, labels, np.nan)], axis=1)
    found = measured_calibration(np.stack([probs] * 3, 1), three, who, rng=np.random.default_rng(0), draws=20)
    for name in MEASURES:
        assert np.isnan(found.estimates[name][1])
        assert np.isnan(found.drawn[name][:, 1]).all()
    assert found.estimates["brier_error"][2] == pytest.approx(brier_error(probs[:150], labels[:150]))
    macro = found.interval("brier_error", [0, 2])
    assert macro.estimate == pytest.approx(found.estimates["brier_error"][[0, 2]].mean())
    gone = np.where(np.arange(200) == 3, np.nan, probs)[:, None]
    assert np.isnan(
        measured_calibration(gone, labels[:, None], who, rng=np.random.default_rng(0), draws=5).estimates["brier_error"]
    ).all()


def test_a_difference_is_paired():
    probs, labels, who = eyes(3, 400, slope=0.4)
    mended = special.expit(0.4 * special.logit(probs))

    def made(p):
        return measured_calibration(p[:, None], labels[:, None], who, rng=np.random.default_rng(0), draws=300)

    before, after = made(probs), made(mended)
    apart = after.minus(before, "brier_error", [0])
    assert apart.interval.estimate == pytest.approx(brier_error(mended, labels) - brier_error(probs, labels))
    assert apart.interval.high < 0
    single = [x.interval("brier_error", [0]) for x in (before, after)]
    unpaired = np.hypot(*(i.high - i.low for i in single))
    assert apart.interval.high - apart.interval.low < 0.9 * unpaired
    assert after.minus(after, "brier_error", [0]).p_value == 1
    with pytest.raises(DataError, match="same images"):
        after.minus(measured_calibration(probs[:9, None], labels[:9, None], who[:9], rng=np.random.default_rng(0)),
                    "brier_error", [0])  # fmt: skip
    with pytest.raises(DataError):
        made(probs + 1)


def test_the_noise_of_resampling_is_taken_off():
    """Of a perfect model, draws of the expected error all lie above it; moved back, the estimate is inside."""
    probs, labels, who = eyes(5, 300)
    found = measured_calibration(probs[:, None], labels[:, None], who, rng=np.random.default_rng(0), draws=200)
    interval = found.interval("expected_calibration_error", [0])
    assert interval.low < interval.estimate < interval.high
    assert "moved by its bias" in interval.method
    assert "moved" not in found.interval("brier_error", [0]).method
    weights = np.random.default_rng(0).multinomial(300, np.ones(300) / 300, 200)[:, who]
    plain = calibration_draws(probs, labels == 1, weights)["expected_calibration_error"]
    assert plain.mean() > 1.2 * interval.estimate
    assert abs(found.drawn["expected_calibration_error"].mean() - interval.estimate) < 0.1 * interval.estimate


def test_intervals_hold_the_truth():
    """Known log odds, stated twice too large, two eyes that share a patient's luck: 120 samples of 150 patients."""
    held = dict.fromkeys(("debiased_calibration_error", "brier_error", "calibration_slope"), 0)
    p, y, _ = eyes(99, 200000, 0.5)
    truth = {
        "debiased_calibration_error": float(np.sqrt(np.mean((p - special.expit(0.5 * special.logit(p))) ** 2))),
        "brier_error": brier_error(p, y),
        "calibration_slope": 0.5,
    }
    for seed in range(120):
        probs, labels, who = eyes(seed, 150, 0.5)
        found = measured_calibration(probs[:, None], labels[:, None], who, rng=np.random.default_rng(seed), draws=200)
        for name, value in truth.items():
            interval = found.interval(name, [0])
            held[name] += interval.low <= value <= interval.high
    assert all(0.88 <= n / 120 <= 0.99 for n in held.values()), held
