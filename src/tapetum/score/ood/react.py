"""Energy of clipped features."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc, share
from tapetum.score.query import Query

__all__ = ["React"]


@dataclass
class React(PostHoc):
    """Energy after features are cut off at a quantile of the known images' features.

    Softmax and sigmoid: as in `energy`.

    Args:
        quantile: of all known features together.

    Returns:
        Any range, higher = more OOD.

    Source: Sun, Guo and Li, NeurIPS 2021. Differs: nothing; made for features after a ReLU, it cuts off signed ones at
    the top only.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    quantile: float = 0.9
    top_: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        share(self.quantile, "quantile")

    def _learn(self, known: InDistribution) -> None:
        self.top_ = float(np.quantile(known.features, self.quantile))

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        return -known.confidence_of(known.logits_of(np.minimum(query.features, self.top_)))
