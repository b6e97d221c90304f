"""What lies outside the principal subspace."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.in_distribution import InDistribution, Need, outside, principal_dims
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["Residual"]


@dataclass
class Residual(PostHoc):
    """Distance from the subspace of the known images' main directions.

    Reads no head and no labels.

    Args:
        dims: directions of most variance that span the subspace; 0 = the rule of `principal_dims`.

    Returns:
        0 or above, in units of the features, higher = more OOD.

    Source: the residual of Wang et al., CVPR 2022, section 3; Ndiour, Ahuja and Tickoo, arXiv 2012.04250 (2020).
    Differs: centred at the mean of the known images, since there is no head.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ()
    dims: int = 0
    basis_: Float64[np.ndarray, "d p"] = field(default_factory=lambda: np.empty((0, 0)), init=False, repr=False)

    def _learn(self, known: InDistribution) -> None:
        dims = principal_dims(self.dims, known.dim, len(known.features))
        self.basis_ = known.principal_about(known.mean, dims)

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        return outside(query.features - known.mean, self.basis_)
