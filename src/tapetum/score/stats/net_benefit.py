"""Decision curves with intervals: the good that acting on the probabilities does beside treating all or none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer, Real

from tapetum.core.errors import UsageError
from tapetum.core.types import Interval
from tapetum.score.inputs import binary_probabilities, known_labels, same_length
from tapetum.score.stats.bounds import Bounds, Clusters, PairedDifference, drawn_difference, drawn_interval
from tapetum.score.stats.intervals import resample

ROWS = 256  # draws turned to float64 at once


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit at each threshold, in true positives per patient seen; higher is better, treating nobody is 0.

    Attributes:
        thresholds: the probability at which one acts; `t / (1 - t)` is the price of a false alarm in true positives.
        net_benefit: of acting on the model. treat_all: of acting on everybody.
        gain: net benefit less that of the better of treating all and none; above 0, the model is of use there.
        avoided_per_100: needless interventions avoided in 100 images against treating all, at no fewer true positives.
    """

    thresholds: tuple[float, ...]
    net_benefit: tuple[Interval, ...]
    treat_all: tuple[Interval, ...]
    gain: tuple[Interval, ...]
    avoided_per_100: tuple[Interval, ...]


def decision_curve(
    probs: Float[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    clusters: Clusters,
    *,
    thresholds: Sequence[float],
    rng: np.random.Generator,
    prevalence: float | None = None,
    draws: int = 2000,
    level: float = 0.95,
    bounds: Bounds = "percentile",
) -> DecisionCurve:
    """Net benefit over thresholds with intervals over draws of patients.

    Args:
        probs: calibrated probabilities of the positive class; without calibration a threshold means nothing.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        thresholds: those that a clinic would use, above 0 and below 1; one acts on `prob >= threshold`.
        rng: the generator.
        prevalence: of the clinic, where the tested data were enriched with positives; None = that of the data.
        draws: number of bootstrap draws.
        level: confidence level.
        bounds: `percentile` or `bca`.

    Returns:
        NaN when a class is absent; draws without one are left out.

    Raises:
        DataError: values outside 0..1, NaN among them, unequal lengths, other labels.
        UsageError: a threshold or prevalence outside 0..1, draws below 1, level outside 0..1.

    Source: Vickers and Elkin, Medical Decision Making 2006. Differs: nothing; other prevalences by weighting the
    classes.
    """
    points = _thresholds(thresholds)
    values, truth, who = _known(probs, labels, clusters)
    calls = values[:, None] >= points

    def measured(weights: Integer[np.ndarray, "b n"]) -> Float64[np.ndarray, "b q t"]:
        return _quantities(weights, calls, truth, points, prevalence)

    estimate = measured(np.ones((1, len(truth)), np.uint8))[0]
    drawn, left_out = resample(measured, who, draws, rng, bounds)
    model, everybody, gain, avoided = (
        tuple(
            drawn_interval(
                float(estimate[q, t]),
                drawn[:, q, t],
                who,
                level=level,
                jackknives=None if left_out is None else [left_out[:, q, t]],
            )
            for t in range(len(points))
        )
        for q in range(4)
    )
    return DecisionCurve(tuple(points.tolist()), model, everybody, gain, avoided)


def net_benefit_difference(
    probs_a: Float[np.ndarray, "n"],
    probs_b: Float[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    clusters: Clusters,
    *,
    threshold: float,
    rng: np.random.Generator,
    prevalence: float | None = None,
    draws: int = 2000,
    level: float = 0.95,
    bounds: Bounds = "percentile",
) -> PairedDifference:
    """Net benefit of a minus that of b at one threshold, on the same draws of patients.

    Args:
        probs_a: calibrated probabilities of the first model.
        probs_b: of the second.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        threshold: as in `decision_curve`.
        rng: the generator.
        prevalence: as in `decision_curve`.
        draws: number of bootstrap draws.
        level: confidence level.
        bounds: `percentile` or `bca`.

    Returns:
        In true positives per image; above 0, the first does more good. NaN when a class is absent.

    Raises:
        DataError, UsageError: as `decision_curve`.
    """
    points = _thresholds([threshold])
    first, truth, who = _known(probs_a, labels, clusters)
    second, _, _ = _known(probs_b, labels, clusters)
    both = np.stack([first, second], axis=1) >= points

    def apart(weights: Integer[np.ndarray, "b n"]) -> Float64[np.ndarray, "b"]:
        measured = _quantities(weights, both, truth, np.repeat(points, 2), prevalence)[:, 0]
        return measured[:, 0] - measured[:, 1]

    estimate = float(apart(np.ones((1, len(truth)), np.uint8))[0])
    drawn, left_out = resample(apart, who, draws, rng, bounds)
    jackknives = None if left_out is None else [left_out]
    return drawn_difference(estimate, drawn, who, level=level, jackknives=jackknives)


def _thresholds(thresholds: Sequence[float]) -> Float64[np.ndarray, "t"]:
    points = np.asarray(thresholds, np.float64)
    if not len(points) or not ((points > 0) & (points < 1)).all():
        raise UsageError(f"thresholds {list(thresholds)}", "probabilities above 0 and below 1")
    return points


def _known(
    probs: Float[np.ndarray, "n"], labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"], clusters: Clusters
) -> tuple[Float64[np.ndarray, "n"], Bool[np.ndarray, "n"], np.ndarray]:
    """The images whose label is known."""
    same_length(len(probs), len(labels))
    same_length(len(probs), len(clusters), "clusters")
    truth = known_labels(labels)
    known = ~np.isnan(truth)
    values, positive = binary_probabilities(probs[known], truth[known])
    return values, positive, np.asarray(clusters)[known]


def _quantities(
    weights: Integer[np.ndarray, "b n"],
    calls: Bool[np.ndarray, "n t"],
    truth: Bool[np.ndarray, "n"],
    points: Float64[np.ndarray, "t"],
    prevalence: float | None,
) -> Float64[np.ndarray, "b 4 t"]:
    """Net benefit of model and of treating all, gain, interventions avoided; NaN in draws without both classes."""
    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageError(f"prevalence={prevalence}", "a share between 0 and 1, or None for that of the data")
    odds = points / (1 - points)
    true_calls, false_calls = (calls & truth[:, None]).astype(float), (calls & ~truth[:, None]).astype(float)
    parts: list[Float64[np.ndarray, "b 4 t"]] = []
    for start in range(0, len(weights), ROWS):
        block = weights[start : start + ROWS].astype(np.float64)
        positives, negatives = block[:, truth].sum(axis=1)[:, None], block[:, ~truth].sum(axis=1)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            sensitivity, alarms = block @ true_calls / positives, block @ false_calls / negatives
            share = positives / (positives + negatives) if prevalence is None else np.full_like(positives, prevalence)
        model = share * sensitivity - (1 - share) * alarms * odds
        everybody = share - (1 - share) * odds + 0 * model  # NaN where the model's is
        gain = model - np.maximum(everybody, 0)
        parts.append(np.stack([model, everybody, gain, 100 * (model - everybody) / odds], axis=1))
    found = np.concatenate(parts)
    return np.where(np.isfinite(found), found, math.nan)
