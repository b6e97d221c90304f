"""Temperature scaling: one divisor for the logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Real
from scipy import optimize, special

from tapetum.core.errors import UsageError
from tapetum.score.calibrating import (
    NO_RELATION,
    ONE_CLASS,
    STEEPEST,
    checked_logits,
    class_labels,
    fitted_width,
    reasons_of,
    solved_columns,
)

__all__ = ["Temperature"]

MODES = ("sigmoid", "softmax")


@dataclass
class Temperature:
    """Divide the logits by a positive number, chosen by maximum likelihood.

    In mode `sigmoid` each column is a finding with a temperature of its own, in mode `softmax` the columns are
    exclusive classes that share one. The order is kept; a shift of the base rate is beyond it (see `platt`).

    Args:
        mode: `sigmoid` (labels `[n k]`: 0, 1 or NaN) or `softmax` (labels `[n]`: the class 0..k-1).

    Raises:
        UsageError: unknown mode.

    Example:
        >>> fitted = Temperature().fit(np.array([[4.0], [4.0], [4.0], [-4.0]]), np.array([[1.0], [1.0], [0.0], [0.0]]))
        >>> fitted(np.array([[4.0]])).round(2).tolist()
        [[0.75]]

    Source: Guo et al., ICML 2017, section 4.2.
    Differs: solved for the inverse temperature, where the loss is convex, by bracketing its derivative's root; one
    temperature per column for findings that occur together.
    """

    mode: Literal["sigmoid", "softmax"] = "sigmoid"
    temperatures: Float64[np.ndarray, "k"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)
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
        """One temperature for all columns keeps the largest the largest."""
        return self.mode == "softmax"

    def fit(
        self, logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"] | Real[np.ndarray, "n"]
    ) -> Temperature:
        """Fit on validation data; see the family's protocol."""
        found, reasons = (
            self._fit_softmax(logits, labels) if self.mode == "softmax" else self._fit_columns(logits, labels)
        )
        self.temperatures, self.uncalibrated = found, reasons
        return self

    def __call__(self, logits: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """Probabilities; see the family's protocol."""
        scaled = checked_logits(logits, fitted_width(self.temperatures)) / self.temperatures
        return special.expit(scaled) if self.mode == "sigmoid" else special.softmax(scaled, axis=1)

    def state(self) -> dict[str, np.ndarray]:
        """The temperatures."""
        return {"temperatures": self.temperatures}

    def restore(self, state: Mapping[str, np.ndarray]) -> Temperature:
        """Take the temperatures back."""
        self.temperatures = np.asarray(state["temperatures"], dtype=np.float64)
        self.uncalibrated = reasons_of(self.temperatures)
        return self

    @staticmethod
    def _fit_columns(
        logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]
    ) -> tuple[Float64[np.ndarray, "k"], dict[int, str]]:
        def solve(z: Float64[np.ndarray, "m"], y: Bool[np.ndarray, "m"]) -> list[float] | None:
            found = _temperature(lambda s: float(np.mean(z * (special.expit(s * z) - y))), z)
            return None if np.isnan(found) else [found]

        found, reasons = solved_columns(logits, labels, solve, 1)
        return found[0], reasons

    @staticmethod
    def _fit_softmax(
        logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n"]
    ) -> tuple[Float64[np.ndarray, "k"], dict[int, str]]:
        (values, classes), width = class_labels(logits, labels), logits.shape[1]
        if len(np.unique(classes)) < 2:
            return np.full(width, np.nan), dict.fromkeys(range(width), ONE_CLASS)
        values = values - values.max(axis=1, keepdims=True)
        of_label = values[np.arange(len(values)), classes]
        found = _temperature(
            lambda s: float(np.mean(np.sum(values * special.softmax(s * values, axis=1), axis=1) - of_label)), values
        )
        return np.full(width, found), dict.fromkeys(range(width), NO_RELATION) if np.isnan(found) else {}


def _temperature(slope: Callable[[float], float], logits: Float64[np.ndarray, "*shape"]) -> float:
    """Root of the loss's derivative by the inverse temperature, which rises; NaN if it is not positive."""
    largest = float(np.abs(logits).max())
    if slope(0.0) >= 0:
        return float("nan")
    steepest = STEEPEST / largest
    if slope(steepest) <= 0:
        return 1 / steepest
    root = optimize.root_scalar(slope, bracket=(0.0, steepest), method="brentq", xtol=1e-12 * steepest)
    return 1 / float(root.root)
