"""Energy of scaled features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.in_distribution import TINY, InDistribution, Need
from tapetum.score.post_hoc import PostHoc, share, strongest
from tapetum.score.query import Query

__all__ = ["Scale"]


@dataclass
class Scale(PostHoc):
    """Energy after each image's features are multiplied by exp(sum of all / sum of the strongest).

    Softmax and sigmoid: as in `energy`.

    Args:
        drop: share of the features that does not count as strong.

    Returns:
        Any range, higher = more OOD.

    Source: Xu et al., ICLR 2024, arXiv 2310.00227. Differs: signed features are sorted and summed by their size; the
    same as published for features after a ReLU.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    drop: float = 0.85

    def __post_init__(self) -> None:
        share(self.drop, "drop")

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        _, before, after = strongest(query.sizes, self.drop)
        factor = np.exp(before / np.maximum(after, TINY))[:, None]
        return -known.confidence_of(known.linear.bias + factor * (query.logits - known.linear.bias))
