"""Dirichlet calibration: every class may correct every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Float64, Int, Real
from scipy import optimize, special

from tapetum.core.errors import UsageError
from tapetum.score.calibrating import (
    NO_RELATION,
    ONE_CLASS,
    SOLVER,
    checked_logits,
    class_labels,
    fitted_width,
    reasons_of,
    softmax_loss,
)

__all__ = ["Dirichlet"]

MODES = ("softmax",)
SMALLEST = 1e-12  # of a probability before its logarithm: beyond it a class is as good as excluded


@dataclass
class Dirichlet:
    """softmax(W ln p + b) of the stated probabilities of exclusive classes, p = softmax(logits).

    It mends confusions between two classes, which `temperature` and `vector` cannot. It has k (k + 1) numbers to find:
    with few images per class the penalty decides what it says.

    Args:
        off_diagonal: weight of the mean square of W off its diagonal, beside the mean negative log likelihood.
        bias: weight of the mean square of b.

    Raises:
        UsageError: a weight below 0, or both 0.

    Example:
        >>> logits, labels = 4 * np.eye(3)[[0, 0, 1, 1, 2, 2]], np.array([0, 1, 1, 2, 2, 0])
        >>> Dirichlet().fit(logits, labels)(logits[:1]).round(1).tolist()
        [[0.5, 0.5, 0.0]]

    Source: Kull et al., NeurIPS 2019, with its off-diagonal and intercept regularisation (ODIR). Differs: both weights
    are given instead of searched; a penalty on b keeps it finite where a class has no image.
    """

    off_diagonal: float = 0.01
    bias: float = 0.01
    weights: Float64[np.ndarray, "k k"] = field(default_factory=lambda: np.empty((0, 0)), init=False, repr=False)
    biases: Float64[np.ndarray, "k"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    uncalibrated: Mapping[int, str] = field(default_factory=dict[int, str], init=False, repr=False)

    def __post_init__(self) -> None:
        if min(self.off_diagonal, self.bias) < 0 or self.off_diagonal == self.bias == 0:
            raise UsageError(f"off_diagonal={self.off_diagonal}, bias={self.bias}", "not negative, not both 0")

    @property
    def preserves_order(self) -> bool:
        """All columns have a say in each."""
        return False

    @property
    def preserves_argmax(self) -> bool:
        """It may move images from one class to another."""
        return False

    def fit(self, logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n"]) -> Dirichlet:
        """Fit on validation data; labels are the classes 0..k-1; see the family's protocol."""
        values, classes = class_labels(logits, labels)
        width = values.shape[1]
        one = len(np.unique(classes)) < 2
        weights, biases = (np.empty((0, 0)), np.empty(0)) if one else self._solve(_logs(values), classes)
        reason = ONE_CLASS if one else "" if (np.diag(weights) > 0).any() else NO_RELATION
        if reason:
            weights, biases = np.full((width, width), np.nan), np.full(width, np.nan)
        self.weights, self.biases = weights, biases
        self.uncalibrated = dict.fromkeys(range(width), reason) if reason else {}
        return self

    def _solve(
        self, logs: Float64[np.ndarray, "n k"], classes: Int[np.ndarray, "n"]
    ) -> tuple[Float64[np.ndarray, "k k"], Float64[np.ndarray, "k"]]:
        k = logs.shape[1]
        off = ~np.eye(k, dtype=bool) * (self.off_diagonal / max(k * (k - 1), 1))
        fixed = self.bias / k

        def loss(flat: Float64[np.ndarray, "p"]) -> tuple[float, Float64[np.ndarray, "p"]]:
            w, b = flat[: k * k].reshape(k, k), flat[k * k :]
            value, slopes = softmax_loss(logs @ w.T + b, classes)
            value += float((off * w**2).sum() + fixed * (b**2).sum())
            by_weight, by_bias = slopes.T @ logs + 2 * off * w, slopes.sum(axis=0) + 2 * fixed * b
            return value, np.concatenate([by_weight.ravel(), by_bias])

        start = np.concatenate([np.eye(k).ravel(), np.zeros(k)])
        found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=SOLVER).x
        return found[: k * k].reshape(k, k), found[k * k :]

    def __call__(self, logits: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """Probabilities; see the family's protocol."""
        values = checked_logits(logits, fitted_width(self.biases))
        return special.softmax(_logs(values) @ self.weights.T + self.biases, axis=1)

    def state(self) -> dict[str, np.ndarray]:
        """W and b."""
        return {"matrix": self.weights, "biases": self.biases}

    def restore(self, state: Mapping[str, np.ndarray]) -> Dirichlet:
        """Take W and b back."""
        self.weights = np.asarray(state["matrix"], dtype=np.float64)
        self.biases = np.asarray(state["biases"], dtype=np.float64)
        self.uncalibrated = reasons_of(self.biases)
        return self


def _logs(values: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """The logarithms of p, bounded below: a column far down would otherwise set the scale of the whole problem."""
    return np.maximum(special.log_softmax(values, axis=1), np.log(SMALLEST))
