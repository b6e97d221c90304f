"""Generalised entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.core.errors import UsageError
from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc, share
from tapetum.score.query import Query

__all__ = ["Gen"]


@dataclass
class Gen(PostHoc):
    """Generalised entropy, sum of p^γ·(1-p)^γ: a small γ makes it sensitive to small probabilities.

    Softmax: over the `top` largest class probabilities. Sigmoid: over the `top` largest finding probabilities.

    Args:
        gamma: γ, between 0 and 1.
        top: probabilities that count, largest first; 0 = all.

    Returns:
        0 up to the number of columns, higher = more OOD.

    Source: Liu, Lochman and Zach, CVPR 2023, equation 3. Differs: nothing; pytorch-ood divides by the number.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    gamma: float = 0.1
    top: int = 0

    def __post_init__(self) -> None:
        share(self.gamma, "gamma")
        if self.top < 0:
            raise UsageError(f"top={self.top}", "0 (all) or a number of columns")

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        probs = query.probs
        if 0 < self.top < probs.shape[1]:
            probs = -np.partition(-probs, self.top - 1, axis=1)[:, : self.top]
        return ((probs * (1 - probs)) ** self.gamma).sum(axis=1)
