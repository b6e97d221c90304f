"""Where the training of an aligner starts: what the tasks share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from tapetum.core.errors import UsageError
from tapetum.learn.aligner.closed_form import solve_aligner
from tapetum.learn.aligner.whiten import whitening
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.pairing.pairs import Pairs
from tapetum.nets import Aligner


@dataclass(frozen=True)
class Start:
    """The first aligner.

    Args:
        kind: `random` = small random maps on standardised features and whitened texts; `ridge` = the closed form.
        dim: columns of the common space (random). power: exponent of the signed root on image features. shrinkage: of
            the text whitening.
    """

    kind: str
    dim: int
    power: float
    shrinkage: float

    def aligner(self, pairs: Pairs, rng: np.random.Generator) -> Aligner:
        """An aligner for these pairs.

        Raises:
            UsageError: another kind.
        """
        if self.kind == "ridge":
            return solve_aligner(pairs, rng, power=self.power, shrinkage=self.shrinkage, penalty=0, folds=3).aligner
        if self.kind == "random":
            return self._random(pairs, rng)
        raise UsageError(f"start={self.kind!r}", "random | ridge", "contrastive(start='random')")

    def _random(self, pairs: Pairs, rng: np.random.Generator) -> Aligner:
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
