"""Image-text alignment by gradient: two linear maps under a contrastive loss, on cached features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import AlignmentLoss
from tapetum.learn.aligner.starting import Start
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.runlog import UNWATCHED, Watch

__all__ = ["Contrastive"]


@dataclass(frozen=True)
class Contrastive:
    """Train both linear maps with a member of `learn/alignment`, stopping on an inner patient split.

    Args:
        loss: member of `learn/alignment`, for example `"clip"`, `"convirt"` or `"siglip"`.
        matching: member of `learn/matching`: which texts of a batch are no negatives of an image.
        sampler: member of `learn/samplers`: which images meet in a batch.
        start: `random` = small random maps on standardised features and whitened texts; `ridge` = the closed form,
            refined.
        dim: columns of the common space (start=random).
        power, shrinkage: as in the task `ridge`. held_out: share of the patients kept for stopping.
        epochs, batch, learning_rate, weight_decay: of the loop.

    Source: Radford et al., ICML 2021, arXiv 2103.00020 (clip); Zhai et al., ICCV 2023, arXiv 2303.15343 (siglip).
    Differs: towers frozen, only linear maps are trained.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()

    loss: str = "clip"
    matching: str = "same_text"
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
        """Train; the log holds both losses per epoch and what chance is."""
        loss = AlignmentLoss(self.loss, self.matching)
        aligner = Start(self.start, self.dim, self.power, self.shrinkage).aligner(pairs, rng)
        settings = LoopSettings(self.epochs, self.batch, self.learning_rate, self.weight_decay)
        return train_aligner(
            aligner, pairs, loss, settings, rng, held_out=self.held_out, sampler=self.sampler, watch=watch
        )
