"""Principal components of standardised features: fewer columns for methods that are trained step by step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.standardise import Standardiser

POWER = 0.5  # of the signed root, as the adapters take it
_MORE, _ROUNDS = 16, 3  # further directions, and passes, of the range finder


@dataclass(frozen=True)
class Components:
    """Raw features → the largest principal components of the standardised training images.

    A component keeps its size beside the others; all together have a mean square of 1 per column.
    """

    standardiser: Standardiser
    rotation: Float32[np.ndarray, "d c"] | None
    scale: float

    @staticmethod
    def fit(
        features: Float[np.ndarray, "n d"],
        count: int,
        rng: np.random.Generator,
        blocks: Mapping[str, tuple[int, int]] | None = None,
    ) -> Components:
        """Fit on training images only.

        Args:
            features: of the training images, as the towers give them.
            count: components; 0 = all columns, not rotated.
            rng: of the range finder.
            blocks: columns of each pooled output, see `Standardiser.fit`.

        Raises:
            UsageError: a negative count.

        Source: Halko, Martinsson and Tropp, SIAM Review 2011, algorithms 4.4 and 5.1. Differs: nothing.
        """
        if count < 0:
            raise UsageError(f"components={count}", "at least 0")
        standardiser = Standardiser.fit(features, POWER, blocks)
        rows = standardiser(features).astype(np.float32)
        rotation = None
        if count and count < min(rows.shape):
            directions = rng.standard_normal((rows.shape[1], min(count + _MORE, *rows.shape)), dtype=np.float32)
            for _ in range(_ROUNDS):
                directions = rows.T @ np.linalg.qr(rows @ directions)[0]
            basis = np.linalg.qr(directions)[0]
            rotation = basis @ np.linalg.svd(rows @ basis, full_matrices=False)[2][:count].T
            rows = rows @ rotation
        size = float(np.sqrt(np.mean(np.square(rows, dtype=np.float64))))
        return Components(standardiser, rotation, 1 / size if size > 0 else 1.0)

    def __call__(self, features: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n c"]:
        """The components of any images."""
        rows = self.standardiser(features)
        rows = rows if self.rotation is None else rows @ self.rotation
        return (rows * np.float32(self.scale)).astype(np.float32)
