"""CoDis: co-teaching that prefers labels which fit, on images about which the two networks differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.pair import Batch, Choice, apart, exchanged, learn_pair
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.trained import Committee

__all__ = ["CoDis"]


@dataclass(frozen=True)
class CoDis:
    """A label's score is its loss minus how far the networks are apart; each learns from the other's lowest scores.

    Args:
        head: of `nets/heads`, with weights drawn at random. by: estimate of the share of wrong labels, `anchors` or
            `confident`. ramp: share of the epochs over which the share of labels kept falls. discrepancy: weight of
            the Jensen-Shannon divergence; 0 = co-teaching.

    Source: Xia et al., ICCV 2023 (CoDis), selection by loss minus weighted divergence. Differs: the rate is estimated;
    both networks vote.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    by: str = "anchors"
    ramp: float = 0.2
    discrepancy: float = 0.1

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Committee:
        """Train both networks; see the family's protocol."""
        if self.discrepancy < 0:
            raise UsageError(f"discrepancy={self.discrepancy}", "0 or above")
        return learn_pair(taught, pace, rng, self._rule, "co_dis", head=self.head, by=self.by, ramp=self.ramp)

    def _rule(self, batch: Batch) -> Choice:
        first, second = batch.losses()
        away = self.discrepancy * apart(batch.first, batch.second)
        return exchanged(batch, first - away, second - away)
