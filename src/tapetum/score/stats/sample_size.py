"""Whether there is enough to say something: expected half-widths, what they take, and a plain verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Real
from scipy import special

from tapetum.core.errors import UsageError
from tapetum.score.inputs import known_labels, same_length
from tapetum.score.stats.bounds import Clusters, check_level
from tapetum.score.stats.proportions import wilson_centre

FEWEST = 10  # positives; below, no formula for an interval can be trusted
MOST = 10_000_000


@dataclass(frozen=True)
class Verdict:
    """Whether a number from these data would mean anything.

    Attributes:
        enough: True if the interval is expected to be as narrow as wanted. half_width: expected, NaN where a class is
            absent. positives: patients with the finding. needed: how many of these it takes.
        text: one sentence; begins with "enough" or "too few to say".
    """

    enough: bool
    half_width: float
    positives: int
    needed: int
    text: str

    def __str__(self) -> str:
        return self.text


def auroc_half_width(area: float, positives: float, negatives: float, *, level: float = 0.95) -> float:
    """Expected half-width of an AUROC's interval, before anything is measured.

    Args:
        area: the AUROC one expects, 0..1.
        positives: independent patients with the finding.
        negatives: without.
        level: of the interval.

    Returns:
        Lower is more precise; NaN without both.

    Raises:
        UsageError: area or level outside 0..1.

    Example:
        >>> round(auroc_half_width(0.8, 50, 50), 3)
        0.087

    Source: Hanley and McNeil, Radiology 1982. Differs: nothing.
    """
    check_level(level)
    if not 0 < area < 1:
        raise UsageError(f"area={area}", "an AUROC between 0 and 1")
    if positives <= 0 or negatives <= 0:
        return math.nan
    of_positives, of_negatives = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (of_positives - area**2)
    variance += (negatives - 1) * (of_negatives - area**2)
    return float(special.ndtri((1 + level) / 2)) * math.sqrt(variance / (positives * negatives))


def share_half_width(share: float, subjects: float, *, level: float = 0.95) -> float:
    """Expected half-width of the interval of a share (sensitivity among positives, specificity among negatives).

    Args:
        share: the one expected, 0..1.
        subjects: independent patients of that class.
        level: of the interval.

    Returns:
        Lower is more precise, after Wilson; NaN without subjects.

    Raises:
        UsageError: share or level outside 0..1.

    Example:
        >>> round(share_half_width(0.9, 100), 3)
        0.06
    """
    check_level(level)
    if not 0 <= share <= 1:
        raise UsageError(f"share={share}", "a share in 0..1")
    return wilson_centre(share, subjects, level)[1] if subjects > 0 else math.nan


def positives_for_auroc(
    area: float, *, half_width: float, negatives_per_positive: float = 1.0, level: float = 0.95
) -> int:
    """The fewest patients with the finding for so narrow an interval.

    Args:
        area: the AUROC one expects.
        half_width: wanted.
        negatives_per_positive: how many patients without the finding come with each.
        level: of the interval.

    Raises:
        UsageError: a number outside its range.

    Example:
        >>> [positives_for_auroc(0.8, half_width=0.05, negatives_per_positive=k) for k in (1, 9)]
        [151, 114]
    """
    if not negatives_per_positive > 0:
        raise UsageError(f"negatives_per_positive={negatives_per_positive}", "above 0")
    return _fewest(lambda n: auroc_half_width(area, n, n * negatives_per_positive, level=level), half_width)


def subjects_for_share(share: float, *, half_width: float, level: float = 0.95) -> int:
    """The fewest patients of a class for so narrow an interval of sensitivity or specificity.

    Args:
        share: the sensitivity or specificity one expects.
        half_width: wanted.
        level: of the interval.

    Raises:
        UsageError: a number outside its range.

    Example:
        >>> subjects_for_share(0.9, half_width=0.05)
        141
    """
    return _fewest(lambda n: share_half_width(share, n, level=level), half_width)


def auroc_verdict(
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    clusters: Clusters,
    *,
    half_width: float = 0.1,
    area: float = 0.8,
    level: float = 0.95,
) -> Verdict:
    """Tell from labels alone, before anything is computed, whether an AUROC on these images would say something.

    Patients are counted, not images: two eyes of one patient say little more than one.

    Args:
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        half_width: how narrow the interval must be.
        area: the AUROC one expects; nearer to 0.5 is the more cautious choice.
        level: of the interval.

    Raises:
        DataError: other labels, unequal lengths.
        UsageError: a number outside its range.

    Example:
        >>> print(auroc_verdict(np.array([1, 1, 0, 0, 0]), ["a", "a", "b", "c", "d"]))
        too few to say: 1 patient with, 3 without the finding; at least 31 with are needed
    """
    ill, well = _patients(labels, clusters)
    expected = auroc_half_width(area, ill, well, level=level)
    needed = FEWEST
    if ill and well:
        needed = max(needed, _auroc_need(area, half_width, well / ill, level))
    enough = min(ill, well) >= FEWEST and expected <= half_width
    found = f"{_count(ill)} with, {well} without the finding"
    return Verdict(enough, expected, ill, needed, _text(enough, found, min(ill, well), expected, half_width, needed))


def sensitivity_verdict(
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    clusters: Clusters,
    *,
    half_width: float = 0.1,
    sensitivity: float = 0.9,
    level: float = 0.95,
) -> Verdict:
    """Tell whether a sensitivity on these images would say something; for a specificity, give `1 - labels`.

    Args:
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image; patients are counted.
        half_width: how narrow the interval must be.
        sensitivity: the one expected; nearer to 0.5 is the more cautious choice.
        level: of the interval.

    Raises:
        DataError: other labels, unequal lengths.
        UsageError: a number outside its range.
    """
    ill, _ = _patients(labels, clusters)
    expected = share_half_width(sensitivity, ill, level=level)
    needed = max(FEWEST, subjects_for_share(sensitivity, half_width=half_width, level=level))
    enough = ill >= FEWEST and expected <= half_width
    return Verdict(
        enough,
        expected,
        ill,
        needed,
        _text(enough, f"{_count(ill)} with the finding", ill, expected, half_width, needed),
    )


def _patients(labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"], clusters: Clusters) -> tuple[int, int]:
    """Patients with an image of each class; one may count for both."""
    same_length(len(labels), len(clusters), "clusters")
    truth, who = known_labels(labels), np.asarray(clusters)
    return len(np.unique(who[truth == 1])), len(np.unique(who[truth == 0]))


def _auroc_need(area: float, half_width: float, ratio: float, level: float) -> int:
    return positives_for_auroc(area, half_width=half_width, negatives_per_positive=ratio, level=level)


def _count(patients: int) -> str:
    return "1 patient" if patients == 1 else f"{patients} patients"


def _text(enough: bool, found: str, fewer: int, expected: float, wanted: float, needed: int) -> str:
    if enough:
        return f"enough: {found}; expected to be known to ± {expected:.3f}"
    if fewer < FEWEST:
        return f"too few to say: {found}; at least {needed} with are needed"
    return f"too few to say: {found}; ± {expected:.3f} expected, ± {wanted:.3f} wanted, which takes about {needed} with"


def _fewest(half_width_of: Callable[[int], float], wanted: float) -> int:
    """The smallest number whose half-width is as narrow as wanted; it only falls."""
    if not wanted > 0:
        raise UsageError(f"half_width={wanted}", "above 0, for example 0.05")
    high = 1
    while half_width_of(high) > wanted:
        high *= 2
        if high > MOST:
            raise UsageError(f"half_width={wanted}", f"one that fewer than {MOST} patients reach")
    low = high // 2  # too wide at low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if half_width_of(middle) > wanted else (low, middle)
    return high
