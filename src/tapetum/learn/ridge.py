"""Ridge regression in closed form: one eigendecomposition answers every penalty and every set of targets.

With few images and many features the dual form is the small one: K = Z·Zᵀ (n×n), W = Zᵀ·(K + λ·I)⁻¹·T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


@dataclass(frozen=True)
class Gram:
    """The eigendecomposition of Z·Zᵀ of a training set; targets and penalties come later, cheaply.

    Attributes:
        rows: the training features Z, standardised.
        values, vectors: eigenvalues (ascending) and eigenvectors of Z·Zᵀ.
    """

    rows: Float[np.ndarray, "n d"]
    values: Float[np.ndarray, "n"]
    vectors: Float[np.ndarray, "n n"]

    @staticmethod
    def of(rows: Float[np.ndarray, "n d"]) -> Gram:
        """Decompose once: O(n²·d + n³)."""
        kernel = (rows @ rows.T).astype(np.float64)
        values, vectors = np.linalg.eigh(kernel)
        return Gram(rows, np.maximum(values, 0), vectors)

    def solve(self, targets: Float[np.ndarray, "n t"], penalty: float) -> Float[np.ndarray, "n t"]:
        """Dual weights (K + penalty·I)⁻¹·targets; targets are centred by the caller."""
        return self.vectors @ ((self.vectors.T @ targets) / (self.values + penalty)[:, None])

    def weight(self, targets: Float[np.ndarray, "n t"], penalty: float) -> Float[np.ndarray, "d t"]:
        """Primal weights: multiply standardised features by them to predict the targets."""
        return self.rows.T.astype(np.float64) @ self.solve(targets, penalty)

    def predict(
        self, query: Float[np.ndarray, "m d"], targets: Float[np.ndarray, "n t"], penalties: Sequence[float]
    ) -> list[Float[np.ndarray, "m t"]]:
        """Predictions for the query rows, one array per penalty, from one projection."""
        cross = (query @ self.rows.T).astype(np.float64) @ self.vectors
        inner = self.vectors.T @ targets
        return [cross @ (inner / (self.values + penalty)[:, None]) for penalty in penalties]


def patient_folds(groups: Sequence[str] | np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """A fold number per row, the same for all rows of a patient; folds differ in size by at most a patient."""
    names, inverse = np.unique(np.asarray(groups), return_inverse=True)
    return (rng.permutation(len(names)) % folds)[inverse]


def choose_penalty(
    rows: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n t"],
    groups: Sequence[str] | np.ndarray,
    *,
    quality: Callable[[Float[np.ndarray, "m t"], np.ndarray], float],
    rng: np.random.Generator,
    penalties: Sequence[float] = PENALTIES,
    folds: int = 3,
) -> tuple[float, dict[float, float]]:
    """The penalty with the best mean quality over inner patient folds of the training set.

    Args:
        quality: of the predictions for some held-out row numbers, higher is better; NaN folds are left out.

    Returns:
        The penalty, and every penalty's mean quality.
    """
    fold = patient_folds(groups, folds, rng)
    table = np.full((folds, len(penalties)), np.nan)
    for held in range(folds):
        train, out = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        if not len(train) or not len(out):
            continue
        mean = targets[train].mean(0)
        predictions = Gram.of(rows[train]).predict(rows[out], targets[train] - mean, penalties)
        table[held] = [quality(prediction + mean, out) for prediction in predictions]
    counted = ~np.isnan(table)
    means = np.where(counted, table, 0).sum(0) / np.maximum(counted.sum(0), 1)
    means[~counted.any(0)] = -np.inf
    return float(penalties[int(np.argmax(means))]), dict(zip(map(float, penalties), map(float, means), strict=True))
