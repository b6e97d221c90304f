"""Conformal sets: which answers cannot be ruled out, with a stated share of true ones kept.

For research and second-reader support, not a cleared device. The promise holds for new patients of the clinic that the
limits come from, on average over them; under a shift of site or camera it does not hold, and `bench abstain` says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Real

from tapetum.core.errors import UsageError
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.stats import Clusters


@dataclass(frozen=True)
class Limits:
    """Per finding, how low a logit may be for `present` to stay possible, and how high for `absent`.

    Attributes:
        lowest_present, highest_absent: limits on logits; -inf and inf where there were too few patients to rule out.
        alpha: share of true answers that may be ruled out, apart for present and for absent.
    """

    lowest_present: Float64[np.ndarray, "k"]
    highest_absent: Float64[np.ndarray, "k"]
    alpha: float

    def sets(self, logits: Float[np.ndarray, "n k"]) -> Bool[np.ndarray, "n k 2"]:
        """Which of absent (0) and present (1) stay possible: one, both (it cannot tell) or none (like neither)."""
        return np.stack([logits <= self.highest_absent, logits >= self.lowest_present], axis=2)


def conformal_limit(scores: Real[np.ndarray, "n"], patients: Clusters, *, alpha: float) -> float:
    """The score that a new patient's image stays at or below with probability of at least 1 - alpha.

    Every patient weighs 1, shared by the images, and so does the new one, who might lie anywhere above.

    Args:
        scores: how little each calibration image fits its true answer; higher = fits less.
        patients: of the images.
        alpha: share that may lie above, above 0 and below 1.

    Returns:
        One of the scores; infinite where there are fewer than 1/alpha - 1 patients.

    Raises:
        UsageError: alpha not between 0 and 1. DataError: NaN among the scores, or unequal lengths.

    Example:
        >>> conformal_limit(np.arange(9.0), list(range(9)), alpha=0.1)
        8.0
        >>> conformal_limit(np.arange(8.0), list(range(8)), alpha=0.1)
        inf

    Source: Lee, Barber and Willett 2023, arXiv 2306.06342 (hierarchical conformal prediction), of which one image per
    patient is split conformal prediction, Vovk et al. 2005. Differs: nothing.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha={alpha}", "a share above 0 and below 1, for example 0.1")
    values = finite_scores(scores)
    same_length(len(values), len(patients), "patients")
    if not len(values):
        return math.inf
    _, whose, images = np.unique(np.asarray(patients), return_inverse=True, return_counts=True)
    order = np.argsort(values, kind="stable")
    mass = np.cumsum(1 / images[whose[order]]) / (len(images) + 1)
    place = int(np.searchsorted(mass, 1 - alpha - 1e-12))
    return float(values[order[place]]) if place < len(values) else math.inf


def finding_limits(
    logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"], patients: Clusters, *, alpha: float
) -> Limits:
    """Limits for each finding, from images with and without it apart, so that the rare side keeps its promise too.

    Args:
        logits: of images that the model did not learn from, any scale.
        labels: 1, 0 or NaN.
        patients: of the images.
        alpha: share of true answers that may be ruled out.

    Raises:
        UsageError: alpha not between 0 and 1. DataError: shapes, NaN among the logits, or other labels.

    Example:
        >>> z = np.array([[0.0], [1.0], [2.0], [3.0]])
        >>> found = finding_limits(z, np.array([[0], [0], [1], [1]]), ["a", "b", "c", "d"], alpha=0.4)
        >>> found.lowest_present.tolist(), found.highest_absent.tolist()
        ([2.0], [1.0])

    Source: Vovk, ACML 2012 (label-conditional conformal prediction). Differs: patients weigh alike.
    """
    same_length(len(logits), len(labels))
    who = np.asarray(patients)
    limits: list[tuple[float, float]] = []
    for z, column in zip(logits.T, labels.T, strict=True):
        truth = known_labels(column)
        limits.append(
            (
                -conformal_limit(-z[truth == 1], who[truth == 1], alpha=alpha),
                conformal_limit(z[truth == 0], who[truth == 0], alpha=alpha),
            )
        )
    low, high = np.array(limits, dtype=np.float64).reshape(-1, 2).T
    return Limits(low, high, alpha)
