"""Energy of pruned features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float64

from tapetum.core.errors import UsageError
from tapetum.score.in_distribution import TINY, InDistribution, Need
from tapetum.score.post_hoc import PostHoc, share, strongest
from tapetum.score.query import Query

__all__ = ["Ash"]


@dataclass
class Ash(PostHoc):
    """Energy after small features are dropped and the rest is shaped.

    Softmax and sigmoid: as in `energy`.

    Args:
        variant: `s` = scale what is kept by exp(sum before / sum after), `p` = only drop, `b` = give all that is kept
            the same size.
        drop: share of the features that is dropped.

    Returns:
        Any range, higher = more OOD.

    Raises:
        UsageError: another variant, or a share outside 0..1.

    Source: Djurisic et al., ICLR 2023. Differs: signed features are sorted and summed by their size and keep their
    sign; the same as published for features after a ReLU.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    variant: Literal["s", "p", "b"] = "s"
    drop: float = 0.65

    def __post_init__(self) -> None:
        share(self.drop, "drop")
        if self.variant not in ("s", "p", "b"):
            raise UsageError(f"variant={self.variant!r}", "s, p or b")

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        kept, before, after = strongest(query.sizes, self.drop)
        factor = np.exp(before / np.maximum(after, TINY))[:, None] if self.variant == "s" else 1.0
        if self.variant == "b":
            shaped = np.where(kept, np.sign(query.features) * (before / np.maximum(kept.sum(axis=1), 1))[:, None], 0.0)
        else:
            shaped = np.where(kept, query.features, 0.0)
        return -known.confidence_of(known.logits_of(shaped, factor))
