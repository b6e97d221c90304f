"""Alignment along the tree of findings: the right name at every level, by gradient on cached features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import LevelLoss
from tapetum.learn.aligner.starting import Start
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.runlog import UNWATCHED, Watch

__all__ = ["Hierarchical"]


@dataclass(frozen=True)
class Hierarchical:
    """Train both linear maps so that of each level's names the right ones lie nearest, stopping on inner patients.

    Args:
        finest: weight of the finest level that an image's findings reach; the levels above weigh 1.
        sampler: member of `learn/samplers`.
        start, dim, power, shrinkage, held_out, epochs, batch, learning_rate, weight_decay: as in `contrastive`.

    Source: after Xia et al. (HGCLIP), COLING 2025, arXiv 2311.14064: cross-entropy summed over levels, the finest
    weighing more, class texts as prototypes. Differs: no graph network and no prompts are learned; several findings of
    an image share the target of their level; levels come from the findings that the reports affirm.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("names",)

    finest: float = 2.0
    sampler: str = "shuffled"
    start: str = "random"
    dim: int = 256
    power: float = 0.5
    shrinkage: float = 0.1
    held_out: float = 0.1
    epochs: int = 60
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.5

    def fit(self, pairs: Pairs, rng: np.random.Generator, watch: Watch = UNWATCHED) -> Fitted:
        """Train; the log holds both losses per epoch and what chance is.

        Raises:
            UsageError: pairs without a tree of findings.
        """
        loss = LevelLoss(self.finest)
        loss.on(pairs, rng)  # refuses pairs without a tree before anything is computed
        aligner = Start(self.start, self.dim, self.power, self.shrinkage).aligner(pairs, rng)
        settings = LoopSettings(self.epochs, self.batch, self.learning_rate, self.weight_decay)
        return train_aligner(
            aligner, pairs, loss, settings, rng, held_out=self.held_out, sampler=self.sampler, watch=watch
        )
