"""Left out: train without the labels in doubt, as many of each class as are estimated to be wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.core.registry import Family
from tapetum.learn.classifying.doubt import doubt
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Committee
from tapetum.score.selecting import doubted

__all__ = ["LeftOut"]


@dataclass(frozen=True)
class LeftOut:
    """Labels are judged out of fold; of each class the least trusted are left out, then a network learns the rest.

    Args:
        judge: of `score/noise`. by: estimate of the share of wrong labels of each class, `anchors` or `confident`.
            head: of `nets/heads`. loss: of `learn/losses`.

    Source: Northcutt, Jiang and Chuang, JAIR 2021 (confident learning). Differs: how many are left out is
    the family's estimate, class by class; a class keeps one label at least.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    judge: str = "confident_learning"
    by: str = "anchors"
    head: str = "hidden"
    loss: str = "cross_entropy"

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Committee:
        """Judge, leave out, train; see the family's protocol."""
        found = doubt(taught, pace, rng, self.by)
        quality = Family("tapetum.score.noise").build(self.judge)(found.probs, taught.labels)
        kept = ~doubted(quality, taught.labels, found.wrong)
        for c in np.unique(taught.labels):
            mine = np.flatnonzero(taught.labels == c)
            kept[mine[quality[mine].argmax()]] = True
        network = train(taught.only(np.flatnonzero(kept)), Plan(loss=self.loss, head=self.head), pace, rng)
        return Committee((network,), kept.astype(np.float64))
