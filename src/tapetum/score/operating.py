"""Operating points: a threshold for a stated sensitivity, and what it gives on other data.

For research and second-reader support, not a cleared device. Choose the threshold on validation data
and measure it on test data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Real

from tapetum.core.errors import UsageError
from tapetum.core.types import Interval
from tapetum.score.inputs import binary_scores, finite_scores, known_labels, same_length
from tapetum.score.stats.bounds import Clusters
from tapetum.score.stats.proportions import clustered_wilson_interval, wilson_interval


@dataclass(frozen=True)
class OperatingPoint:
    """What a threshold gives; positive means `prob >= threshold`.

    Attributes:
        sensitivity, specificity: shares of positives and of negatives called right.
        ppv, npv: predictive values at the prevalence of these data; they change with it.
        true_positives, false_positives, false_negatives, true_negatives: numbers of images.
    """

    threshold: float
    sensitivity: Interval
    specificity: Interval
    ppv: Interval
    npv: Interval
    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int


def threshold_for_sensitivity(
    probs: Float[np.ndarray, "n"], labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"], *, sensitivity: float
) -> float:
    """The largest threshold at which `prob >= threshold` still finds the stated share of the positives.

    It is the probability of the last positive needed, so it is always a value that occurs; positives tied with it are
    found too, and the sensitivity reached may lie above the one asked for, never below.

    Args:
        probs: scores of validation images, any range, higher = more likely positive.
        labels: 0, 1 or NaN (left out).
        sensitivity: wanted share of the positives, above 0 and up to 1.

    Returns:
        A threshold on the scale of `probs`; NaN without positives.

    Raises:
        DataError: NaN among the probabilities, unequal lengths, or other labels.
        UsageError: sensitivity not in (0, 1].

    Example:
        >>> threshold_for_sensitivity(np.array([0.9, 0.8, 0.3, 0.6]), np.array([1, 1, 1, 0]), sensitivity=0.6)
        0.8
    """
    if not 0 < sensitivity <= 1:
        raise UsageError(f"sensitivity={sensitivity}", "a share above 0 and up to 1, for example 0.9")
    same_length(len(probs), len(labels))
    found = np.sort(finite_scores(probs)[known_labels(labels) == 1])[::-1]
    if not len(found):
        return math.nan
    needed = math.ceil(sensitivity * len(found) - 1e-9)  # 0.9 x 10 is 9.000000000000001 on some machines
    return float(found[max(needed, 1) - 1])


def operating_point(
    probs: Float[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    threshold: float,
    clusters: Clusters | None = None,
    *,
    level: float = 0.95,
) -> OperatingPoint:
    """Sensitivity, specificity and predictive values at a threshold, each with an interval.

    Args:
        probs: any range, higher = more likely positive.
        labels: 0 or 1.
        threshold: on the scale of `probs`, chosen on other data.
        clusters: the patient of each image; with it Wilson's interval counts patients (it keeps a width where every
            call is right), without it it assumes independent subjects (one image per patient) and says so.
        level: confidence level, between 0 and 1.

    Returns:
        Each share is NaN where its denominator is 0.

    Raises:
        DataError: NaN, unequal lengths, or labels other than 0 and 1.
        UsageError: a threshold that is NaN.

    Example:
        >>> point = operating_point(np.array([0.9, 0.2, 0.6, 0.1]), np.array([1, 1, 0, 0]), 0.5)
        >>> print(point.sensitivity)
        0.500 [0.095, 0.905]
    """
    if math.isnan(threshold):
        raise UsageError(
            "the threshold is NaN: none was chosen", "a number", "threshold_for_sensitivity on validation data"
        )
    values, truth = binary_scores(probs, labels)
    called = values >= threshold
    parts = {
        "sensitivity": (truth, called),
        "specificity": (~truth, ~called),
        "ppv": (called, truth),
        "npv": (~called, ~truth),
    }
    intervals = {name: _share(*pair, clusters, level) for name, pair in parts.items()}
    return OperatingPoint(
        threshold=float(threshold),
        **intervals,
        true_positives=int((truth & called).sum()),
        false_positives=int((~truth & called).sum()),
        false_negatives=int((truth & ~called).sum()),
        true_negatives=int((~truth & ~called).sum()),
    )


def _share(
    among: Bool[np.ndarray, "n"], right: Bool[np.ndarray, "n"], clusters: Clusters | None, level: float
) -> Interval:
    """The share of `among` that is `right`, by patients where they are known."""
    if clusters is None:
        return wilson_interval(int((among & right).sum()), int(among.sum()), level=level)
    return clustered_wilson_interval(np.where(among, right.astype(np.float64), np.nan), clusters, level=level)
