"""Mahalanobis distance to the nearest class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.gaussian import Gaussian
from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["Mahalanobis"]


@dataclass
class Mahalanobis(PostHoc):
    """Squared Mahalanobis distance to the nearest class mean, with one covariance for all classes.

    Reads labels, no head. Sigmoid: a group per finding and one without any; an image with several findings counts for
    each in equal shares.

    Args:
        shrinkage: weight of the scaled identity in the covariance, 0..1; None = Ledoit and Wolf's.

    Returns:
        0 or above, higher = more OOD.

    Raises:
        DataError: on fitting, a covariance without inverse (fewer images than features) with shrinkage=0.

    Source: Lee et al., NeurIPS 2018, section 2.1, last layer only. Differs: the covariance is divided by n and shrunk;
    no input perturbation.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("labels",)
    shrinkage: float | None = None
    gaussian_: Gaussian = field(init=False, repr=False)

    def _learn(self, known: InDistribution) -> None:
        self.gaussian_ = Gaussian.of(known, self.shrinkage)

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        del known
        return self.gaussian_.distances(query).min(axis=1)
