"""Inner product with the class's stored pattern."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["She"]


@dataclass
class She(PostHoc):
    """Minus the inner product with the mean features of the known images that were rightly called so.

    Softmax: one pattern per class. Sigmoid: one per finding, and one for images without any, rightly so.

    Returns:
        Any range, higher = more OOD.

    Source: Zhang et al., ICLR 2023 (simplified Hopfield energy). Differs: a class of which no known image was called
    rightly takes the mean of all its images; the sigmoid form is ours.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("labels", "head")
    patterns_: Float64[np.ndarray, "g d"] = field(default_factory=lambda: np.empty((0, 0)), init=False, repr=False)

    def _learn(self, known: InDistribution) -> None:
        called = np.eye(known.membership.shape[1])[known.called(known.logits)]
        right = called * (known.membership > 0)
        hits = right.sum(axis=0)
        means = known.sums(right) / np.maximum(hits, 1)[:, None]
        self.patterns_ = np.where(hits[:, None] > 0, means, known.group_means)

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        called = known.called(query.logits)
        return -np.einsum("ij,ij->i", query.features, self.patterns_[called])
