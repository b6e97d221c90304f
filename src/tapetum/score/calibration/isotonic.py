"""Isotonic regression: the best rising step function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float64, Real
from scipy import optimize

from tapetum.score.calibrating import NO_RELATION, checked_logits, columns, fitted_width, reasons_of

__all__ = ["Isotonic"]

MODES = ("sigmoid",)


@dataclass
class Isotonic:
    """Rising least-squares fit of the label on the logit, column by column; linear between its steps, flat outside.

    It has no shape to get wrong and needs many labels (hundreds) not to follow noise. It makes ties, and can say
    exactly 0 or 1. A column whose best rising fit is flat is left uncalibrated.

    Example:
        >>> fitted = Isotonic().fit(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0.0], [1.0], [0.0], [1.0]]))
        >>> fitted(np.array([[1.5]])).tolist()
        [[0.5]]

    Source: Zadrozny and Elkan, KDD 2002. Differs: linear between steps, as scikit-learn does.
    """

    knots: Float64[np.ndarray, "m 3"] = field(default_factory=lambda: np.empty((0, 3)), init=False, repr=False)
    calibrated: Float64[np.ndarray, "k"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    uncalibrated: Mapping[int, str] = field(default_factory=dict[int, str], init=False, repr=False)

    @property
    def preserves_order(self) -> bool:
        """A higher logit never gets a lower probability; it may get the same."""
        return True

    @property
    def preserves_argmax(self) -> bool:
        """Columns move apart."""
        return False

    def fit(self, logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]) -> Isotonic:
        """Fit on validation data; see the family's protocol."""
        parts, reasons = [np.empty((0, 3))], dict[int, str]()
        for j, (z, truth, reason) in enumerate(columns(logits, labels)):
            x, y = (np.empty(0), np.empty(0)) if reason else _steps(z, truth)
            if len(y) and y[0] < y[-1]:
                parts.append(np.stack([np.full(len(x), float(j)), x, y], axis=1))
            else:
                reasons[j] = reason or NO_RELATION
        self.knots, self.uncalibrated = np.concatenate(parts), reasons
        self.calibrated = np.array([np.nan if j in reasons else 1.0 for j in range(logits.shape[1])])
        return self

    def __call__(self, logits: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """Probabilities; see the family's protocol."""
        values = checked_logits(logits, fitted_width(self.calibrated))
        probs = np.full(values.shape, np.nan)
        for j in np.flatnonzero(self.calibrated == 1):
            _, x, y = self.knots[self.knots[:, 0] == j].T
            probs[:, j] = np.interp(values[:, j], x, y)
        return probs

    def state(self) -> dict[str, np.ndarray]:
        """The knots (column, logit, probability) and which columns have any."""
        return {"knots": self.knots, "calibrated": self.calibrated}

    def restore(self, state: Mapping[str, np.ndarray]) -> Isotonic:
        """Take the knots back."""
        self.knots = np.asarray(state["knots"], dtype=np.float64)
        self.calibrated = np.asarray(state["calibrated"], dtype=np.float64)
        self.uncalibrated = reasons_of(self.calibrated)
        return self


def _steps(
    z: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"]
) -> tuple[Float64[np.ndarray, "m"], Float64[np.ndarray, "m"]]:
    """Knots of the rising fit: equal logits are one point, and points inside a flat stretch are dropped."""
    x, place, weight = np.unique(z, return_inverse=True, return_counts=True)
    fit = optimize.isotonic_regression(np.bincount(place, truth) / weight, weights=weight.astype(np.float64))
    y = np.clip(fit.x, 0.0, 1.0)
    inside = np.zeros(len(y), bool)
    inside[1:-1] = (y[1:-1] == y[:-2]) & (y[1:-1] == y[2:])
    return x[~inside], y[~inside]
