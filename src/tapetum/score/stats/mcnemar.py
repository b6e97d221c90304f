"""Two methods' right and wrong calls on the same images, and which is right more often."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Real
from scipy import special, stats

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Interval
from tapetum.score.inputs import known_labels, same_length
from tapetum.score.stats.bounds import Clusters, PairedDifference, check_level
from tapetum.score.stats.draws import cluster_codes

Form = Literal["exact", "mid p", "asymptotic"]
Hits = Real[np.ndarray, "n"] | Bool[np.ndarray, "n"]


def mcnemar(first: Hits, second: Hits, *, form: Form = "exact", level: float = 0.95) -> PairedDifference:
    """The difference of two shares on the same independent subjects, tested on those where the methods disagree.

    Args:
        first: 1 where the first method is right (or positive), 0 where not, NaN leaves the subject out.
        second: the other method, same subjects.
        form: of the p value. `exact` never errs more often than it says; `mid p` is less timid; `asymptotic` is chi²
            without a continuity correction, for 25 disagreements or more.
        level: of the interval.

    Returns:
        Share of the first minus that of the second, -1..1; above 0, the first is right more often; NaN without
        subjects.

    Raises:
        DataError: values other than 0, 1 and NaN, unequal lengths.
        UsageError: an unknown form, level outside 0..1.

    Example:
        >>> first, second = np.array([1] * 8 + [0] * 2), np.array([1] * 3 + [0] * 5 + [1, 0])
        >>> print(mcnemar(first, second))
        0.400 [-0.088, 0.755], p = 0.219

    Source: McNemar, Psychometrika 1947; mid p after Fagerland, Lydersen and Laake, BMC Medical Research Methodology
    2013; interval after Bonett and Price, Journal of Educational and Behavioral Statistics 2012. Differs: nothing.
    """
    check_level(level)
    if form not in ("exact", "mid p", "asymptotic"):
        raise UsageError(f"form={form!r}", "exact, mid p or asymptotic")
    a, b, _ = _both(first, second, None)
    only_a, only_b, n = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum()), len(a)
    method = f"McNemar {form}, only first {only_a}, only second {only_b}, assumes independent subjects"
    if not n:
        return PairedDifference(Interval(math.nan, math.nan, math.nan, method, level), math.nan)
    up, down = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    half = float(special.ndtri((1 + level) / 2)) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    bounds = max(up - down - half, -1.0), min(up - down + half, 1.0)
    return PairedDifference(Interval((only_a - only_b) / n, *bounds, method, level), _p_value(only_a, only_b, form))


def clustered_mcnemar(first: Hits, second: Hits, clusters: Clusters, *, level: float = 0.95) -> PairedDifference:
    """The same when a patient brings several images.

    Args:
        first: 1 where the first method is right, 0 where not, NaN leaves the image out.
        second: the other method, same images.
        clusters: the patient of each image.
        level: of the interval.

    Returns:
        Share of the first minus that of the second. The interval has the variance over patients as it is, p the one
        under "no difference"; bounds NaN with one patient, or where no patient differs from the mean.

    Raises:
        DataError: values other than 0, 1 and NaN, unequal lengths.
        UsageError: level outside 0..1.

    Source: after Obuchowski, Statistics in Medicine 1998: chi² with the pooled share, clusters as units. Known from
    later descriptions of it, not from the paper.
    """
    check_level(level)
    a, b, codes = _both(first, second, clusters)
    apart = np.bincount(codes, weights=a - b) if len(a) else np.zeros(0)
    sizes, patients = np.bincount(codes), len(apart)
    method = f"McNemar for clusters, {patients} patients"
    if not len(a):
        return PairedDifference(Interval(math.nan, math.nan, math.nan, method, level), math.nan)
    share = float(apart.sum() / len(a))
    if patients < 2:
        return PairedDifference(Interval(share, math.nan, math.nan, f"{method}: no bounds", level), math.nan)
    factor = patients / (patients - 1) / len(a) ** 2
    error = math.sqrt(float(((apart - sizes * share) ** 2).sum()) * factor)
    under_null = float((apart**2).sum()) * factor
    p_value = float(special.chdtrc(1, share**2 / under_null)) if under_null > 0 else 1.0
    if error == 0:
        return PairedDifference(
            Interval(share, math.nan, math.nan, f"{method}, no variance: no bounds", level), p_value
        )
    half = float(special.ndtri((1 + level) / 2)) * error
    return PairedDifference(Interval(share, max(share - half, -1.0), min(share + half, 1.0), method, level), p_value)


def _both(
    first: Hits, second: Hits, clusters: Clusters | None
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"], np.ndarray]:
    """Both methods where both are known, and the patients' numbers there."""
    if first.ndim != 1 or first.shape != second.shape:
        raise DataError(f"hits of shapes {first.shape} and {second.shape}", "[n] and [n], 1 = right")
    who = np.arange(len(first)) if clusters is None else np.asarray(clusters)
    same_length(len(first), len(who), "clusters")
    a, b = known_labels(first), known_labels(second)
    known = ~(np.isnan(a) | np.isnan(b))
    return a[known], b[known], cluster_codes(who[known])


def _p_value(only_a: int, only_b: int, form: Form) -> float:
    """Two-sided; 1 where the methods never disagree."""
    total, fewer = only_a + only_b, min(only_a, only_b)
    if not total:
        return 1.0
    if form == "asymptotic":
        return float(special.chdtrc(1, (only_a - only_b) ** 2 / total))
    if form == "exact":
        return float(stats.binomtest(fewer, total, 0.5).pvalue)
    return float(2 * stats.binom.cdf(fewer, total, 0.5) - stats.binom.pmf(fewer, total, 0.5))
