"""DeLong's variance of the AUROC in O(n log n): an interval and a paired test without resampling.

Valid for independent subjects. With two eyes or several visits per patient the intervals are too narrow: use
`intervals`, which resamples patients, or `clustered`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Real

from tapetum.core.types import Interval
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.ranking import placements
from tapetum.score.stats.bounds import PairedDifference
from tapetum.score.stats.normal import area_interval, difference

METHOD = "DeLong, assumes independent images"


def delong_covariance(
    scores: Real[np.ndarray, "n m"], labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"]
) -> tuple[Float64[np.ndarray, "m"], Float64[np.ndarray, "m m"]]:
    """AUROC of several methods on the same images, and their covariance.

    Args:
        scores: one column per method, any range.
        labels: 0, 1 or NaN (left out).

    Returns:
        The AUROCs (NaN when a class is absent) and the covariance (NaN with fewer than two images of a class).

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 1988; Sun and Xu, IEEE Signal Processing Letters 2014.
    Differs: placements by binary search in the other class instead of midranks; the same values.
    """
    same_length(len(scores), len(labels))
    values, truth = finite_scores(scores), known_labels(labels)
    positives, negatives = np.flatnonzero(truth == 1), np.flatnonzero(truth == 0)
    methods = values.shape[1]
    if not len(positives) or not len(negatives):
        return np.full(methods, np.nan), np.full((methods, methods), np.nan)
    parts = [placements(column, positives, negatives) for column in values.T]
    of_positives, of_negatives = np.stack([p for p, _ in parts]), np.stack([q for _, q in parts])
    if min(len(positives), len(negatives)) < 2:
        return of_positives.mean(axis=1), np.full((methods, methods), np.nan)
    covariance = np.cov(of_positives) / len(positives) + np.cov(of_negatives) / len(negatives)
    return of_positives.mean(axis=1), np.reshape(covariance, (methods, methods))


def delong_interval(
    scores: Real[np.ndarray, "n"], labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"], *, level: float = 0.95
) -> Interval:
    """AUROC with DeLong's interval, built on the logit scale so that it stays inside 0..1.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0, 1 or NaN (left out).
        level: 0..1.

    Returns:
        0..1; NaN when a class is absent. Bounds are NaN when the variance is 0 or unknown: classes fully apart, or
        fewer than two images of a class; an interval of no width would be a false promise.

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.
        UsageError: level outside 0..1.

    Example:
        >>> print(delong_interval(np.array([0.1, 0.4, 0.35, 0.8, 0.2, 0.6]), np.array([0, 0, 1, 1, 0, 1])))
        0.889 [0.261, 0.995]
    """
    areas, covariance = delong_covariance(scores[:, None], labels)
    return area_interval(float(areas[0]), float(covariance[0, 0]), method=METHOD, level=level)


def delong_paired(
    scores_a: Real[np.ndarray, "n"],
    scores_b: Real[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    *,
    level: float = 0.95,
) -> PairedDifference:
    """AUROC of a minus AUROC of b on the same images, with DeLong's z test.

    Args:
        scores_a: the first method, any range.
        scores_b: the second method, any range.
        labels: 0, 1 or NaN (left out).
        level: 0..1.

    Returns:
        Difference with normal bounds and a two-sided p; when the variance is 0, p is 1 for equal AUROCs, else all NaN.

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.
        UsageError: level outside 0..1.
    """
    same_length(len(scores_a), len(scores_b), "rows of the second method")
    areas, covariance = delong_covariance(np.stack([scores_a, scores_b], axis=1), labels)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    return difference(float(areas[0] - areas[1]), variance, method=METHOD, level=level)
