"""Sorted once, used everywhere: where each positive stands among the negatives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int


@dataclass(frozen=True)
class Ranking:
    """Positives and negatives in ascending order of their scores.

    Attributes:
        positives, negatives: row numbers; rows with an unknown label are in neither.
        below: for each positive, how many negatives score lower. upto: how many score lower or the same.
    """

    positives: Int[np.ndarray, "p"]
    negatives: Int[np.ndarray, "q"]
    below: Int[np.ndarray, "p"]
    upto: Int[np.ndarray, "p"]

    @property
    def auroc(self) -> float:
        """Probability that a positive scores higher than a negative, ties counted one half; NaN without both."""
        pairs = len(self.positives) * len(self.negatives)
        return float((self.below.sum() + self.upto.sum()) / (2 * pairs)) if pairs else float("nan")


def rank(scores: Float[np.ndarray, "n"], labels: Float[np.ndarray, "n"] | Bool[np.ndarray, "n"]) -> Ranking:
    """Sort positives and negatives, O(n log n).

    Args:
        scores: any range, no NaN.
        labels: 0, 1 or NaN for unknown.

    Example:
        >>> rank(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0.0, 0.0, 1.0, 1.0])).auroc
        0.875
    """
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    positives = positives[np.argsort(scores[positives], kind="stable")]
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    sorted_negatives, sorted_positives = scores[negatives], scores[positives]
    below = np.searchsorted(sorted_negatives, sorted_positives, "left")
    upto = np.searchsorted(sorted_negatives, sorted_positives, "right")
    return Ranking(positives, negatives, below, upto)


def placements(
    scores: Float[np.ndarray, "n"], positives: Int[np.ndarray, "p"], negatives: Int[np.ndarray, "q"]
) -> tuple[Float64[np.ndarray, "p"], Float64[np.ndarray, "q"]]:
    """DeLong's structural components, each row in the order given.

    Returns:
        For each positive the share of negatives below it, for each negative that of positives above it, ties one half.
    """
    high, low = np.sort(scores[positives]), np.sort(scores[negatives])
    of_positives = np.searchsorted(low, scores[positives], "left") + np.searchsorted(low, scores[positives], "right")
    of_negatives = np.searchsorted(high, scores[negatives], "left") + np.searchsorted(high, scores[negatives], "right")
    return of_positives / (2 * len(low)), 1 - of_negatives / (2 * len(high))
