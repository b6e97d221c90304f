"""Gaussians with a shared covariance: distances to their means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy import linalg

from tapetum.core.errors import DataError, UsageError
from tapetum.score.in_distribution import InDistribution, lengths, shrinkage_of


@dataclass(frozen=True)
class Ridge:
    """What a covariance is mixed with so that it has an inverse: `(1 - weight)·covariance + weight·scale·identity`."""

    weight: float
    scale: float

    @staticmethod
    def within(known: InDistribution, weight: float | None) -> Ridge:
        """For the covariance within the groups; weight None = Ledoit and Wolf's.

        Raises:
            UsageError: a weight outside 0..1.
        """
        if weight is None:
            squares = squared_distances(known.rows, known.group_means) ** 2
            fourth = float((known.membership * squares).sum()) / len(known.rows)
            weight = shrinkage_of(known.within, fourth, len(known.rows), known.dim)
        if not 0 <= weight <= 1:
            raise UsageError(f"shrinkage={weight}", "0..1, or None for Ledoit and Wolf's")
        return Ridge(weight, float(np.trace(known.within)) / known.dim)

    @property
    def variance(self) -> float:
        """What it adds to the variance in every direction; all that there is outside the known images' span."""
        return self.weight * self.scale


@dataclass(frozen=True)
class Gaussian:
    """Means and one covariance, in the coordinates of `InDistribution.compact`.

    Args:
        factor: lower Cholesky factor of the covariance.
        white: the means, in coordinates in which the covariance is the identity.
        variance: in every direction outside of the known images' span.
    """

    factor: Float64[np.ndarray, "r r"]
    white: Float64[np.ndarray, "g r"]
    variance: float

    @staticmethod
    def of(
        known: InDistribution, means: Float64[np.ndarray, "g d"], covariance: Float64[np.ndarray, "r r"], ridge: Ridge
    ) -> Gaussian:
        """From means and a covariance about the known images.

        Raises:
            DataError: the covariance has no inverse.
        """
        shrunk = (1 - ridge.weight) * covariance + ridge.variance * np.eye(len(covariance))
        try:
            if known.basis is not None and not ridge.variance:
                raise np.linalg.LinAlgError
            factor = np.linalg.cholesky(shrunk)
        except np.linalg.LinAlgError:
            raise DataError(
                f"a covariance of {known.dim} features over {len(known.features)} images without inverse",
                "more images than features, and features that vary",
                "shrinkage=None",
            ) from None
        return Gaussian(factor, _whitened(factor, known.compact(means)[0]), ridge.variance)

    def distances(self, features: Float64[np.ndarray, "m d"], known: InDistribution) -> Float64[np.ndarray, "m g"]:
        """Squared Mahalanobis distances to each mean."""
        inside, beyond = known.compact(features)
        found = squared_distances(_whitened(self.factor, inside), self.white)
        return found + (beyond / self.variance)[:, None] if known.basis is not None else found


def squared_distances(
    rows: Float64[np.ndarray, "m d"], points: Float64[np.ndarray, "g d"]
) -> Float64[np.ndarray, "m g"]:
    """Squared Euclidean distances; all is centred first, so that the expanded square loses nothing."""
    centre = points.mean(axis=0)
    rows, points = rows - centre, points - centre
    squares = lengths(rows)[:, None] ** 2 - 2 * rows @ points.T + lengths(points) ** 2
    return np.maximum(squares, 0.0)


def _whitened(factor: Float64[np.ndarray, "d d"], rows: Float64[np.ndarray, "m d"]) -> Float64[np.ndarray, "m d"]:
    return linalg.solve_triangular(factor, rows.T, lower=True, check_finite=False).T
