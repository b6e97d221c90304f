"""Alignment of places with concepts beside that of images with texts, by gradient on cached features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import AlignmentLoss, Trains
from tapetum.learn.aligner.starting import Start
from tapetum.learn.granular.levels import ConceptLoss
from tapetum.learn.granular.local import LocalSpace
from tapetum.learn.granular.weighted import Weighted
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.runlog import UNWATCHED, Watch

__all__ = ["PatchConcept"]


@dataclass(frozen=True)
class PatchConcept:
    """Whole images find their texts, and some place of an image finds each finding that its report affirms.

    Args:
        image: weight of the image-text term. patches: of the term on places; 0 leaves a term out altogether.
        pool: `max` = the best place of a finding; `soft` = all places, the better ones weighing more.
        loss: member of `learn/alignment`, of the image-text term.
        rank: main directions in which tokens are kept, per encoder; 0 = all.
        start: `ridge` = the closed form, refined; `random`, as in `contrastive`.
        matching, sampler, dim, power, shrinkage, held_out, epochs, batch, learning_rate, weight_decay: as in
            `contrastive`, which with the same start is what remains with patches=0.

    Source: after Nie et al. (ConceptCLIP), 2025, arXiv 2501.15579: image-text alignment and patch-concept alignment.
    Differs: towers frozen; concepts are the findings that the report parser reads, each with everything above it; a
    sigmoid per finding with both kinds of image weighing alike instead of a contrast between images.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("tokens", "names")

    image: float = 1.0
    patches: float = 1.0
    pool: str = "soft"
    loss: str = "clip"
    rank: int = 128
    matching: str = "same_text"
    sampler: str = "shuffled"
    start: str = "ridge"
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
            UsageError: pairs without tokens or findings, where their term has a weight.
        """
        aligner = Start(self.start, self.dim, self.power, self.shrinkage).aligner(pairs, rng)
        terms: dict[str, tuple[float, Trains]] = {"image": (self.image, AlignmentLoss(self.loss, self.matching))}
        if self.patches:
            terms["patches"] = self.patches, ConceptLoss(LocalSpace(pairs, aligner, rank=self.rank, rng=rng), self.pool)
        loss = Weighted.of(terms)
        settings = LoopSettings(self.epochs, self.batch, self.learning_rate, self.weight_decay)
        return train_aligner(
            aligner, pairs, loss, settings, rng, held_out=self.held_out, sampler=self.sampler, watch=watch
        )
