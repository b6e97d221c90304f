"""OOD detection as a whole: near, far, and images that only look different; a threshold from known images alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Real

from tapetum.core.errors import DataError, UsageError
from tapetum.score.inputs import finite_scores, same_length
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.metrics.average_precision_score import average_precision_score
from tapetum.score.metrics.fpr_at_95_tpr_error import fpr_at_95_tpr_error

KINDS = ("id", "shifted", "near", "far")
Policy = Literal["accept", "leave out", "refuse"]


@dataclass(frozen=True)
class Detection:
    """How well OOD images of one kind are told from those to be accepted.

    Attributes:
        auroc: chance that an OOD image scores higher; 0.5 = no better than chance.
        average_precision_ood, average_precision_id: with the named class as positive; by chance its share.
        fpr95_ood: share of accepted kinds refused where 95 % of the OOD images are (OOD positive). Lower is better.
        fpr95_id: share of OOD images accepted where 95 % of the accepted kinds are (those positive). Lower is better.
        accepted, refused: number of images on either side.
    """

    auroc: float
    average_precision_ood: float
    average_precision_id: float
    fpr95_ood: float
    fpr95_id: float
    accepted: int
    refused: int


def detection(scores: Real[np.ndarray, "n"], ood: Bool[np.ndarray, "n"]) -> Detection:
    """All measures of one comparison.

    Args:
        scores: higher = more OOD.
        ood: which images are.

    Returns:
        NaN where a side is empty.

    Raises:
        DataError: NaN among the scores, or unequal lengths.

    Example:
        >>> detection(np.array([0.1, 0.4, 0.3, 0.9]), np.array([False, False, True, True])).auroc
        0.75
    """
    known = ~np.asarray(ood, dtype=bool)
    return Detection(
        auroc_score(scores, ~known),
        average_precision_score(scores, ~known),
        average_precision_score(-scores, known),
        fpr_at_95_tpr_error(scores, ~known),
        fpr_at_95_tpr_error(-scores, known),
        int(known.sum()),
        int((~known).sum()),
    )


def full_spectrum(
    scores: Real[np.ndarray, "n"], kinds: Sequence[str] | np.ndarray, *, shifted: Policy
) -> dict[str, Detection]:
    """Near and far OOD images against those in distribution, with a stated policy for covariate shift.

    Args:
        scores: higher = more OOD.
        kinds: of each image: `id`, `shifted` (known findings, another camera or site), `near` (the same kind of image,
            unknown findings), `far` (another kind of image).
        shifted: `accept` = shifted images are to be accepted as known ones are (full-spectrum OOD); `leave out` = only
            unshifted ones count (standard OOD); `refuse` = they are OOD images, and get a row of their own.

    Returns:
        `near`, `far` and, where they are refused, `shifted`: what is told from the accepted images. No pooled number:
        it would depend on how many of each there are.

    Raises:
        UsageError: another policy. DataError: another kind, NaN among the scores, or unequal lengths.

    Example:
        >>> found = full_spectrum(np.array([0.1, 0.6, 0.5, 0.9]), ["id", "shifted", "near", "far"], shifted="accept")
        >>> found["near"].auroc, found["far"].auroc
        (0.5, 1.0)

    Source: Yang, Zhou and Liu, IJCV 2023, arXiv 2204.05306 (full-spectrum); OpenOOD v1.5, arXiv 2306.09301.
    Differs: the policy has to be named; refusing shifted images is a third one, as benchmarks across modalities do.
    """
    if shifted not in ("accept", "leave out", "refuse"):
        raise UsageError(f"shifted={shifted!r}", "'accept' | 'leave out' | 'refuse'")
    values, each = finite_scores(scores), np.asarray(kinds)
    same_length(len(values), len(each), "kinds")
    unknown = sorted(set(each.tolist()) - set(KINDS))
    if unknown:
        raise DataError(f"kinds {unknown}", f"one of {', '.join(KINDS)}")
    accepted = (each == "id") | ((each == "shifted") & (shifted == "accept"))
    found: dict[str, Detection] = {}
    for kind in ("near", "far", *(("shifted",) if shifted == "refuse" else ())):
        counted = accepted | (each == kind)
        found[kind] = detection(values[counted], (each == kind)[counted])
    return found


def threshold_between(known: Real[np.ndarray, "n"], ood: Real[np.ndarray, "m"]) -> float:
    """The threshold at which the share of known images kept and that of OOD images refused add up to most (Youden).

    Args:
        known: scores of known images, higher = more OOD.
        ood: of OOD images, neither of which is tested.

    Returns:
        Refused is `score >= threshold`; of equally good ones the lowest, halfway between the two scores that it tells
        apart; at either end the lowest score, or infinity. NaN where either side is empty.

    Raises:
        DataError: NaN among the scores.

    Example:
        >>> threshold_between(np.array([0.0, 0.25, 0.75]), np.array([0.5, 1.0]))
        0.375
    """
    kept, refused = np.sort(finite_scores(known)), np.sort(finite_scores(ood))
    if not len(kept) or not len(refused):
        return math.nan
    limits = np.append(np.unique(np.concatenate([kept, refused])), np.inf)
    right = np.searchsorted(kept, limits) / len(kept) + 1 - np.searchsorted(refused, limits) / len(refused)
    best = int(np.argmax(right))
    if not 0 < best < len(limits) - 1:
        return float(limits[best])
    middle = float(limits[best - 1] + limits[best]) / 2
    return middle if middle > limits[best - 1] else float(limits[best])


def threshold_for_kept(scores: Real[np.ndarray, "n"], *, kept: float = 0.95) -> float:
    """The lowest threshold at which at least the stated share of known images is kept; refused is `score >= threshold`.

    Args:
        scores: of known images that nothing was fitted on (validation), higher = more OOD.
        kept: wanted share, above 0 and up to 1.

    Returns:
        Just above a score that occurs; NaN without images.

    Raises:
        UsageError: `kept` not in (0, 1]. DataError: NaN among the scores.

    Example:
        >>> values = np.array([0.1, 0.2, 0.3, 0.4])
        >>> (values >= threshold_for_kept(values, kept=0.75)).tolist()
        [False, False, False, True]
    """
    if not 0 < kept <= 1:
        raise UsageError(f"kept={kept}", "a share above 0 and up to 1, for example 0.95")
    ordered = np.sort(finite_scores(scores))
    if not len(ordered):
        return math.nan
    return float(np.nextafter(ordered[math.ceil(kept * len(ordered) - 1e-9) - 1], np.inf))
