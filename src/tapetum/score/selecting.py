"""Which labels to doubt, at the rate that was estimated, and how right that was, class by class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from tapetum.score.given import Given
from tapetum.score.inputs import finite_scores, same_length


@dataclass(frozen=True)
class Selection:
    """How right a selection was; every entry 0..1, higher is better, NaN where undefined.

    Attributes:
        precision: of the labels doubted, the share that is wrong. recall: of the wrong labels, the share doubted.
        kept_precision: of the labels kept, the share that is right.
    """

    precision: float
    recall: float
    kept_precision: float


def doubted(quality: Float[np.ndarray, "n"], labels: Given, wrong: Float[np.ndarray, "k"]) -> Bool[np.ndarray, "n"]:
    """Of each class the labels of lowest quality, as many as were estimated to be wrong.

    Class by class, since one threshold for all classes throws the rare ones away.

    Args:
        quality: of a member of `score/noise`, higher = trust more.
        labels: the given classes.
        wrong: estimated share of wrong labels of each class, see `NoiseEstimate.wrong`; NaN = none is doubted.

    Raises:
        DataError: NaN, unequal lengths.

    Example:
        >>> quality, labels = np.array([0.9, 0.1, 0.8, 0.7]), np.array([0, 0, 0, 1])
        >>> doubted(quality, labels, np.array([0.34, 0.0])).tolist()
        [False, True, False, False]
    """
    values = finite_scores(quality)
    same_length(len(values), len(labels))
    found = np.zeros(len(values), bool)
    for c, share in enumerate(np.nan_to_num(wrong)):
        rows = np.flatnonzero(labels == c)
        found[rows[np.argsort(values[rows], kind="stable")[: round(float(share) * len(rows))]]] = True
    return found


def selection_of(doubt: Bool[np.ndarray, "n"], flipped: Bool[np.ndarray, "n"]) -> Selection:
    """Precision and recall of a selection against what is known to be wrong.

    Raises:
        DataError: unequal lengths.

    Example:
        >>> selection_of(np.array([True, True, False, False]), np.array([True, False, True, False]))
        Selection(precision=0.5, recall=0.5, kept_precision=0.5)
    """
    same_length(len(doubt), len(flipped))
    hits = int((doubt & flipped).sum())
    return Selection(
        _share(hits, int(doubt.sum())), _share(hits, int(flipped.sum())),
        _share(int((~doubt & ~flipped).sum()), int((~doubt).sum())),
    )  # fmt: skip


def selection_by_class(
    doubt: Bool[np.ndarray, "n"], flipped: Bool[np.ndarray, "n"], labels: Given, classes: int
) -> list[Selection]:
    """`selection_of` among the labels of each given class.

    Raises:
        DataError: unequal lengths.
    """
    same_length(len(doubt), len(labels))
    return [selection_of(doubt[labels == c], flipped[labels == c]) for c in range(classes)]


def tail_classes(labels: Given, classes: int) -> Bool[np.ndarray, "k"]:
    """Classes given to fewer images than the mean class; the others are the head.

    Example:
        >>> tail_classes(np.array([0, 0, 0, 0, 1, 1, 2]), 3).tolist()
        [False, True, True]
    """
    counts: Float64[np.ndarray, "k"] = np.array([(labels == c).sum() for c in range(classes)], dtype=np.float64)
    return counts < counts.mean()


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
