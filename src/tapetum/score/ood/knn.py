"""Distance to the k-th nearest neighbour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.core.errors import DataError
from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.neighbours import largest
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["Knn"]


@dataclass
class Knn(PostHoc):
    """Euclidean distance to the k-th nearest known image, all features scaled to length 1.

    Reads no head and no labels.

    Args:
        k: which neighbour; larger where there are many known images.

    Returns:
        0..2, higher = more OOD.

    Raises:
        DataError: on fitting, fewer than k known images.

    Source: Sun et al., ICML 2022. Differs: exact search in blocks, in single precision.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ()
    k: int = 10

    def _learn(self, known: InDistribution) -> None:
        if not 1 <= self.k <= len(known.features):
            raise DataError(f"k={self.k} with {len(known.features)} known images", "1 up to as many", "knn(k=1)")

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        nearest = largest(query.cosines, self.k)[:, 0].astype(np.float64)
        return np.sqrt(np.maximum(2 - 2 * nearest, 0.0))
