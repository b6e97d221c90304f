"""Deciding less and being wrong less: error against the share of images that are decided."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Real

from tapetum.core.errors import UsageError
from tapetum.score.inputs import finite_scores, same_length


@dataclass(frozen=True)
class RiskCoverage:
    """One point per distinct doubt, the least doubted first.

    Attributes:
        coverage: share of images decided. risk: share of these decided wrongly. doubt: decided is `<= doubt`.
    """

    coverage: Float64[np.ndarray, "t"]
    risk: Float64[np.ndarray, "t"]
    doubt: Float64[np.ndarray, "t"]


def risk_coverage(doubt: Real[np.ndarray, "n"], wrong: Bool[np.ndarray, "n"]) -> RiskCoverage:
    """The curve of errors when the most doubted images are left to a person.

    Args:
        doubt: higher = left to a person sooner.
        wrong: whether the decision would be wrong.

    Returns:
        Empty without images; images of equal doubt are decided together.

    Raises:
        DataError: NaN among the doubts, or unequal lengths.

    Example:
        >>> curve = risk_coverage(np.array([0.1, 0.2, 0.9]), np.array([False, False, True]))
        >>> curve.risk.round(3).tolist()
        [0.0, 0.0, 0.333]
    """
    values, each = finite_scores(doubt), np.asarray(wrong, dtype=np.float64)
    same_length(len(values), len(each), "decisions")
    distinct, which, images = np.unique(values, return_inverse=True, return_counts=True)
    decided = np.cumsum(images)
    errors = np.cumsum(np.bincount(which, each, len(distinct)))
    return RiskCoverage(decided / max(1, len(values)), errors / np.maximum(1, decided), distinct)


def area_under_risk_coverage(doubt: Real[np.ndarray, "n"], wrong: Bool[np.ndarray, "n"]) -> float:
    """Mean share of errors over all coverages; lower is better, the plain share of errors is what blind doubt gives.

    Images of equal doubt come in any order: the mean over these orders is taken, so that a constant doubt gives exactly
    the plain share.

    Args:
        doubt: higher = left to a person sooner.
        wrong: whether the decision would be wrong.

    Returns:
        0..1; NaN without images.

    Example:
        >>> round(area_under_risk_coverage(np.array([0.1, 0.2, 0.9]), np.array([False, False, True])), 4)
        0.1111
        >>> area_under_risk_coverage(np.zeros(4), np.array([True, False, True, False]))
        0.5

    Source: Geifman and El-Yaniv, NeurIPS 2017, arXiv 1705.08500; the area: Geifman et al., ICLR 2019,
    arXiv 1805.08206, equation 4. Differs: ties.
    """
    values, each = finite_scores(doubt), np.asarray(wrong, dtype=np.float64)
    same_length(len(values), len(each), "decisions")
    if not len(values):
        return math.nan
    distinct, which, images = np.unique(values, return_inverse=True, return_counts=True)
    share = np.bincount(which, each, len(distinct)) / images  # expected errors per place inside a tie
    place = np.cumsum(share[np.sort(which)])
    return float(np.mean(place / np.arange(1, len(values) + 1)))


def error_at_coverage(doubt: Real[np.ndarray, "n"], wrong: Bool[np.ndarray, "n"], *, coverage: float) -> float:
    """Share of errors among the least doubted images; of a tie at the edge, the mean over its orders.

    Args:
        doubt: higher = left to a person sooner.
        wrong: whether the decision would be wrong.
        coverage: share of images decided, above 0 and up to 1.

    Returns:
        0..1, lower is better; NaN without images.

    Raises:
        UsageError: coverage not in (0, 1].

    Example:
        >>> error_at_coverage(np.array([0.1, 0.9, 0.5, 0.7]), np.array([False, True, False, False]), coverage=0.75)
        0.0
    """
    if not 0 < coverage <= 1:
        raise UsageError(f"coverage={coverage}", "a share above 0 and up to 1, for example 0.9")
    values, each = finite_scores(doubt), np.asarray(wrong, dtype=np.float64)
    same_length(len(values), len(each), "decisions")
    if not len(values):
        return math.nan
    kept = max(1, math.floor(coverage * len(values) + 1e-9))
    edge = np.sort(values)[kept - 1]
    inside, tie = values < edge, values == edge
    return float((each[inside].sum() + each[tie].mean() * (kept - inside.sum())) / kept)
