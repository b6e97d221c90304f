"""Energy guided by neighbours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64

from tapetum.core.errors import DataError
from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.neighbours import largest
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["Nnguide"]


@dataclass
class Nnguide(PostHoc):
    """Minus energy times closeness: the mean of the k largest cosines to known images, each weighted by its own energy.

    Softmax and sigmoid: as in `energy`.

    Args:
        k: neighbours that count.

    Returns:
        Any range, higher = more OOD.

    Raises:
        DataError: on fitting, fewer than k known images.

    Source: Park, Jung and Teoh, ICCV 2023. Differs: where a known image has an energy below 0, all are shifted so that
    none has, since a product of two negative numbers would turn the direction round.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    k: int = 10
    shift_: float = field(default=0.0, init=False, repr=False)
    weights_: Float32[np.ndarray, "n"] = field(default_factory=lambda: np.empty(0, np.float32), init=False, repr=False)

    def _learn(self, known: InDistribution) -> None:
        if not 1 <= self.k <= len(known.features):
            raise DataError(f"k={self.k} with {len(known.features)} known images", "1 up to as many", "nnguide(k=1)")
        confidence = known.confidence_of(known.logits)
        self.shift_ = max(0.0, -float(confidence.min()))
        self.weights_ = (confidence + self.shift_).astype(np.float32)

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        closeness = largest(query.cosines, self.k, self.weights_).mean(axis=1, dtype=np.float64)
        return -closeness * (query.confidence + self.shift_)
