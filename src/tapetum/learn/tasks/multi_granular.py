"""Alignment at three levels: whole images, their places, and groups of images, by gradient on cached features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import AlignmentLoss, Trains
from tapetum.learn.aligner.starting import Start
from tapetum.learn.granular.levels import PieceLoss, PrototypeLoss
from tapetum.learn.granular.local import LocalSpace
from tapetum.learn.granular.weighted import Weighted
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.runlog import UNWATCHED, Watch

__all__ = ["MultiGranular"]


@dataclass(frozen=True)
class MultiGranular:
    """Images and texts, places and pieces of text, and both sides' prototypes are aligned at once.

    Args:
        instance, tokens, prototypes: weights of the three terms; 0 leaves a term out altogether.
        sides: of the term on tokens: `text` = what a piece sees, `image` = what a token reads, `both`.
        rank: main directions in which tokens are kept, per encoder; 0 = all.
        count: of prototypes.
        matching, sampler, start, dim, power, shrinkage, held_out, epochs, batch, learning_rate, weight_decay: as in
            `contrastive`, which is what remains with tokens=0 and prototypes=0.

    Source: after Wang et al. (MGCA), NeurIPS 2022, arXiv 2210.06044: instance-wise, token-wise and disease-level
    alignment. Differs: towers frozen; attention without projections of its own; tokens weigh alike; pieces of reports
    (sentences, parts of lists) instead of words, contrasted with the pieces of the whole batch.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("tokens", "groups")

    instance: float = 1.0
    tokens: float = 1.0
    prototypes: float = 1.0
    sides: str = "both"
    rank: int = 128
    count: int = 32
    matching: str = "same_text"
    sampler: str = "shuffled"
    start: str = "random"
    dim: int = 256
    power: float = 0.5
    shrinkage: float = 0.1
    held_out: float = 0.1
    epochs: int = 60
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.5

    def fit(self, pairs: Pairs, rng: np.random.Generator, watch: Watch = UNWATCHED) -> Fitted:
        """Train; the log holds both losses per epoch and what chance is.

        Raises:
            UsageError: pairs without tokens or pieces of texts, where their term has a weight.
        """
        aligner = Start(self.start, self.dim, self.power, self.shrinkage).aligner(pairs, rng)
        terms: dict[str, tuple[float, Trains]] = {"instance": (self.instance, AlignmentLoss("clip", self.matching))}
        if self.tokens:
            local = LocalSpace(pairs, aligner, rank=self.rank, rng=rng)
            terms["tokens"] = self.tokens, PieceLoss(local, self.sides)
        if self.prototypes:
            width = int(aligner.image_weight.shape[1])
            terms["prototypes"] = self.prototypes, PrototypeLoss(self.count, width)
        loss = Weighted.of(terms)
        settings = LoopSettings(self.epochs, self.batch, self.learning_rate, self.weight_decay)
        return train_aligner(
            aligner, pairs, loss, settings, rng, held_out=self.held_out, sampler=self.sampler, watch=watch
        )
