"""What the methods on label noise share: checked probabilities beside given labels, margins, confident thresholds."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from tapetum.core.errors import DataError
from tapetum.score.inputs import class_probabilities

Given = Real[np.ndarray, "n"] | Bool[np.ndarray, "n"]
SMALLEST = 1e-6  # below it a probability is no smaller for a logarithm or a quotient
SLACK = 1e-6  # a probability this near to a threshold has reached it: those of equal rows differ by rounding


def as_classes(probs: Float[np.ndarray, "*e n"]) -> Float[np.ndarray, "*e n 2"]:
    """Probabilities of a finding as those of two classes, 0 absent and 1 present.

    Example:
        >>> as_classes(np.array([0.25])).tolist()
        [[0.75, 0.25]]
    """
    return np.stack([1 - probs, probs], axis=-1)


def members(
    probs: Float[np.ndarray, "*e n k"], labels: Given
) -> tuple[Float64[np.ndarray, "e n k"], Int[np.ndarray, "n"]]:
    """Every epoch's or network's probabilities, checked, and the given labels; one member where there is no axis `e`.

    Args:
        probs: rows add up to 1; for a finding see `as_classes`.
        labels: the class given to each image, 0 to k - 1.

    Raises:
        DataError: another shape, NaN, logits, rows that do not add up to 1, or a label that is no column.
    """
    if probs.ndim < 2:
        raise DataError(f"probabilities of shape {probs.shape}", "[n k] or [e n k]; a finding through as_classes")
    several = probs.reshape(-1, *probs.shape[-2:])
    if not len(several):
        raise DataError("no epoch or network", "at least one")
    checked = [class_probabilities(member, labels) for member in several]
    return np.stack([values for values, _ in checked]), checked[0][1]


def mean_member(
    probs: Float[np.ndarray, "*e n k"], labels: Given
) -> tuple[Float64[np.ndarray, "n k"], Int[np.ndarray, "n"]]:
    """As `members`, averaged over epochs or networks.

    Raises:
        DataError: see `members`.
    """
    several, given = members(probs, labels)
    return several.mean(axis=0), given


def of_given(values: Float[np.ndarray, "*e n k"], given: Int[np.ndarray, "n"]) -> Float[np.ndarray, "*e n"]:
    """The given class's value in every row."""
    return np.take_along_axis(values, np.broadcast_to(given[:, None], (*values.shape[:-1], 1)), axis=-1)[..., 0]


def best_other(values: Float[np.ndarray, "*e n k"], given: Int[np.ndarray, "n"]) -> Float[np.ndarray, "*e n"]:
    """The largest value of the classes that were not given."""
    own = np.arange(values.shape[-1]) == given[:, None]
    return np.where(own, -np.inf, values).max(axis=-1)


def class_thresholds(
    probs: Float64[np.ndarray, "n k"], given: Int[np.ndarray, "n"], weights: Float64[np.ndarray, "n"] | None = None
) -> Float64[np.ndarray, "k"]:
    """Mean probability of each class among the images that were given it; NaN for a class given to none."""
    own = of_given(probs, given)
    total = np.bincount(given, own if weights is None else weights * own, probs.shape[1])
    count = np.bincount(given, weights, probs.shape[1]).astype(np.float64)
    return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)


def confident_class(probs: Float64[np.ndarray, "n k"], thresholds: Float64[np.ndarray, "k"]) -> Int[np.ndarray, "n"]:
    """The most probable class among those whose threshold is reached, -1 where none is.

    Example:
        >>> confident_class(np.array([[0.5, 0.3, 0.2], [0.4, 0.3, 0.3]]), np.array([0.9, 0.25, 0.5])).tolist()
        [1, 1]
    """
    reached = probs >= np.where(np.isnan(thresholds), np.inf, thresholds) - SLACK
    return np.where(reached.any(axis=1), np.where(reached, probs, -1.0).argmax(axis=1), -1)


def without_thresholds(probs: Float64[np.ndarray, "n k"], given: Int[np.ndarray, "n"]) -> Float64[np.ndarray, "n k"]:
    """Probabilities less what is usual for each class, made positive and to add up to 1 again.

    A class of which the model is never sure, as it is rare or hard, is no longer distrusted as a whole.

    Source: Northcutt, Jiang and Chuang, JAIR 2021, section 5. Differs: nothing.
    """
    usual = np.nan_to_num(class_thresholds(probs, given))
    moved = probs - usual + usual.max()
    return moved / moved.sum(axis=1, keepdims=True)
