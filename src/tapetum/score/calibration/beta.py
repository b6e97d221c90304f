"""Beta calibration: a curve with two slopes, one near 0 and one near 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float64, Real
from scipy import special

from tapetum.score.calibrating import checked_logits, fitted_width, reasons_of, rising_line, solved_columns

__all__ = ["Beta"]

MODES = ("sigmoid",)


@dataclass
class Beta:
    """log odds = a ln p - b ln(1 - p) + c of the stated probability p, with a, b >= 0, column by column.

    It holds the identity (a = b = 1, c = 0), every line of `platt` (a = b), and curves that bend more on one side: a
    model whose small probabilities are right and whose large ones are not.

    Example:
        >>> fitted = Beta().fit(np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([[0.0], [1.0], [0.0], [1.0]]))
        >>> bool((fitted.parameters[:2] >= 0).all())
        True

    Source: Kull, Silva Filho and Flach, AISTATS 2017. Differs: the constraint is kept while solving, instead of
    dropping a negative slope and solving again; slopes are bounded where the classes are fully apart.
    """

    parameters: Float64[np.ndarray, "3 k"] = field(default_factory=lambda: np.empty((3, 0)), init=False, repr=False)
    uncalibrated: Mapping[int, str] = field(default_factory=dict[int, str], init=False, repr=False)

    @property
    def preserves_order(self) -> bool:
        """Both parts rise."""
        return True

    @property
    def preserves_argmax(self) -> bool:
        """Columns move apart."""
        return False

    def fit(self, logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]) -> Beta:
        """Fit on validation data; see the family's protocol."""
        self.parameters, self.uncalibrated = solved_columns(logits, labels, _curve, 3)
        return self

    def __call__(self, logits: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """Probabilities; see the family's protocol."""
        fitted_width(self.parameters[0])
        low, high = _sides(checked_logits(logits, self.parameters.shape[1]))
        a, b, c = self.parameters
        return special.expit(a * low + b * high + c)

    def state(self) -> dict[str, np.ndarray]:
        """a, b and c of each column."""
        return {"beta": self.parameters}

    def restore(self, state: Mapping[str, np.ndarray]) -> Beta:
        """Take a, b and c back."""
        self.parameters = np.asarray(state["beta"], dtype=np.float64)
        self.uncalibrated = reasons_of(self.parameters[0])
        return self


def _sides(z: Float64[np.ndarray, "*shape"]) -> tuple[Float64[np.ndarray, "*shape"], Float64[np.ndarray, "*shape"]]:
    """The parts ln p and -ln(1 - p), straight from the logit, so that neither is ever infinite."""
    return special.log_expit(z), -special.log_expit(-z)


def _curve(z: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"]) -> Float64[np.ndarray, "3"] | None:
    return rising_line(np.stack(_sides(z)), truth)
