"""Vector scaling: a divisor and a shift for every class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real
from scipy import optimize, special

from tapetum.core.errors import UsageError
from tapetum.score.calibrating import (
    NO_LABELS,
    NO_RELATION,
    SOLVER,
    STEEPEST,
    checked_logits,
    class_labels,
    fitted_width,
    reasons_of,
    rising_line,
    softmax_loss,
    solved_columns,
)

__all__ = ["Vector"]

MODES = ("sigmoid", "softmax")


@dataclass
class Vector:
    """Multiply each column's logit by a weight, add a bias, both of greatest likelihood.

    In mode `softmax` the classes are fitted together: this is the published method. It needs an image of every class,
    or a bias would be infinite; then no column is calibrated. In mode `sigmoid` the columns never meet, and what is
    left is logistic regression of each label on its logit: `platt` without the targets drawn in, so that few
    validation images of a finding are taken at their word.

    Args:
        mode: `softmax` (labels `[n]`: the class 0..k-1) or `sigmoid` (labels `[n k]`: 0, 1 or NaN).

    Raises:
        UsageError: unknown mode.

    Example:
        >>> fitted = Vector("sigmoid").fit(np.array([[4.0], [4.0], [4.0], [-4.0]]), np.array([[1.0], [1], [0], [0]]))
        >>> fitted(np.array([[4.0]])).round(2).tolist()
        [[0.67]]

    Source: Guo et al., ICML 2017, section 4.2. Differs: weights are never negative, so that no class is turned round;
    biases add up to 0 in mode `softmax`, where a constant makes no difference.
    """

    mode: Literal["sigmoid", "softmax"] = "sigmoid"
    weights: Float64[np.ndarray, "k"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    biases: Float64[np.ndarray, "k"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    uncalibrated: Mapping[int, str] = field(default_factory=dict[int, str], init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in ("sigmoid", "softmax"):
            raise UsageError(f"mode={self.mode!r}", "sigmoid or softmax")

    @property
    def preserves_order(self) -> bool:
        """Within a column, in mode `sigmoid`; with softmax the other columns have a say."""
        return self.mode == "sigmoid"

    @property
    def preserves_argmax(self) -> bool:
        """Columns move apart."""
        return False

    def fit(self, logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"] | Real[np.ndarray, "n"]) -> Vector:
        """Fit on validation data; see the family's protocol."""
        if self.mode == "sigmoid":
            (self.weights, self.biases), self.uncalibrated = solved_columns(logits, labels, _line, 2)
            return self
        values, classes = class_labels(logits, labels)
        width = values.shape[1]
        absent = np.flatnonzero(np.bincount(classes, minlength=width) == 0)
        weights, biases = _together(values, classes) if not len(absent) else np.full((2, width), np.nan)
        self.uncalibrated = {}
        if len(absent):
            self.uncalibrated = dict.fromkeys(range(width), f"{NO_LABELS} of class {absent[0]}")
        elif not (weights > 0).any():
            weights, biases = np.full((2, width), np.nan)
            self.uncalibrated = dict.fromkeys(range(width), NO_RELATION)
        self.weights, self.biases = weights, biases
        return self

    def __call__(self, logits: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """Probabilities; see the family's protocol."""
        scaled = checked_logits(logits, fitted_width(self.weights)) * self.weights + self.biases
        return special.expit(scaled) if self.mode == "sigmoid" else special.softmax(scaled, axis=1)

    def state(self) -> dict[str, np.ndarray]:
        """Weights and biases."""
        return {"weights": self.weights, "biases": self.biases}

    def restore(self, state: Mapping[str, np.ndarray]) -> Vector:
        """Take weights and biases back."""
        self.weights = np.asarray(state["weights"], dtype=np.float64)
        self.biases = np.asarray(state["biases"], dtype=np.float64)
        self.uncalibrated = reasons_of(self.weights)
        return self


def _line(z: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"]) -> Float64[np.ndarray, "2"] | None:
    return rising_line(z[None], truth)


def _together(
    values: Float64[np.ndarray, "n k"], classes: Int[np.ndarray, "n"]
) -> tuple[Float64[np.ndarray, "k"], Float64[np.ndarray, "k"]]:
    """Weights and biases of greatest likelihood; a convex problem, solved on logits of unit spread."""
    width, spread = values.shape[1], float(values.std()) or 1.0
    x = values / spread

    def loss(both: Float64[np.ndarray, "2k"]) -> tuple[float, Float64[np.ndarray, "2k"]]:
        value, slopes = softmax_loss(x * both[:width] + both[width:], classes)
        return value, np.concatenate([(x * slopes).sum(axis=0), slopes.sum(axis=0)])

    start = np.concatenate([np.ones(width), np.zeros(width)])
    bounds = [(0.0, STEEPEST)] * width + [(None, None)] * width
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=SOLVER).x
    return found[:width] / spread, found[width:] - found[width:].mean()
