"""Virtual-logit matching."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.in_distribution import TINY, InDistribution, Need, outside, principal_dims
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["Vim"]


@dataclass
class Vim(PostHoc):
    """Energy against a virtual logit: the length of what lies outside the principal subspace, scaled like a logit.

    Softmax and sigmoid: as in `energy`.

    Args:
        dims: directions of most variance about the head's origin; 0 = the rule of `principal_dims`.

    Returns:
        Any range, higher = more OOD.

    Source: Wang et al., CVPR 2022. Differs: the scale is the mean size of the largest logit, not its mean, so that
    logits below 0 do not turn the direction round; equal where they are above.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    dims: int = 0
    origin_: Float64[np.ndarray, "d"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    basis_: Float64[np.ndarray, "d p"] = field(default_factory=lambda: np.empty((0, 0)), init=False, repr=False)
    scale_: float = field(default=0.0, init=False, repr=False)

    def _learn(self, known: InDistribution) -> None:
        head = known.linear
        # A head whose rows add up to 0 but for rounding would put the origin far away.
        rounding = max(head.weight.shape) * float(np.finfo(np.float32).eps)
        self.origin_ = -np.linalg.pinv(head.weight.astype(np.float64), rcond=rounding) @ head.bias
        dims = principal_dims(self.dims, known.dim, len(known.features))
        self.basis_ = known.principal_about(self.origin_, dims)
        left = np.mean(np.concatenate([outside(r - self.origin_, self.basis_) for r in known.blocks()]))
        self.scale_ = float(np.abs(known.logits.max(axis=1)).mean() / max(left, TINY))

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        virtual = self.scale_ * outside(query.features - self.origin_, self.basis_)
        return virtual - query.confidence
