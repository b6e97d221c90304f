"""Distance to the decision boundaries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.core.errors import UsageError
from tapetum.score.in_distribution import TINY, InDistribution, Need, lengths
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["Fdbd"]


@dataclass
class Fdbd(PostHoc):
    """Minus the mean distance to the decision boundaries, over the distance to the mean of the known images.

    Softmax: boundaries between the called class and each other one. Sigmoid: the boundary of each finding.

    Returns:
        0 or below, higher = more OOD.

    Raises:
        UsageError: on fitting, a softmax head of one class, which has no boundary.

    Source: Liu and Qin, ICML 2024, arXiv 2312.11536. Differs: the sigmoid form is ours.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    steepness_: Float64[np.ndarray, "g k"] = field(default_factory=lambda: np.empty((0, 0)), init=False, repr=False)

    def _learn(self, known: InDistribution) -> None:
        head = known.linear
        weight = head.weight.astype(np.float64)
        if known.mode == "sigmoid":
            self.steepness_ = np.linalg.norm(weight, axis=1)[None]
        elif len(weight) < 2:
            raise UsageError("a softmax head of one class", "two classes or more, or mode sigmoid")
        else:
            self.steepness_ = np.linalg.norm(weight[:, None] - weight[None], axis=2)

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        logits = query.logits
        if known.mode == "sigmoid":
            away, steepness, boundaries = np.abs(logits), self.steepness_, logits.shape[1]
        else:
            away, boundaries = logits.max(axis=1, keepdims=True) - logits, logits.shape[1] - 1
            steepness = self.steepness_[np.argmax(logits, axis=1)]
        mean = (away / np.maximum(steepness, TINY)).sum(axis=1) / boundaries
        return -mean / np.maximum(lengths(query.features - known.mean), TINY)
