"""Maximum calibration error, in bins."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

from tapetum.score.inputs import Labels
from tapetum.score.reliability import Of, Spacing, bin_sums, questions

__all__ = ["maximum_calibration_error"]

TAKES = ("binary probabilities", "class probabilities")
NEEDS = "any label"


def maximum_calibration_error(
    probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"],
    labels: Labels,
    *,
    bins: int = 15,
    spacing: Spacing = "mass",
    of: Of = "confidence",
) -> float:
    """Largest distance between stated probability and observed frequency over the bins that hold images.

    Args:
        probs: `[n]` of the positive class, or `[n k]`, rows adding up to 1.
        labels: 0 or 1, or 0..k-1.
        bins: number of bins.
        spacing: `mass`: equal numbers of images, equal values together; `width`: equal parts of 0..1, where a bin of
            one image, which is nearly always far off, decides.
        of: see `expected_calibration_error`; of several columns the largest distance of all.

    Returns:
        0..1, lower is better; NaN without images.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or labels that are no class.
        UsageError: fewer than one bin, unknown spacing, or unknown `of`.

    Example:
        >>> round(maximum_calibration_error(np.array([0.1, 0.1, 0.9, 0.9]), np.array([0, 0, 1, 0]), bins=2), 3)
        0.4

    Source: Naeini, Cooper and Hauskrecht, AAAI 2015. Differs: bins of equal mass unless told otherwise.
    """
    return float(np.max([_largest(values, truth, bins, spacing) for values, truth in questions(probs, labels, of)]))


def _largest(values: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], bins: int, spacing: Spacing) -> float:
    sums = bin_sums(values, truth, bins, spacing)
    held = sums.images > 0
    return float((np.abs(sums.stated - sums.observed)[held] / sums.images[held]).max()) if held.any() else float("nan")
