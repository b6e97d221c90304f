"""Calibration error in bins, less what chance alone puts there."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

from tapetum.score.inputs import Labels
from tapetum.score.reliability import Of, Spacing, bin_sums, questions

__all__ = ["debiased_calibration_error"]

TAKES = ("binary probabilities", "class probabilities")
NEEDS = "any label"


def debiased_calibration_error(
    probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"],
    labels: Labels,
    *,
    bins: int = 15,
    spacing: Spacing = "mass",
    of: Of = "confidence",
    squared: bool = False,
) -> float:
    """Root mean square distance between stated probability and observed frequency, with the sampling noise taken off.

    In each bin the squared distance exceeds the true one by the variance of the observed share, p (1 - p) / (n - 1),
    which is subtracted. A perfect model scores about 0 however few images there are; `expected_calibration_error` does
    not.

    Args:
        probs: `[n]` of the positive class, or `[n k]`, rows adding up to 1.
        labels: 0 or 1, or 0..k-1.
        bins: number of bins; one of a single image tells nothing of its variance and is left out.
        spacing: `mass`: equal numbers of images, equal values together; `width`: equal parts of 0..1.
        of: see `expected_calibration_error`; over several columns the mean of the squares.
        squared: give the unbiased estimate itself, which can be negative, instead of its root, which is then 0.

    Returns:
        0..1, lower is better, in the unit of a probability (squared: its square); NaN where no bin has two images.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or labels that are no class.
        UsageError: fewer than one bin, unknown spacing, or unknown `of`.

    Example:
        >>> probs, labels = np.array([0.7, 0.7, 0.7, 0.7]), np.array([1, 1, 1, 0])
        >>> round(debiased_calibration_error(probs, labels, bins=1, squared=True), 3)
        -0.06

    Source: Kumar, Liang and Ma, NeurIPS 2019, definition 4.2; of the reliability of the Brier error Brocker, 2012, and
    Ferro and Fricker, 2012, found the same term. Differs: bins of one image are left out; cut at 0 only at the end.
    """
    found = float(np.mean([_square(values, truth, bins, spacing) for values, truth in questions(probs, labels, of)]))
    return found if squared else float(np.sqrt(max(found, 0.0))) if not np.isnan(found) else found


def _square(values: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], bins: int, spacing: Spacing) -> float:
    sums = bin_sums(values, truth, bins, spacing)
    several = sums.images > 1
    images, share = sums.images[several], sums.observed[several] / sums.images[several]
    apart = (sums.stated[several] / images - share) ** 2 - share * (1 - share) / (images - 1)
    return float((images * apart).sum() / images.sum()) if len(images) else float("nan")
