"""Ridge regression in closed form: one eigendecomposition answers every penalty and every set of targets.

With few images and many features the dual form is the small one: K = Z·Zᵀ (n×n), W = Zᵀ·(K + λ·I)⁻¹·T, with Z and T
centred, which is ridge with an intercept that is not penalised.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from tapetum.core.errors import DataError

PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
Quality = Callable[[Float[np.ndarray, "m t"], Int[np.ndarray, "m"]], Float[np.ndarray, "q"]]

# Decompositions of the last few training sets. A negative control solves twenty times for the same rows (the inner
# folds and the whole) with other targets; only n×n arrays are kept, no features. Nothing but time depends on it.
_KEPT, _KEPT_BYTES = 6, 2**29
_kept: OrderedDict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray]] = OrderedDict()
_folded: OrderedDict[bytes, list[list[np.ndarray]]] = OrderedDict()  # likewise, what a division into folds adds
_lock = threading.Lock()


@dataclass(frozen=True)
class Gram:
    """The eigendecomposition of Z·Zᵀ of a training set; targets and penalties come later, cheaply.

    Attributes:
        rows: the training features, standardised.
        inner: their dot products with their own mean.
        values: eigenvalues of the centred Z·Zᵀ, ascending. vectors: its eigenvectors, column by column.
        key: digest of the rows.
    """

    rows: Float[np.ndarray, "n d"]
    inner: Float[np.ndarray, "n"]
    values: Float[np.ndarray, "n"]
    vectors: Float[np.ndarray, "n n"]
    key: bytes = b""

    @staticmethod
    def of(rows: Float[np.ndarray, "n d"]) -> Gram:
        """Decompose once, O(n²·d + n³); the same rows again cost one pass over their bytes."""
        rows = np.ascontiguousarray(rows)
        key = hashlib.blake2b(rows.data, digest_size=16, person=f"{rows.shape}{rows.dtype.str}"[:16].encode()).digest()
        with _lock:
            found = _kept.get(key)
            if found is not None:
                _kept.move_to_end(key)
        if found is None:
            found = _decompose(rows)
            with _lock:
                _kept[key] = found
                while len(_kept) > _KEPT or sum(a.nbytes for part in _kept.values() for a in part) > _KEPT_BYTES:
                    _kept.popitem(last=False)
        return Gram(rows, *found, key)

    def fit(
        self, targets: Float[np.ndarray, "n t"], penalty: float | Float[np.ndarray, "t"]
    ) -> tuple[Float[np.ndarray, "d t"], Float[np.ndarray, "t"]]:
        """Weights and intercepts of the regression.

        Args:
            targets: one row per training row.
            penalty: λ, above 0; one for all targets, or one each.

        Returns:
            `rows @ weight + bias` predicts the targets.
        """
        dual, mean = self._dual(targets, np.asarray(penalty, dtype=np.float64)), self.rows.mean(0, dtype=np.float64)
        # The sum of the dual weights is 0 up to rounding; taking the mean out of the rows keeps rounding out, too.
        weight = (self.rows.T @ dual.astype(self.rows.dtype)).astype(np.float64) - np.outer(mean, dual.sum(0))
        return weight, targets.mean(0) - mean @ weight

    def predict(
        self, query: Float[np.ndarray, "m d"], targets: Float[np.ndarray, "n t"], penalties: Sequence[float]
    ) -> list[Float[np.ndarray, "m t"]]:
        """Predictions for the query rows, one array per penalty, from one projection."""
        cross = (query @ self.rows.T).astype(np.float64)
        cross += self.inner.mean() - cross.mean(1, keepdims=True) - self.inner
        projected, mean = cross @ self.vectors, targets.mean(0)
        inner = self.vectors.T @ (targets - mean)
        return [projected @ (inner / (self.values + penalty)[:, None]) + mean for penalty in penalties]

    def held_out(
        self, targets: Float[np.ndarray, "n t"], fold: Int[np.ndarray, "n"], penalties: Sequence[float]
    ) -> list[Float[np.ndarray, "n t"]]:
        """Predictions of every row by the regression on the rows of the other folds, one array per penalty.

        No fold is decomposed for itself: with R = the matrix that gives the residuals of the whole, the residuals of a
        fold that was left out are (its block of R)⁻¹ · its rows of R·T, exactly.

        Args:
            targets: one row each.
            fold: number of each row's fold, two at least.
            penalties: λ, above 0.
        """
        parts = [np.flatnonzero(fold == number) for number in np.unique(fold)]
        inner = self.vectors.T @ (targets - targets.mean(0))
        found: list[np.ndarray] = []
        for penalty, blocks in zip(penalties, self._blocks(fold, parts, penalties), strict=True):
            residual = self.vectors @ (inner / (self.values[:, None] + penalty))
            prediction = np.array(targets, dtype=np.float64)
            for rows, inverse in zip(parts, blocks, strict=True):
                prediction[rows] -= inverse @ residual[rows]
            found.append(prediction)
        return found

    def _blocks(
        self, fold: Int[np.ndarray, "n"], parts: Sequence[Int[np.ndarray, "m"]], penalties: Sequence[float]
    ) -> list[list[Float[np.ndarray, "m m"]]]:
        """Inverse of each fold's block of R / λ, for every penalty."""
        told = np.asarray(fold, dtype=np.int64).tobytes() + np.asarray(penalties, dtype=np.float64).tobytes()
        key = self.key + hashlib.blake2b(told, digest_size=16).digest()
        with _lock:
            found = _folded.get(key)
        if found is not None:
            return found
        found = []
        for penalty in penalties:
            scaled = self.vectors / np.sqrt(self.values + penalty)
            blocks = [scaled[rows] @ scaled[rows].T - 1 / (len(fold) * penalty) for rows in parts]
            found.append([np.linalg.inv(block) for block in blocks])
        with _lock:
            _folded[key] = found
            while len(_folded) > _KEPT or sum(a.nbytes for p in _folded.values() for b in p for a in b) > _KEPT_BYTES:
                _folded.popitem(last=False)
        return found

    def _dual(self, targets: Float[np.ndarray, "n t"], penalty: Float[np.ndarray, "*t"]) -> Float[np.ndarray, "n t"]:
        """(K + λ·I)⁻¹·T with T centred."""
        inner = self.vectors.T @ (targets - targets.mean(0))
        return self.vectors @ (inner / (self.values[:, None] + penalty))


def _decompose(rows: Float[np.ndarray, "n d"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kernel = (rows @ rows.T).astype(np.float64)
    inner = kernel.mean(1)
    kernel += inner.mean() - inner[:, None] - inner
    values, vectors = np.linalg.eigh(kernel)
    return inner, np.maximum(values, 0), vectors


def patient_folds(groups: Sequence[str] | np.ndarray, folds: int, rng: np.random.Generator) -> Int[np.ndarray, "n"]:
    """A fold number per row, the same for all rows of a patient; folds differ in size by at most a patient."""
    names, inverse = np.unique(np.asarray(groups), return_inverse=True)
    return (rng.permutation(len(names)) % folds)[inverse]


def inner_quality(
    rows: Float[np.ndarray, "n d"],
    targets: Float[np.ndarray, "n t"],
    fold: Int[np.ndarray, "n"],
    *,
    quality: Quality,
    penalties: Sequence[float] = PENALTIES,
) -> Float[np.ndarray, "p q"]:
    """Mean quality of every penalty over inner folds of the training set.

    Args:
        rows: standardised features.
        targets: one row each.
        fold: number of each row's fold, see `patient_folds`.
        quality: predictions for some held-out row numbers → one value per criterion, higher is better, NaN where those
            rows cannot tell.
        penalties: those to try.

    Returns:
        One row per penalty, one column per criterion; NaN where no fold could tell.
    """
    numbers = np.unique(fold)
    if len(numbers) < 2:
        raise DataError("one patient only: no inner folds to choose a penalty on", "two patients", "penalty=10")
    predictions = Gram.of(rows).held_out(targets, fold, penalties)
    parts = [np.flatnonzero(fold == number) for number in numbers]
    tables = [np.stack([quality(prediction[out], out) for prediction in predictions]) for out in parts]
    whole = np.stack(tables)
    counted = ~np.isnan(whole)
    return np.divide(
        np.where(counted, whole, 0).sum(0), counted.sum(0), out=np.full(whole.shape[1:], np.nan), where=counted.any(0)
    )


def best_penalty(quality: Float[np.ndarray, "p"], penalties: Sequence[float] = PENALTIES) -> float:
    """The penalty of the highest quality, the largest of equals; NaN where none could be judged.

    Example:
        >>> best_penalty(np.array([0.7, 0.8, 0.8]), (1.0, 10.0, 100.0))
        100.0
    """
    if np.isnan(quality).all():
        return float("nan")
    return float(penalties[int(np.flatnonzero(quality == np.nanmax(quality))[-1])])
