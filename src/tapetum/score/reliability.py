"""What diagrams are drawn from: reliability bins and the points of the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from tapetum.core.errors import UsageError
from tapetum.score.inputs import Labels, binary_probabilities, binary_scores, class_probabilities
from tapetum.score.stats.proportions import wilson_interval

Spacing = Literal["width", "mass"]
Of = Literal["confidence", "each_class"]


@dataclass(frozen=True)
class ReliabilityBins:
    """The bins that hold images, in ascending order.

    Attributes:
        stated: mean probability in the bin. observed: share of positives. low, high: Wilson bounds of `observed`
            at 95 %, for independent images. images: how many.
    """

    stated: Float64[np.ndarray, "b"]
    observed: Float64[np.ndarray, "b"]
    low: Float64[np.ndarray, "b"]
    high: Float64[np.ndarray, "b"]
    images: Int[np.ndarray, "b"]


@dataclass(frozen=True)
class RocCurve:
    """Points from (0, 0) to (1, 1): shares of negatives and of positives with `score >= threshold`."""

    false_positive_rate: Float64[np.ndarray, "t"]
    true_positive_rate: Float64[np.ndarray, "t"]
    thresholds: Float64[np.ndarray, "t"]


def bin_of(probs: Float[np.ndarray, "n"], bins: int, spacing: Spacing) -> Int[np.ndarray, "n"]:
    """The bin of each probability; bins are closed above, and 0 is in the first.

    Args:
        probs: in 0..1.
        bins: how many.
        spacing: `width`: equal parts of 0..1; `mass`: cut at the quantiles, so that equal values stay together.

    Raises:
        UsageError: fewer than one bin, or unknown spacing.
    """
    if bins < 1:
        raise UsageError(f"bins={bins}", "at least 1")
    if spacing not in ("width", "mass"):
        raise UsageError(f"spacing={spacing!r}", "width or mass")
    inner = np.linspace(0, 1, bins + 1)[1:-1]
    edges = np.quantile(probs, inner) if spacing == "mass" and len(probs) else inner
    return np.searchsorted(edges, probs, "left")


@dataclass(frozen=True)
class BinSums:
    """What calibration errors are made of, per bin, empty bins included.

    Attributes:
        images: how many. stated: sum of the probabilities. observed: positives.
    """

    images: Int[np.ndarray, "b"]
    stated: Float64[np.ndarray, "b"]
    observed: Float64[np.ndarray, "b"]


def bin_sums(values: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], bins: int, spacing: Spacing) -> BinSums:
    """Images, probabilities and positives of each bin; see `bin_of`."""
    place = bin_of(values, bins, spacing)
    images = np.bincount(place, minlength=bins)
    return BinSums(images, np.bincount(place, values, bins), np.bincount(place, truth, bins))


def questions(
    probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"], labels: Labels, of: Of
) -> list[tuple[Float64[np.ndarray, "n"], Bool[np.ndarray, "n"]]]:
    """Checked probabilities and outcomes of each yes-or-no question that a calibration error is asked about.

    Args:
        probs: `[n]` of the positive class, one question; or `[n k]`, rows adding up to 1.
        labels: 0 or 1, or 0..k-1.
        of: for `[n k]`: `confidence`, is the largest column the right one; `each_class`, one question per column.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or labels that are no class. UsageError: unknown `of`.
    """
    if of not in ("confidence", "each_class"):
        raise UsageError(f"of={of!r}", "confidence or each_class")
    if probs.ndim == 1:
        return [binary_probabilities(probs, labels)]
    values, classes = class_probabilities(probs, labels)
    if of == "confidence":
        return [(values.max(axis=1, initial=0.0), np.argmax(values, axis=1) == classes)]
    return [(column, classes == j) for j, column in enumerate(values.T)]


def reliability_bins(
    probs: Float[np.ndarray, "n"], labels: Labels, *, bins: int = 10, spacing: Spacing = "width"
) -> ReliabilityBins:
    """Stated against observed, bin by bin.

    Args:
        probs: of the positive class, 0..1.
        labels: 0 or 1.
        bins: how many.
        spacing: as in `bin_of`.

    Returns:
        Only the bins that hold an image.

    Raises:
        DataError: NaN, logits, or labels other than 0 and 1.
        UsageError: fewer than one bin, or unknown spacing.

    Example:
        >>> reliability_bins(np.array([0.1, 0.9, 0.95]), np.array([0, 1, 0]), bins=2).observed.tolist()
        [0.0, 0.5]
    """
    values, truth = binary_probabilities(probs, labels)
    sums = bin_sums(values, truth, bins, spacing)
    images, held = sums.images, np.flatnonzero(sums.images)
    positives = sums.observed[held]
    bounds = [wilson_interval(int(p), int(n)) for p, n in zip(positives, images[held], strict=True)]
    return ReliabilityBins(
        stated=sums.stated[held] / images[held],
        observed=positives / images[held],
        low=np.array([b.low for b in bounds]),
        high=np.array([b.high for b in bounds]),
        images=images[held],
    )


def roc_curve(scores: Real[np.ndarray, "n"], labels: Labels) -> RocCurve:
    """The points of the ROC curve, one per distinct score.

    Returns:
        Rates are NaN when a class is absent. The first threshold is infinite: nothing is called positive.

    Raises:
        DataError: NaN, unequal lengths, or labels other than 0 and 1.

    Example:
        >>> roc_curve(np.array([0.2, 0.8]), np.array([0, 1])).true_positive_rate.tolist()
        [0.0, 1.0, 1.0]
    """
    values, truth = binary_scores(scores, labels)
    thresholds = np.unique(values)[::-1]
    high, low = np.sort(values[truth]), np.sort(values[~truth])

    def rate(part: Float64[np.ndarray, "m"]) -> Float64[np.ndarray, "t"]:
        if not len(part):
            return np.full(len(thresholds) + 1, np.nan)
        return np.concatenate([[0.0], 1 - np.searchsorted(part, thresholds, "left") / len(part)])

    return RocCurve(rate(low), rate(high), np.concatenate([[np.inf], thresholds]))
