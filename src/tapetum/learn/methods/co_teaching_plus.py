"""Co-teaching+: the same, among the images on which the two networks disagree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.pair import Batch, Choice, exchanged, learn_pair
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.trained import Committee

__all__ = ["CoTeachingPlus"]


@dataclass(frozen=True)
class CoTeachingPlus:
    """After a while of co-teaching only those images count that the networks call differently, which keeps them apart.

    Where they agree on a whole batch, all of its labels are candidates.

    Args:
        head: of `nets/heads`, with weights drawn at random. by: estimate of the share of wrong labels, `anchors` or
            `confident`. ramp: share of the epochs over which the share of labels kept falls. warm: share of the epochs
            before disagreement counts.

    Source: Yu et al., ICML 2019, arXiv 1901.04215, algorithm 1. Differs: the rate is estimated; both networks vote.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    by: str = "anchors"
    ramp: float = 0.2
    warm: float = 0.2

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Committee:
        """Train both networks; see the family's protocol."""
        if not 0 <= self.warm <= 1:
            raise UsageError(f"warm={self.warm}", "0 to 1")
        return learn_pair(taught, pace, rng, self._rule, "co_teaching_plus", head=self.head, by=self.by, ramp=self.ramp)

    def _rule(self, batch: Batch) -> Choice:
        first, second = batch.losses()
        among = torch.nonzero(batch.first.argmax(dim=1) != batch.second.argmax(dim=1))[:, 0]
        if batch.done < self.warm or not len(among):
            return exchanged(batch, first, second)
        return exchanged(batch, first[among], second[among], among)
