"""Images to be judged are given the mean and covariance of those learned on, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.domain_weights import refuse_inputs
from tapetum.learn.classifying.moved import Moved, as_rows
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train

__all__ = ["Recoloured"]


@dataclass(frozen=True)
class Recoloured(Plan):
    """Transductive: reads the images that are to be judged, all of one domain at once, though not their labels.

    Args:
        ridge: added to both covariances, in units of the mean variance learned on: large = only the means are moved.
        others: see `Plan`.

    Source: Sun, Feng and Saenko, AAAI 2016, arXiv 1511.05547, algorithm 1. Differs: the images to be judged are
    whitened and recoloured, not those learned on, so that nothing is learned anew; means are moved too.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("features",)
    TRANSDUCTIVE: ClassVar[bool] = True
    ridge: float = 1.0

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Moved:
        """Train; see the family's protocol."""
        refuse_inputs(taught, "recoloured")
        if self.ridge <= 0:
            raise UsageError(f"ridge={self.ridge}", "above 0")
        rows = taught.features.astype(np.float64)
        mean = rows.mean(0)
        spread = _spread(rows - mean)
        ridge = self.ridge * max(float(spread[0].sum()) / rows.shape[1], 1e-12)

        def move(inputs: Float[np.ndarray | Tensor, "n d"]) -> Float64[np.ndarray, "n d"]:
            own = as_rows(inputs)
            centred = own - own.mean(0)
            return _powered(_powered(centred, _spread(centred), ridge, -0.5), spread, ridge, 0.5) + mean

        return Moved(train(taught, self, pace, rng), move)


def _spread(centred: Float64[np.ndarray, "n d"]) -> tuple[Float64[np.ndarray, "r"], Float64[np.ndarray, "d r"]]:
    """Variances and directions of the covariance, those without variance left out where columns outnumber rows."""
    if len(centred) >= centred.shape[1]:
        values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
        return np.maximum(values, 0), vectors
    _, sizes, vectors = np.linalg.svd(centred, full_matrices=False)
    return sizes**2 / len(centred), vectors.T


def _powered(
    rows: Float64[np.ndarray, "m d"],
    spread: tuple[Float64[np.ndarray, "r"], Float64[np.ndarray, "d r"]],
    ridge: float,
    power: float,
) -> Float64[np.ndarray, "m d"]:
    """Rows times a power of covariance + ridge; directions without variance are scaled by the ridge alone."""
    values, vectors = spread
    return rows * ridge**power + (rows @ vectors * ((values + ridge) ** power - ridge**power)) @ vectors.T
