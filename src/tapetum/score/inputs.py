"""What a metric may be given, and the checks that refuse everything else instead of guessing.

A metric's module declares two constants: `TAKES`, the kinds of first argument it accepts, and `NEEDS`, which labels
must be present for its value to exist. `declaration("auroc_score")` reads both, so that a caller can choose
without a list.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from tapetum.core.errors import DataError
from tapetum.core.registry import Family

Takes = Literal["binary scores", "binary probabilities", "class probabilities"]
Needs = Literal["every class", "two classes", "positives", "negatives", "any label"]

Labels = Real[np.ndarray, "n"] | Bool[np.ndarray, "n"]
TOLERANCE = 1e-3  # rows of float16 softmax add up to 1 within this


@dataclass(frozen=True)
class Declaration:
    """What a metric says of itself.

    Attributes:
        takes: kinds of first argument. `binary scores`: `[n]`, any range, higher = more likely positive;
            `binary probabilities`: `[n]` in 0..1, of the positive class;
            `class probabilities`: `[n k]`, rows add up to 1.
        needs: labels that must be present, else the value is NaN.
        higher_is_better: the direction, which is also in the name (`_score` up, `_error` down).
    """

    takes: tuple[Takes, ...]
    needs: Needs
    higher_is_better: bool


def declaration(metric: str) -> Declaration:
    """Read a metric's declaration.

    Args:
        metric: a name of the family `tapetum.score.metrics`, without options.

    Raises:
        UsageError: no metric of that name.

    Example:
        >>> declaration("auroc_score").takes
        ('binary scores',)
    """
    module = importlib.import_module(Family("tapetum.score.metrics").member(metric).__module__)
    return Declaration(module.TAKES, module.NEEDS, metric.endswith("_score"))


def binary_labels(labels: Labels) -> Bool[np.ndarray, "n"]:
    """Labels 0 and 1 as booleans.

    Raises:
        DataError: an unknown (NaN) or another value.
    """
    wrong = ~np.isin(labels, (0, 1))
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {len(labels)} labels are neither 0 nor 1, first {labels[wrong][0]} in row "
            f"{int(np.argmax(wrong))}",
            "labels 0 or 1",
            "leave rows with unknown labels out",
        )
    return labels.astype(bool)


def known_labels(labels: Real[np.ndarray, "*shape"] | Bool[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Labels 0, 1 and NaN (unknown) as float64.

    Raises:
        DataError: any other value.
    """
    values = labels.astype(np.float64)
    wrong = ~(np.isnan(values) | (values == 0) | (values == 1))
    if wrong.any():
        raise DataError(f"{int(wrong.sum())} labels are neither 0, 1 nor NaN, first {values[wrong][0]}", "0, 1 or NaN")
    return values


def finite_scores(scores: Real[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """Scores as float64; infinite ones keep their rank, NaN is refused.

    Raises:
        DataError: a score is NaN.
    """
    values = scores.astype(np.float64)
    if np.isnan(values).any():
        raise DataError(
            f"{int(np.isnan(values).sum())} of {values.size} scores are NaN",
            "a number for every image",
            "tapetum verify",
        )
    return values


def same_length(first: int, second: int, what: str = "labels") -> None:
    """Refuse rows without a partner.

    Raises:
        DataError: the lengths differ.
    """
    if first != second:
        raise DataError(f"{first} rows of scores, {second} {what}", "one for each row")


def binary_scores(
    scores: Real[np.ndarray, "n"], labels: Labels
) -> tuple[Float64[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Check scores of the positive class in any range, and their labels.

    Raises:
        DataError: another shape, NaN, or labels other than 0 and 1.
    """
    if scores.ndim != 1:
        raise DataError(f"scores of shape {scores.shape}", "one score per image, [n]: that of the positive class")
    same_length(len(scores), len(labels))
    return finite_scores(scores), binary_labels(labels)


def binary_probabilities(
    probs: Float[np.ndarray, "n"], labels: Labels
) -> tuple[Float64[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """Check probabilities of the positive class, and their labels.

    Raises:
        DataError: another shape, NaN, a value outside 0..1 (logits?), or labels other than 0 and 1.
    """
    values, truth = binary_scores(probs, labels)
    _inside(values)
    return values, truth


def class_probabilities(
    probs: Float[np.ndarray, "n k"], labels: Labels
) -> tuple[Float64[np.ndarray, "n k"], Int[np.ndarray, "n"]]:
    """Check probabilities of exclusive classes and their labels 0..k-1.

    Raises:
        DataError: another shape, NaN, values outside 0..1 (logits?), rows that do not add up to 1 (several findings
            per image?), or a label that is no column.
    """
    if probs.ndim != 2:
        raise DataError(f"probabilities of shape {probs.shape}", "[n k]: one column per class")
    same_length(len(probs), len(labels))
    values = finite_scores(probs)
    _inside(values)
    apart = np.abs(values.sum(axis=1) - 1)
    if (apart > TOLERANCE).any():
        raise DataError(
            f"row {int(np.argmax(apart))} adds up to {values.sum(axis=1)[np.argmax(apart)]:.4f}",
            "exclusive classes whose probabilities add up to 1",
            "score findings that occur together one by one, as [n]",
        )
    wrong = ~np.isin(labels, np.arange(probs.shape[1]))
    if wrong.any():
        raise DataError(f"label {labels[wrong][0]} with {probs.shape[1]} columns", f"0 to {probs.shape[1] - 1}")
    return values, labels.astype(np.int64)


def _inside(values: Float64[np.ndarray, "*shape"]) -> None:
    if values.size and (values.min() < -TOLERANCE / 1000 or values.max() > 1 + TOLERANCE / 1000):
        raise DataError(
            f"values from {values.min():.4g} to {values.max():.4g}",
            "probabilities in 0..1",
            "turn logits into probabilities with a calibrator of tapetum.score.calibration",
        )
