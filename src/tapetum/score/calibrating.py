"""What the calibrators share: checked columns, the fits, and the reasons for which a column cannot be calibrated."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real
from scipy import optimize, special

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.score.inputs import finite_scores, known_labels, same_length

NO_LABELS = "no labels"
ONE_CLASS = "labels of one class only"
NO_RELATION = "the logits do not rise with the labels"
STORED = "was not calibrated when this was stored"
STEEPEST = 1e3  # largest |logit| x weight: classes that are fully apart have no finite optimum
SOLVER = {"gtol": 1e-10, "ftol": 1e-15, "maxiter": 5000, "maxfun": 50000}


def modes(spec: str) -> tuple[str, ...]:
    """What a calibrator can read: `sigmoid`, `softmax`, or both, told apart by its option `mode`.

    Args:
        spec: of a member of `tapetum.score.calibration`.

    Raises:
        UsageError: no calibrator of that name.

    Example:
        >>> modes("temperature")
        ('sigmoid', 'softmax')
    """
    return importlib.import_module(Family("tapetum.score.calibration").member(Spec.parse(spec).name).__module__).MODES


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


def solved_columns(
    logits: Float[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"],
    solve: Callable[
        [Float64[np.ndarray, "m"], Bool[np.ndarray, "m"]], Sequence[float] | Float64[np.ndarray, "p"] | None
    ],
    size: int,
) -> tuple[Float64[np.ndarray, "p k"], dict[int, str]]:
    """Parameters of each column by itself, NaN where there are none, and why.

    Args:
        logits: any finite values.
        labels: 0, 1 or NaN.
        solve: logits and labels of one column to its parameters; None where the logits do not rise with the labels.
        size: number of parameters per column.

    Raises:
        DataError: see `columns`.
    """
    found, reasons = np.full((size, logits.shape[1]), np.nan), dict[int, str]()
    for j, (z, truth, reason) in enumerate(columns(logits, labels)):
        solved = None if reason else solve(z, truth)
        if solved is None:
            reasons[j] = reason or NO_RELATION
        else:
            found[:, j] = solved
    return found, reasons


def class_labels(
    logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n"]
) -> tuple[Float64[np.ndarray, "n k"], Int[np.ndarray, "n"]]:
    """Checked logits and labels of exclusive classes, for the mode softmax.

    Raises:
        DataError: NaN or infinite logits, unequal lengths, or labels other than the classes 0..k-1.
    """
    values, width = checked_logits(logits), logits.shape[1]
    same_length(len(values), len(labels))
    if labels.ndim != 1 or not np.isin(labels, np.arange(width)).all():
        raise DataError(f"labels of shape {labels.shape}", f"[n] classes 0 to {width - 1} in mode softmax")
    return values, labels.astype(np.int64)


def rising_line(
    features: Float64[np.ndarray, "p n"], truth: Bool[np.ndarray, "n"]
) -> Float64[np.ndarray, "p+1"] | None:
    """Logistic regression with weights that are not negative, and an intercept (the last one).

    Args:
        features: rows that rise with the logit.
        truth: both classes are there.

    Returns:
        The weights of greatest likelihood, bounded by `STEEPEST` where the classes are fully apart; None where all of
        them are 0.
    """
    spread, mean = features.std(axis=1), features.mean(axis=1)
    constant = spread <= 1e-12 * np.maximum(1.0, np.abs(features).max(axis=1))
    if constant.all():
        return None
    scale = np.where(constant, np.inf, spread)
    x = np.concatenate([(features - mean[:, None]) / scale[:, None], np.ones((1, len(truth)))])

    def loss(line: Float64[np.ndarray, "p+1"]) -> tuple[float, Float64[np.ndarray, "p+1"]]:
        logit = line @ x
        value = float(np.mean(np.logaddexp(0, logit) - truth * logit))
        return value, x @ (special.expit(logit) - truth) / len(truth)

    start = np.append(np.full(len(features), 1 / len(features)), special.logit(truth.mean()))
    bounds = [(0.0, STEEPEST)] * len(features) + [(None, None)]
    line = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=SOLVER).x
    weights = line[:-1] / scale
    return np.append(weights, line[-1] - weights @ mean) if (weights > 0).any() else None


def softmax_loss(
    scores: Float64[np.ndarray, "n k"], classes: Int[np.ndarray, "n"]
) -> tuple[float, Float64[np.ndarray, "n k"]]:
    """Mean negative log likelihood of the classes, and its derivative by each score."""
    logs = special.log_softmax(scores, axis=1)
    rows = np.arange(len(classes))
    slopes = np.exp(logs)
    slopes[rows, classes] -= 1
    return float(-logs[rows, classes].mean()), slopes / len(classes)
