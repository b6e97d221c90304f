"""Image-text alignment by gradient: two linear maps under a contrastive loss, on cached features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapetum.core.errors import UsageError
from tapetum.learn.closed_form import solve_aligner
from tapetum.learn.gradient import AlignmentLoss, train_aligner
from tapetum.learn.loop import LoopSettings
from tapetum.learn.pairs import Fitted, Pairs
from tapetum.learn.standardise import Standardiser
from tapetum.learn.whiten import whitening
from tapetum.nets import Aligner

__all__ = ["Contrastive"]


@dataclass(frozen=True)
class Contrastive:
    """Train both linear maps with a member of `learn/alignment`, stopping on an inner patient split.

    Args:
        loss: member of `learn/alignment`, for example `"clip"` or `"siglip"`.
        start: `random` = small random maps on standardised features and whitened texts; `ridge` = the closed form,
            refined.
        dim: columns of the common space (start=random).
        near: cosine of two reports from which they are soft positives.
        power, shrinkage: as in the task `ridge`. held_out: share of the patients kept for stopping.
        epochs, batch, learning_rate, weight_decay: of the loop.

    Source: Radford et al., ICML 2021, arXiv 2103.00020 (clip); Zhai et al., ICCV 2023, arXiv 2303.15343 (siglip).
    Differs: towers frozen, only linear maps are trained.
    """

    loss: str = "clip"
    start: str = "random"
    dim: int = 256
    near: float = 0.95
    power: float = 0.5
    shrinkage: float = 0.1
    held_out: float = 0.1
    epochs: int = 60
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.5

    def fit(self, pairs: Pairs, rng: np.random.Generator) -> Fitted:
        """Train; the log holds both losses per epoch and what chance is."""
        if self.start == "ridge":
            aligner = solve_aligner(pairs, rng, power=self.power, shrinkage=self.shrinkage, penalty=0, folds=3).aligner
        elif self.start == "random":
            aligner = self._random_start(pairs, rng)
        else:
            raise UsageError(f"start={self.start!r}", "random | ridge", "contrastive(start='random')")
        settings = LoopSettings(self.epochs, self.batch, self.learning_rate, self.weight_decay)
        loss = AlignmentLoss(self.loss, self.near)
        return train_aligner(aligner, pairs, loss, settings, rng, held_out=self.held_out)

    def _random_start(self, pairs: Pairs, rng: np.random.Generator) -> Aligner:
        import torch

        standardiser = Standardiser.fit(pairs.features, self.power)
        mean, weight = whitening(pairs.text_features, self.shrinkage)
        aligner = Aligner(len(standardiser.mean), len(mean), self.dim, power=self.power, normalise=True)
        across = rng.standard_normal((len(mean), self.dim)) / np.sqrt(self.dim)
        into = rng.standard_normal((len(standardiser.mean), self.dim)) / np.sqrt(self.dim)
        with torch.no_grad():
            aligner.image_mean.copy_(torch.from_numpy(standardiser.mean))
            aligner.image_scale.copy_(torch.from_numpy(standardiser.scale))
            aligner.image_weight.copy_(torch.from_numpy(into))
            aligner.text_mean.copy_(torch.from_numpy(mean))
            aligner.text_weight.copy_(torch.from_numpy(weight @ across))
        return aligner
