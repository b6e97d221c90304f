"""All measures of calibration in many draws of patients at once, and the intervals and paired differences from them.

A draw is a weight per image, and nearly every measure is made of weighted sums over bins. The bins are cut once, on all
images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from tapetum.core.errors import DataError
from tapetum.core.types import Interval
from tapetum.score.inputs import binary_probabilities, known_labels, same_length
from tapetum.score.recalibration import brier_draws, recalibration_draws
from tapetum.score.reliability import bin_of
from tapetum.score.stats.bounds import Clusters, PairedDifference, drawn_difference, drawn_interval
from tapetum.score.stats.draws import cluster_weights

BINS = 15
LOWEST = 1e-15  # of a probability before its logarithm
MEASURES = (
    "expected_calibration_error", "debiased_calibration_error", "brier_error", "log_loss_error", "calibration_slope",
    "calibration_intercept", "brier_reliability_error", "brier_resolution_score", "brier_uncertainty",
    "brier_within_bins",
)  # fmt: skip
SQUARED = ("debiased_calibration_error",)  # unbiased before its root is taken
RECENTRED = (*SQUARED, "expected_calibration_error", "brier_reliability_error", "brier_resolution_score")
OF_IMAGES = ("brier_uncertainty", "brier_within_bins")  # they say what the images and the bins are like: no bounds
NOTE = ", moved by its bias"


@dataclass(frozen=True)
class Calibration:
    """What a set of probabilities is worth, finding by finding, on all images and in every draw of patients.

    Resampling adds the sampling noise of a bin a second time, so that the draws of a calibration error lie above it.
    For the measures of `RECENTRED` they are moved by the distance of their mean from the estimate, and kept above 0.

    Attributes:
        estimates: `[k]` per measure; NaN where it does not exist. drawn: `[draws k]`. clusters: patient of each image.
    """

    estimates: dict[str, Float64[np.ndarray, "k"]]
    drawn: dict[str, Float64[np.ndarray, "b k"]]
    clusters: Clusters

    def interval(self, measure: str, columns: Sequence[int], *, level: float = 0.95) -> Interval:
        """Mean of a measure over findings, on the same draws of patients.

        Args:
            measure: of `MEASURES`.
            columns: which findings.
            level: 0..1.
        """
        estimate, drawn = self._mean(measure, columns)
        if measure in OF_IMAGES:
            return Interval(estimate, np.nan, np.nan, "of the images and bins, no bounds", level)
        note = NOTE if measure in RECENTRED else ""
        return drawn_interval(estimate, drawn, self.clusters, level=level, note=note)

    def minus(
        self, other: Calibration, measure: str, columns: Sequence[int], *, level: float = 0.95
    ) -> PairedDifference:
        """The difference to another one of the same images, made with an equal generator; below 0, errors are smaller.

        Raises:
            DataError: other images or draws.
        """
        if len(self.clusters) != len(other.clusters):
            raise DataError(f"{len(self.clusters)} and {len(other.clusters)} images", "the same images")
        (a, drawn_a), (b, drawn_b) = self._mean(measure, columns), other._mean(measure, columns)
        note = NOTE if measure in RECENTRED else ""
        return drawn_difference(a - b, drawn_a - drawn_b, self.clusters, level=level, note=note)

    def _mean(self, measure: str, columns: Sequence[int]) -> tuple[float, Float64[np.ndarray, "b"]]:
        chosen = self.drawn[measure][:, list(columns)]
        known = ~np.isnan(chosen)
        total, defined = np.where(known, chosen, 0.0).sum(axis=1), known.sum(axis=1)
        drawn = np.divide(total, defined, out=np.full(len(chosen), np.nan), where=defined > 0)
        values = self.estimates[measure][list(columns)]
        return float(np.mean(values)) if len(values) else float("nan"), drawn


def measured_calibration(
    probs: Float[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 500,
) -> Calibration:
    """Every measure of `MEASURES` for every column; errors in 15 bins, the debiased one's of equal mass.

    Args:
        probs: 0..1, NaN where there is none.
        labels: 0, 1 or NaN (that image is left out of that column).
        clusters: the patient of each image.
        rng: an equal generator gives equal draws, which `Calibration.minus` relies on.
        draws: of patients.

    Returns:
        A column whose known labels are of one class, or that lacks a probability, is NaN in all measures.

    Raises:
        DataError: unequal shapes, other labels, or values that are no probabilities. UsageError: draws below 1.
    """
    if probs.shape != labels.shape:
        raise DataError(f"probabilities {probs.shape}, labels {labels.shape}", "one label per probability")
    same_length(len(probs), len(clusters), "clusters")
    weights = np.concatenate(list(cluster_weights(clusters, draws, rng)))
    weights = np.concatenate([np.ones((1, len(probs)), weights.dtype), weights])
    truth = known_labels(labels)
    found = {m: np.full((draws + 1, probs.shape[1]), np.nan) for m in MEASURES}
    for j in range(probs.shape[1]):
        known = ~np.isnan(truth[:, j])
        positives = truth[known, j] == 1
        if np.isnan(probs[known, j]).any() or not positives.any() or positives.all():
            continue
        values, outcome = binary_probabilities(probs[known, j], positives)
        for measure, values_of in calibration_draws(values, outcome, weights[:, known]).items():
            found[measure][:, j] = values_of
    for measure in RECENTRED:
        found[measure] = recentred(found[measure], measure in SQUARED)
    return Calibration({m: v[0] for m, v in found.items()}, {m: v[1:] for m, v in found.items()}, clusters)


def calibration_draws(
    values: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], weights: Real[np.ndarray, "b n"]
) -> dict[str, Float64[np.ndarray, "b"]]:
    """The measures of one column in every draw; the debiased error still squared.

    Args:
        values: probabilities, checked.
        truth: outcomes.
        weights: how often each image occurs in each draw.
    """
    w = weights.astype(np.float64)
    even, mass = bin_of(values, BINS, "width"), bin_of(values, BINS, "mass")
    parts = brier_draws(values, truth, w, even, BINS)
    slope, intercept = recalibration_draws(values, truth, w)
    chosen = np.where(truth, values, 1 - values)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = w.sum(axis=1)
        return {
            "expected_calibration_error": calibration_error_draws(values, truth, w),
            "debiased_calibration_error": _debiased(w, mass, values, truth),
            "brier_error": w @ (values - truth) ** 2 / total,
            "log_loss_error": w @ -np.log(np.maximum(chosen, LOWEST)) / total,
            "calibration_slope": slope,
            "calibration_intercept": intercept,
            "brier_reliability_error": parts[0],
            "brier_resolution_score": parts[1],
            "brier_uncertainty": parts[2],
            "brier_within_bins": parts[3] - parts[4],
        }


def calibration_error_draws(
    values: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], weights: Real[np.ndarray, "b n"]
) -> Float64[np.ndarray, "b"]:
    """Expected calibration error of one column in every draw, in bins of equal width; not moved by its bias."""
    w = weights.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = np.abs(_sums(w, bin_of(values, BINS, "width"), values - truth)).sum(axis=1)
        return apart / w.sum(axis=1)


def _sums(
    w: Float64[np.ndarray, "b n"], place: Int[np.ndarray, "n"], of: Float64[np.ndarray, "n"]
) -> Float64[np.ndarray, "b bins"]:
    return w @ (np.eye(BINS)[place] * of[:, None])


def _debiased(
    w: Float64[np.ndarray, "b n"], place: Int[np.ndarray, "n"], values: Float64[np.ndarray, "n"],
    truth: Bool[np.ndarray, "n"],
) -> Float64[np.ndarray, "b"]:  # fmt: skip
    images = _sums(w, place, np.ones(len(values)))
    apart, share = _sums(w, place, values - truth) / images, _sums(w, place, truth * 1.0) / images
    several = images > 1
    terms = np.where(several, images * (apart**2 - share * (1 - share) / (images - 1)), 0.0)
    return terms.sum(axis=1) / np.where(several, images, 0.0).sum(axis=1)


def recentred(found: Float64[np.ndarray, "b k"], root: bool = False) -> Float64[np.ndarray, "b k"]:
    """Draws (all rows but the first, which is the estimate) moved so that their mean is the estimate, and kept above 0.

    Args:
        found: the estimate, then its draws.
        root: take the root at the end.
    """
    known = ~np.isnan(found[1:])
    mean = np.where(known, found[1:], 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    moved = np.maximum(np.concatenate([found[:1], found[1:] - mean + found[0]]), 0.0)
    return np.sqrt(moved) if root else moved
