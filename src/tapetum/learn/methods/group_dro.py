"""Group DRO: the domain that is served worst weighs most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.domain_weights import refuse_one_domain
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Network

__all__ = ["GroupDro"]


@dataclass(frozen=True)
class GroupDro(Plan):
    """The loss is the mean of the domains' losses, weighted by what grows with each of them, step by step.

    Args:
        step: of the exponential update of the weights; 0 = every domain weighs alike.
        others: see `Plan`.

    Source: Sagawa et al., ICLR 2020, arXiv 1911.08731, algorithm 1. Differs: domains are the groups, not domains times
    classes; a domain that is not in the batch keeps its weight.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("domains",)
    step: float = 0.01

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        refuse_one_domain(taught, "group_dro")
        if self.step < 0:
            raise UsageError(f"step={self.step}", "at least 0")
        where = torch.from_numpy(np.unique(taught.domains, return_inverse=True)[1])
        weights = torch.full((int(where.max()) + 1,), 1 / (int(where.max()) + 1))

        def reweigh(losses: Float[Tensor, "b"], rows: Int[np.ndarray, "b"]) -> Float[Tensor, "b"]:
            here = where[rows]
            count = torch.bincount(here, minlength=len(weights)).clamp_min(1)
            means = torch.zeros(len(weights)).index_add(0, here, losses.detach()) / count
            weights.mul_(torch.exp(self.step * means))
            weights.div_(weights.sum())
            return losses * weights[here] * len(rows) / count[here]

        return train(taught, self, pace, rng, reweigh=reweigh)
