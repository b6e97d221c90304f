"""Down-weighted: every label counts as far as a judge that never saw its patient trusts it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.core.registry import Family
from tapetum.learn.classifying.doubt import out_of_fold
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Committee

__all__ = ["DownWeighted"]


@dataclass(frozen=True)
class DownWeighted:
    """The quality of every label, out of fold, is its weight in the loss; no rate and no threshold is needed.

    Args:
        judge: of `score/noise`. head: of `nets/heads`. loss: of `learn/losses`. level: divide the quality by its mean
            in each given class, so that no class loses weight as a whole.

    Source: own, sample weights after Ren et al., ICML 2018, arXiv 1803.09050. Differs: no clean set; weights are judged
    once, out of fold.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    judge: str = "self_confidence"
    head: str = "hidden"
    loss: str = "cross_entropy"
    level: bool = True

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Committee:
        """Judge, then train; see the family's protocol."""
        probs = out_of_fold(taught, pace, rng)
        quality = Family("tapetum.score.noise").build(self.judge)(probs, taught.labels)
        weights = weights_of(quality, taught.labels, taught.classes, self.level)
        network = train(taught, Plan(loss=self.loss, head=self.head), pace, rng, weights=weights)
        return Committee((network,), quality)


def weights_of(quality: np.ndarray, labels: np.ndarray, classes: int, level: bool) -> np.ndarray:
    """Weights with mean 1, over all rows or in each class.

    Example:
        >>> quality, labels = np.array([0.9, 0.3, 0.1, 0.1]), np.array([0, 0, 1, 1])
        >>> weights_of(quality, labels, 2, True).tolist()
        [1.5, 0.5, 1.0, 1.0]
    """
    group = labels if level else np.zeros(len(labels), dtype=np.int64)
    total, number = np.bincount(group, quality, classes), np.bincount(group, minlength=classes)
    mean = np.divide(total, number, out=np.ones(classes), where=number > 0)
    return quality / np.where(mean > 0, mean, 1.0)[group]
