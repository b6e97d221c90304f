"""Bounds and tests from a variance in closed form; `delong`, `clustered`, `mrmc` and `runs` find the variance."""

from __future__ import annotations

import math

from scipy import special

from tapetum.core.types import Interval
from tapetum.score.stats.bounds import PairedDifference, check_level

NO_VARIANCE = 1e-15  # rounding leaves about 1e-18 for two equal rankings


def area_interval(area: float, variance: float, *, method: str, level: float) -> Interval:
    """An AUROC with bounds built on the logit scale, so that they stay inside 0..1.

    Args:
        area: 0..1.
        variance: of the area, NaN where unknown.
        method: how the variance was found.
        level: 0..1.

    Returns:
        Bounds NaN when the variance is 0 or unknown: an interval of no width would be a false promise.

    Raises:
        UsageError: level outside 0..1.

    Example:
        >>> print(area_interval(0.8, 0.0025, method="given", level=0.95))
        0.800 [0.684, 0.881]
    """
    check_level(level)
    error = math.sqrt(max(variance, 0.0))
    if not error > 0:
        return Interval(area, math.nan, math.nan, f"{method}, logit scale, no variance: no bounds", level)
    centre = float(special.logit(area))
    half = float(special.ndtri((1 + level) / 2)) * error / (area * (1 - area))
    low, high = float(special.expit(centre - half)), float(special.expit(centre + half))
    return Interval(area, low, high, f"{method}, logit scale", level)


def difference(
    apart: float, variance: float, *, method: str, level: float, freedom: float = math.inf
) -> PairedDifference:
    """A difference with symmetric bounds and the two-sided p of its z or t test.

    Args:
        apart: first minus second.
        variance: of the difference, NaN where unknown.
        method: how the variance was found.
        level: 0..1.
        freedom: degrees of freedom of t; infinite for the normal distribution.

    Returns:
        When the variance is 0, p is 1 for no difference, else bounds and p are NaN.

    Raises:
        UsageError: level outside 0..1.

    Example:
        >>> print(difference(0.1, 0.0025, method="given", level=0.95))
        0.100 [0.002, 0.198], p = 0.0455
    """
    check_level(level)
    if math.isnan(variance) or variance <= NO_VARIANCE:
        equal = apart == 0 and not math.isnan(variance)
        bound = 0.0 if equal else math.nan
        return PairedDifference(Interval(apart, bound, bound, method, level), 1.0 if equal else math.nan)
    error = math.sqrt(variance)
    half = quantile((1 + level) / 2, freedom) * error
    statistic = -abs(apart) / error
    tail = special.ndtr(statistic) if math.isinf(freedom) else special.stdtr(freedom, statistic)
    return PairedDifference(Interval(apart, apart - half, apart + half, method, level), float(2 * tail))


def quantile(place: float, freedom: float) -> float:
    """The quantile of t, or of the normal distribution where the degrees of freedom are infinite."""
    return float(special.ndtri(place) if math.isinf(freedom) else special.stdtrit(freedom, place))
