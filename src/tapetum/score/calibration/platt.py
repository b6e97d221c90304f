"""Platt scaling: a slope and an intercept per finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float64, Real
from scipy import optimize, special

from tapetum.score.calibrating import checked_logits, fitted_width, reasons_of, solved_columns

__all__ = ["Platt"]

MODES = ("sigmoid",)


@dataclass
class Platt:
    """Logistic regression of the label on the logit, column by column.

    It mends the slope and the base rate. A slope that is not positive would turn the model's ranking round: such a
    column is left uncalibrated.

    Example:
        >>> fitted = Platt().fit(np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([[0.0], [0.0], [1.0], [1.0]]))
        >>> bool(fitted.slopes[0] > 0)
        True

    Source: Platt, Advances in Large Margin Classifiers 1999; Lin, Lin and Weng, Machine Learning 2007.
    Differs: solved on standardised logits by BFGS instead of Newton's method.
    """

    slopes: Float64[np.ndarray, "k"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    intercepts: Float64[np.ndarray, "k"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    uncalibrated: Mapping[int, str] = field(default_factory=dict[int, str], init=False, repr=False)

    @property
    def preserves_order(self) -> bool:
        """Slopes are positive."""
        return True

    @property
    def preserves_argmax(self) -> bool:
        """Columns move apart."""
        return False

    def fit(self, logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]) -> Platt:
        """Fit on validation data; see the family's protocol."""
        (self.slopes, self.intercepts), self.uncalibrated = solved_columns(logits, labels, _line, 2)
        return self

    def __call__(self, logits: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """Probabilities; see the family's protocol."""
        values = checked_logits(logits, fitted_width(self.slopes))
        return special.expit(values * self.slopes + self.intercepts)

    def state(self) -> dict[str, np.ndarray]:
        """Slopes and intercepts."""
        return {"slopes": self.slopes, "intercepts": self.intercepts}

    def restore(self, state: Mapping[str, np.ndarray]) -> Platt:
        """Take slopes and intercepts back."""
        self.slopes = np.asarray(state["slopes"], dtype=np.float64)
        self.intercepts = np.asarray(state["intercepts"], dtype=np.float64)
        self.uncalibrated = reasons_of(self.slopes)
        return self


def _line(z: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"]) -> tuple[float, float] | None:
    """Slope and intercept of greatest likelihood, targets drawn in as Platt does so that they stay finite."""
    spread = float(z.std())
    if spread <= 1e-12 * max(1.0, float(np.abs(z).max())):
        return None
    positives, negatives = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    x = np.stack([(z - z.mean()) / spread, np.ones(len(z))])

    def loss(line: Float64[np.ndarray, "2"]) -> tuple[float, Float64[np.ndarray, "2"]]:
        logit = line @ x
        return float(np.mean(np.logaddexp(0, logit) - target * logit)), x @ (special.expit(logit) - target) / len(z)

    start = np.array([0.0, special.logit(target.mean())])
    slope, intercept = optimize.minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x
    return (slope / spread, intercept - slope * z.mean() / spread) if slope > 0 else None
