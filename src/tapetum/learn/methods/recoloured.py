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
        mean, covariance = rows.mean(0), _covariance(rows)
        ridge = self.ridge * max(float(np.trace(covariance)) / len(covariance), 1e-12)
        colour = _power(covariance, ridge, 0.5)

        def move(inputs: Float[np.ndarray | Tensor, "n d"]) -> Float64[np.ndarray, "n d"]:
            own = as_rows(inputs)
            whitened = (own - own.mean(0)) @ _power(_covariance(own), ridge, -0.5)
            return whitened @ colour + mean

        return Moved(train(taught, self, pace, rng), move)


def _covariance(rows: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "d d"]:
    centred = rows - rows.mean(0)
    return centred.T @ centred / len(rows)


def _power(covariance: Float64[np.ndarray, "d d"], ridge: float, power: float) -> Float64[np.ndarray, "d d"]:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * (np.maximum(values, 0) + ridge) ** power @ vectors.T
