"""Intervals for a share: Wilson, the exact one of Clopper and Pearson, and Wilson when patients bring several."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Real
from scipy import special

from tapetum.core.errors import UsageError
from tapetum.core.types import Interval
from tapetum.score.inputs import known_labels, same_length
from tapetum.score.stats.bounds import Clusters
from tapetum.score.stats.draws import cluster_codes


def wilson_interval(hits: int, trials: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion.

    Args:
        hits: how many of the `trials` had the property; the trials are independent subjects.
        level: 0..1.
        trials: number of independent subjects.

    Returns:
        A share in 0..1; NaN without trials.

    Raises:
        UsageError: `hits` not in 0..`trials`, or a level outside 0..1.

    Example:
        >>> print(wilson_interval(8, 10))
        0.800 [0.490, 0.943]

    Source: Wilson, JASA 1927. Differs: no continuity correction.
    """
    method = "Wilson, assumes independent subjects"
    _check(hits, trials, level)
    if trials == 0:
        return Interval(math.nan, math.nan, math.nan, method, level)
    share = hits / trials
    centre, half = wilson_centre(share, trials, level)
    # rounding alone would leave 1e-17 where the bound is exactly 0 or 1
    low = 0.0 if hits == 0 else centre - half
    return Interval(share, low, 1.0 if hits == trials else centre + half, method, level)


def wilson_centre(share: float, trials: float, level: float) -> tuple[float, float]:
    """Centre and half-width of Wilson's interval.

    Args:
        share: of the trials, 0..1.
        trials: above 0; a fraction where an effective number is meant.
        level: 0..1.
    """
    z = float(special.ndtri((1 + level) / 2))
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return centre, half


def clopper_pearson_interval(hits: int, trials: int, *, level: float = 0.95) -> Interval:
    """The exact binomial interval: never covers less than `level`, hence wider than Wilson's.

    Args:
        hits: how many of the `trials` had the property; the trials are independent subjects.
        level: 0..1.
        trials: number of independent subjects.

    Returns:
        A share in 0..1; NaN without trials.

    Raises:
        UsageError: `hits` not in 0..`trials`, or a level outside 0..1.

    Example:
        >>> print(clopper_pearson_interval(8, 10))
        0.800 [0.444, 0.975]

    Source: Clopper and Pearson, Biometrika 1934. Differs: nothing.
    """
    method = "Clopper-Pearson, assumes independent subjects"
    _check(hits, trials, level)
    if trials == 0:
        return Interval(math.nan, math.nan, math.nan, method, level)
    tail = (1 - level) / 2
    low = float(special.betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    high = float(special.betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return Interval(hits / trials, low, high, method, level)


def clustered_wilson_interval(
    hits: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"], clusters: Clusters, *, level: float = 0.95
) -> Interval:
    """Wilson's interval for a share of images, with as many trials as the patients are worth.

    Unlike the bootstrap it has a width where all images are hits, or none: then every patient counts once.

    Args:
        hits: 1, 0 or NaN (left out); for a sensitivity the calls of the positive images only.
        clusters: the patient of each image.
        level: 0..1.

    Returns:
        A share in 0..1; NaN without images.

    Raises:
        DataError: other values, unequal lengths.
        UsageError: a level outside 0..1.

    Example:
        >>> print(clustered_wilson_interval(np.ones(20), np.repeat(np.arange(10), 2)))
        1.000 [0.722, 1.000]

    Source: the effective number of Rao and Scott, Biometrics 1992, in Wilson's interval. Differs: never more trials
    than images; patients where the share is 0 or 1, or where there is one patient.
    """
    _check(0, 0, level)
    same_length(len(hits), len(clusters), "clusters")
    values = known_labels(hits)
    known = ~np.isnan(values)
    values, codes = values[known], cluster_codes(np.asarray(clusters)[known])
    if not len(values):
        return Interval(math.nan, math.nan, math.nan, "Wilson, patients as clusters, no images", level)
    images, patients, share = len(values), len(np.unique(codes)), float(values.mean())
    worth = float(patients)
    if 0 < share < 1 and patients > 1:
        rest = np.bincount(codes, weights=values - share)
        variance = float((rest**2).sum()) * patients / (patients - 1) / images**2
        worth = min(float(images), share * (1 - share) / variance) if variance > 0 else float(images)
    centre, half = wilson_centre(share, worth, level)
    method = f"Wilson, {images} images of {patients} patients worth {worth:.1f}"
    low, high = 0.0 if share == 0 else centre - half, 1.0 if share == 1 else centre + half
    return Interval(share, low, high, method, level)


def _check(hits: int, trials: int, level: float) -> None:
    if not 0 <= hits <= trials:
        raise UsageError(f"{hits} of {trials}", "a count between 0 and the number of trials")
    if not 0 < level < 1:
        raise UsageError(f"level={level}", "a level between 0 and 1, for example 0.95")
