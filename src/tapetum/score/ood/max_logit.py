"""Largest logit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["MaxLogit"]


@dataclass
class MaxLogit(PostHoc):
    """Minus the largest logit: evidence for a class, before softmax throws its size away.

    Softmax and sigmoid alike.

    Returns:
        Any range, higher = more OOD.

    Source: Hendrycks et al., ICML 2022, arXiv 1911.11132. Differs: nothing.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        del known
        return -query.logits.max(axis=1)
