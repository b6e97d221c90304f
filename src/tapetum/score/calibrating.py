"""What the calibrators share: checked columns, and the reasons for which a column cannot be calibrated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Bool, Float, Float64, Real

from tapetum.core.errors import DataError, UsageError
from tapetum.score.inputs import finite_scores, known_labels

NO_LABELS = "no labels"
ONE_CLASS = "labels of one class only"
NO_RELATION = "the logits do not rise with the labels"
STORED = "was not calibrated when this was stored"


def columns(
    logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]
) -> Iterator[tuple[Float64[np.ndarray, "m"], Bool[np.ndarray, "m"], str]]:
    """Each column's logits and labels where the label is known, and why it cannot be calibrated (`""` if it can).

    Raises:
        DataError: NaN or infinite logits, unequal shapes, labels other than 0, 1 and NaN.
    """
    values = checked_logits(logits)
    if values.shape != labels.shape:
        raise DataError(f"logits {values.shape}, labels {labels.shape}", "one label per logit, NaN where unknown")
    for z, y in zip(values.T, known_labels(labels).T, strict=True):
        known = ~np.isnan(y)
        truth = y[known] == 1
        reason = NO_LABELS if not known.any() else ONE_CLASS if truth.all() or not truth.any() else ""
        yield z[known], truth, reason


def checked_logits(logits: Float[np.ndarray, "n k"], width: int | None = None) -> Float64[np.ndarray, "n k"]:
    """Finite logits of the expected number of columns, as float64.

    Raises:
        DataError: another shape, NaN or infinite values.
    """
    if logits.ndim != 2 or (width is not None and logits.shape[1] != width):
        raise DataError(f"logits of shape {logits.shape}", f"[n {'k' if width is None else width}]")
    values = finite_scores(logits)
    if np.isinf(values).any():
        raise DataError("infinite logits", "finite logits", "clip probabilities before taking their logit")
    return values


def fitted_width(parameters: Float64[np.ndarray, "k"]) -> int:
    """Number of fitted columns.

    Raises:
        UsageError: nothing was fitted yet.
    """
    if not len(parameters):
        raise UsageError("the calibrator was not fitted", "fit(logits, labels) on validation data first")
    return len(parameters)


def reasons_of(parameters: Float64[np.ndarray, "k"]) -> Mapping[int, str]:
    """The reasons left after storing: only which columns, no longer why."""
    return {int(j): STORED for j in np.flatnonzero(np.isnan(parameters))}
