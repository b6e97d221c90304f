"""Co-teaching: two networks, each of which learns from the labels that the other one finds easiest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.classifying.pair import Batch, Choice, exchanged, learn_pair
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.trained import Committee

__all__ = ["CoTeaching"]


@dataclass(frozen=True)
class CoTeaching:
    """Of each batch every network names the labels with the smallest loss, and the other one learns from them.

    One share for all classes: what a rare class has is seldom easy, so that its labels are the first to be dropped.

    Args:
        head: of `nets/heads`, with weights drawn at random. by: estimate of the share of wrong labels, `anchors` or
            `confident`. ramp: share of the epochs over which the share of labels kept falls.

    Source: Han et al., NeurIPS 2018, arXiv 1804.06872, algorithm 1. Differs: the rate is estimated out of fold and not
    handed in; both networks vote.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    by: str = "anchors"
    ramp: float = 0.2

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Committee:
        """Train both networks; see the family's protocol."""
        return learn_pair(taught, pace, rng, _rule, "co_teaching", head=self.head, by=self.by, ramp=self.ramp)


def _rule(batch: Batch) -> Choice:
    return exchanged(batch, *batch.losses())
