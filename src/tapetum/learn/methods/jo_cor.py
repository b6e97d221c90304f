"""JoCoR: two networks with one loss, which asks them to agree, and one choice of easy labels for both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.pair import Batch, Choice, learn_pair, smallest
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import row_mean
from tapetum.learn.classifying.trained import Committee

__all__ = ["JoCoR"]


@dataclass(frozen=True)
class JoCoR:
    """Both networks learn from the labels whose joint loss is smallest: cross-entropy of both and their disagreement.

    Args:
        head: of `nets/heads`, with weights drawn at random. by: estimate of the share of wrong labels, `anchors` or
            `confident`. ramp: share of the epochs over which the share of labels kept falls. agreement: weight of the
            divergence between the two, 0..1; the cross-entropies have the rest.

    Source: Wei et al., CVPR 2020, arXiv 2003.02752. Differs: the rate is estimated; both networks
    vote.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    by: str = "anchors"
    ramp: float = 0.2
    agreement: float = 0.85

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Committee:
        """Train both networks; see the family's protocol."""
        if not 0 <= self.agreement < 1:
            raise UsageError(f"agreement={self.agreement}", "at least 0 and below 1")
        return learn_pair(taught, pace, rng, self._rule, "jo_cor", head=self.head, by=self.by, ramp=self.ramp)

    def _rule(self, batch: Batch) -> Choice:
        first, second = batch.losses()
        p, q = (functional.log_softmax(z, dim=1) for z in (batch.first, batch.second))
        both_ways = ((p.exp() - q.exp()) * (p - q)).sum(dim=1)  # Kullback-Leibler, there and back
        joint = (1 - self.agreement) * (first + second) + self.agreement * both_ways
        rows = smallest(joint, batch.keep)
        return Choice(row_mean(joint[rows], rows, len(joint)), rows, rows)
