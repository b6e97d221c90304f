"""Expected calibration error, in bins."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

from tapetum.score.inputs import Labels
from tapetum.score.reliability import Of, Spacing, bin_sums, questions

__all__ = ["expected_calibration_error"]

TAKES = ("binary probabilities", "class probabilities")
NEEDS = "any label"


def expected_calibration_error(
    probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"],
    labels: Labels,
    *,
    bins: int = 15,
    spacing: Spacing = "width",
    of: Of = "confidence",
) -> float:
    """Mean distance between stated probability and observed frequency, over bins weighted by their images.

    Args:
        probs: `[n]` of the positive class, or `[n k]`, rows adding up to 1.
        labels: 0 or 1, or 0..k-1.
        bins: number of bins.
        spacing: `width`: equal parts of 0..1; `mass`: equal numbers of images, equal values together.
        of: for `[n k]`: `confidence` compares the largest column with whether it is right; `each_class` takes each
            column as a finding of its own and averages. `[n]` always compares the probability of the positive class.

    Returns:
        0..1, lower is better; NaN without images. Binning makes it depend on `bins`, and small samples look worse.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or labels that are no class.
        UsageError: fewer than one bin, unknown spacing, or unknown `of`.

    Example:
        >>> round(expected_calibration_error(np.array([0.8, 0.8, 0.8, 0.8, 0.8]), np.array([1, 1, 1, 0, 0])), 3)
        0.2

    Source: Naeini, Cooper and Hauskrecht, AAAI 2015; of the largest class: Guo et al., ICML 2017, equation 3.
    Differs: bins are closed above, and 0 is in the first; `each_class` is the plain mean over columns.
    """
    return float(np.mean([_gap(values, truth, bins, spacing) for values, truth in questions(probs, labels, of)]))


def _gap(values: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], bins: int, spacing: Spacing) -> float:
    sums = bin_sums(values, truth, bins, spacing)
    return float(np.abs(sums.stated - sums.observed).sum() / len(values)) if len(values) else float("nan")
