"""SADE: three experts for three worlds, one as common classes are, one balanced, one turned round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from tapetum.learn.classifying.experts import train_experts
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.trained import Network
from tapetum.learn.classifying.weighing import log_prior

__all__ = ["SkillDiverseExperts"]


@dataclass(frozen=True)
class SkillDiverseExperts:
    """Cross-entropy, balanced softmax, and cross-entropy of `logits + log prior - tau · log turned prior`; mean logits.

    In the turned prior the rarest class has the share of the commonest one, and so on.

    Args:
        tau: of the third expert.
        units: of the hidden layer that they share.

    Source: Zhang et al., NeurIPS 2022, arXiv 2107.09249, equations 2 to 4. Differs: experts share the hidden layer and
    have a last layer each; no weights are learned from tested images.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    tau: float = 2.0
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        return train_experts(taught, self.losses, 3, self.units, pace, rng, "sade")

    def losses(
        self, logits: Float[Tensor, "b 3 k"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"]
    ) -> Float[Tensor, "b"]:
        """Mean loss of the three."""
        prior = log_prior(counts)
        turned = prior.clone()
        turned[prior.argsort()] = prior.sort(descending=True).values
        moved = (logits[:, 0], logits[:, 1] + prior, logits[:, 2] + prior - self.tau * turned)
        return sum((cross_entropy(z, labels, reduction="none") for z in moved), logits.new_zeros(len(labels))) / 3
