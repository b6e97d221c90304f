"""Mahalanobis distance to the nearest class, relative to that to the whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.gaussian import Gaussian
from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["RelativeMahalanobis"]


@dataclass
class RelativeMahalanobis(PostHoc):
    """Squared Mahalanobis distance to the nearest class mean, minus that to the mean of all known images.

    What all images vary in cancels, which helps where OOD images resemble known ones. Reads labels, no head; groups as
    in `mahalanobis`.

    Args:
        shrinkage: weight of the scaled identity in both covariances, 0..1; None = Ledoit and Wolf's.

    Returns:
        Any range, higher = more OOD.

    Raises:
        DataError: on fitting, a covariance without inverse (fewer images than features) with shrinkage=0.

    Source: Ren et al., arXiv 2106.09022 (2021).
    Differs: covariances divided by n and shrunk, both by what the one within the classes asks for: shrunk each by its
    own, the whole may vary less than its parts, and what lies far outside gets a low score.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("labels",)
    shrinkage: float | None = None
    gaussian_: Gaussian = field(init=False, repr=False)

    def _learn(self, known: InDistribution) -> None:
        self.gaussian_ = Gaussian.of(known, self.shrinkage)

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        del known
        return self.gaussian_.distances(query).min(axis=1) - self.gaussian_.distance_to_all(query)
