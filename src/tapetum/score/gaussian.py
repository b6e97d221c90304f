"""Gaussians with a shared covariance: distances to the means of the groups, and to the mean of all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from scipy.linalg.blas import dtrmm  # pyright: ignore[reportAttributeAccessIssue] - scipy has no types for it
from scipy.linalg.lapack import dtrtri  # pyright: ignore[reportAttributeAccessIssue]

from tapetum.core.errors import DataError, UsageError
from tapetum.score.in_distribution import InDistribution, lengths, shrinkage_of
from tapetum.score.query import Query


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
            weight = shrinkage_of(known.within, _fourth_moment(known), len(known.features), known.dim)
        if not 0 <= weight <= 1:
            raise UsageError(f"shrinkage={weight}", "0..1, or None for Ledoit and Wolf's")
        return Ridge(weight, float(np.trace(known.within)) / known.dim)

    @property
    def variance(self) -> float:
        """What it adds to the variance in every direction; all that there is outside the known images' span."""
        return self.weight * self.scale


@dataclass(frozen=True, eq=False)
class Gaussian:
    """One covariance within the groups and, since it differs from it by the groups' means only, that of all images.

    *White* coordinates are those about the mean of all in which the covariance within the groups is the identity, and
    that of all the identity plus `spread.T @ spread`.

    Args:
        whitening: lower triangular; turns coordinates of `InDistribution.compact` into white ones.
        means: of the groups that have images, in white coordinates.
        spread: the means of all groups there, by the root of their shares. inner: inverse of 1 + `spread @ spread.T`.
        variance: in every direction outside of the known images' span; 0 = there is none.
    """

    whitening: Float64[np.ndarray, "r r"]
    means: Float64[np.ndarray, "g r"]
    spread: Float64[np.ndarray, "h r"]
    inner: Float64[np.ndarray, "h h"]
    variance: float

    @staticmethod
    def of(known: InDistribution, shrinkage: float | None) -> Gaussian:
        """Of known images with labels; made once for each shrinkage.

        Args:
            known: the images.
            shrinkage: weight of the scaled identity, 0..1; None = Ledoit and Wolf's.

        Raises:
            UsageError: a weight outside 0..1. DataError: the covariance has no inverse.
        """
        return known.once(("gaussian", shrinkage), lambda images: _gaussian(images, shrinkage))

    def distances(self, query: Query) -> Float64[np.ndarray, "b g"]:
        """Squared Mahalanobis distances to the mean of each group that has images, by the covariance within groups."""
        white, beyond = query.once(self, self._white)
        return squared_distances(white, self.means) + beyond[:, None]

    def distance_to_all(self, query: Query) -> Float64[np.ndarray, "b"]:
        """Squared Mahalanobis distance to the mean of all, by the covariance of all.

        The inverse of the identity plus a few directions takes the part along these off again (Woodbury).
        """
        white, beyond = query.once(self, self._white)
        along = white @ self.spread.T
        return np.maximum(lengths(white) ** 2 - ((along @ self.inner) * along).sum(axis=1), 0.0) + beyond

    def _white(self, query: Query) -> tuple[Float64[np.ndarray, "b r"], Float64[np.ndarray, "b"]]:
        inside, beyond = query.known.compact(query.features)
        return _whitened(self.whitening, inside), beyond / self.variance if query.known.basis is not None else beyond


def squared_distances(
    rows: Float64[np.ndarray, "m d"], points: Float64[np.ndarray, "g d"]
) -> Float64[np.ndarray, "m g"]:
    """Squared Euclidean distances; all is centred first, so that the expanded square loses nothing."""
    centre = points.mean(axis=0)
    rows, points = rows - centre, points - centre
    squares = lengths(rows)[:, None] ** 2 - 2 * rows @ points.T + lengths(points) ** 2
    return np.maximum(squares, 0.0)


def _gaussian(known: InDistribution, shrinkage: float | None) -> Gaussian:
    ridge = Ridge.within(known, shrinkage)
    shrunk = (1 - ridge.weight) * known.within + ridge.variance * np.eye(len(known.within))
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
    whitening = dtrtri(factor, lower=1)[0]
    white = _whitened(whitening, known.compact(known.group_means)[0])
    shares = known.membership.sum(axis=0) / len(known.features)
    spread = np.sqrt((1 - ridge.weight) * shares)[:, None] * white
    inner = np.linalg.inv(np.eye(len(spread)) + spread @ spread.T)
    return Gaussian(whitening, white[known.inhabited], spread, inner, ridge.variance)


def _fourth_moment(known: InDistribution) -> float:
    total, first = 0.0, 0
    for rows in known.blocks():
        shares = known.membership[first : first + len(rows)]
        total += float((shares * squared_distances(rows, known.group_means) ** 2).sum())
        first += len(rows)
    return total / first


def _whitened(whitening: Float64[np.ndarray, "r r"], rows: Float64[np.ndarray, "m r"]) -> Float64[np.ndarray, "m r"]:
    if not len(rows):
        return rows
    return dtrmm(1.0, whitening, rows.T, lower=1).T
