"""From draws to bounds: percentile, or BCa (bias-corrected, accelerated), and the two-sided p that belongs to them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from scipy import special

from tapetum.core.errors import UsageError
from tapetum.core.types import Interval

Clusters = Sequence[Hashable] | np.ndarray
Bounds = Literal["percentile", "bca"]
Jackknives = Sequence[Float64[np.ndarray, "c"]]
FEWEST = 0.5  # bounds are given only if at least this share of the draws is defined
ROUNDING = 1e-12  # draws this near to the estimate are equal to it


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two methods on the same images.

    Attributes:
        interval: first minus second; above 0, the first is better. p_value: two-sided, NaN when undefined.
    """

    interval: Interval
    p_value: float

    def __str__(self) -> str:
        return f"{self.interval}, p = {self.p_value:.3g}"


def check_level(level: float) -> None:
    """Refuse a confidence level that is none.

    Raises:
        UsageError: outside 0..1.
    """
    if not 0 < level < 1:
        raise UsageError(f"level={level}", "a level between 0 and 1, for example 0.95")


def check_bounds(bounds: str) -> None:
    """Refuse an unknown kind of bounds.

    Raises:
        UsageError: neither `percentile` nor `bca`.
    """
    if bounds not in ("percentile", "bca"):
        raise UsageError(f"bounds={bounds!r}", "percentile or bca")


def drawn_interval(
    estimate: float,
    drawn: Float64[np.ndarray, "b"],
    clusters: Clusters,
    *,
    level: float,
    jackknives: Jackknives | None = None,
    note: str = "",
) -> Interval:
    """The bounds of the defined draws.

    Args:
        estimate: on all images.
        drawn: the same quantity in each draw of patients, NaN where undefined.
        clusters: the patient of each image.
        level: 0..1.
        jackknives: None for percentile bounds. For BCa, the quantity with each patient left out in turn, `[patients]`;
            a second array `[runs]` where runs were drawn too.
        note: what else the method's name must say.

    Returns:
        Bounds NaN with one patient only, when more than half of the draws are undefined, or when BCa's acceleration is.

    Raises:
        UsageError: level outside 0..1.

    Source: Efron, JASA 1987; for several samples drawn apart Davison and Hinkley 1997, 5.3.2. Differs: draws equal to
    the estimate count one half.
    """
    check_level(level)
    kind = "percentile" if jackknives is None else "BCa"
    method = f"patient-cluster bootstrap, {len(drawn)} draws, {kind}{note}"
    known = drawn[~np.isnan(drawn)]
    if len(known) < len(drawn):
        method += f", {len(drawn) - len(known)} undefined draws left out"
    patients = len(set(np.asarray(clusters).tolist()))
    if math.isnan(estimate) or patients < 2 or len(known) < FEWEST * len(drawn):
        if patients < 2:
            method += ", one patient only: no bounds"
        return Interval(estimate, math.nan, math.nan, method, level)
    places = np.array([(1 - level) / 2, (1 + level) / 2])
    if jackknives is not None:
        places = _bca_places(places, _bias(estimate, known), acceleration(jackknives))
        if np.isnan(places).any():
            return Interval(estimate, math.nan, math.nan, f"{method}, acceleration undefined: no bounds", level)
    low, high = np.quantile(known, places)
    return Interval(estimate, float(low), float(high), method, level)


def drawn_difference(
    estimate: float,
    drawn: Float64[np.ndarray, "b"],
    clusters: Clusters,
    *,
    level: float,
    jackknives: Jackknives | None = None,
    note: str = "",
) -> PairedDifference:
    """As `drawn_interval` for a difference, with the p at which its bounds would just touch 0.

    For percentile bounds that is twice the smaller share of draws on either side of 0, each with one draw added; BCa
    moves the shares as it moves its bounds.
    """
    interval = drawn_interval(estimate, drawn, clusters, level=level, jackknives=jackknives, note=note)
    if math.isnan(interval.low):
        return PairedDifference(interval, math.nan)
    known = drawn[~np.isnan(drawn)]
    sides = np.array([1 + int((known <= 0).sum()), 1 + int((known >= 0).sum())]) / (len(known) + 1)
    if jackknives is not None:
        sides = _bca_sides(sides, _bias(estimate, known), acceleration(jackknives))
    return PairedDifference(interval, float(min(1.0, 2 * sides.min())))


def acceleration(jackknives: Jackknives) -> float:
    """BCa's acceleration: the skewness of the influence of each patient, and of each run where runs were drawn.

    Args:
        jackknives: per sample drawn apart, the quantity with each of its members left out.

    Returns:
        0 for a symmetric statistic; NaN when the quantity is undefined without some patient, or never changes.
    """
    cubes = squares = 0.0
    for left_out in jackknives:
        size = len(left_out)
        influence = (size - 1) * (left_out.mean() - left_out) / size
        cubes += float((influence**3).sum())
        squares += float((influence**2).sum())
    return cubes / (6 * squares**1.5) if squares > ROUNDING**2 else math.nan


def _bias(estimate: float, known: Float64[np.ndarray, "b"]) -> float:
    """BCa's z0: how far the median of the draws lies from the estimate, in standard deviations."""
    slack = ROUNDING * max(1.0, abs(estimate))
    below, upto = (known < estimate - slack).sum(), (known <= estimate + slack).sum()
    return float(special.ndtri((below + upto) / (2 * len(known))))


def _bca_places(places: Float64[np.ndarray, "2"], bias: float, acceleration: float) -> Float64[np.ndarray, "2"]:
    """The quantiles that stand for the wanted ones; NaN where the formula has none."""
    moved = bias + special.ndtri(places)
    shrunk = 1 - acceleration * moved
    if not (np.isfinite(moved).all() and (shrunk > 0).all()):
        return np.full(2, np.nan)
    return special.ndtr(bias + moved / shrunk)


def _bca_sides(sides: Float64[np.ndarray, "2"], bias: float, acceleration: float) -> Float64[np.ndarray, "2"]:
    """The wanted quantiles at which a bound falls on 0, seen from below and from above."""
    apart = special.ndtri(np.clip(sides, 0, 1 - ROUNDING)) - np.array([bias, -bias])
    factor = 1 + acceleration * np.array([1, -1]) * apart
    if (factor <= 0).any():
        return np.full(2, np.nan)
    return special.ndtr(apart / factor - np.array([bias, -bias]))
