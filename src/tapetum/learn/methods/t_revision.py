"""T-Revision: weigh every label by how likely it is the true one, and let the transition be revised meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.doubt import doubt
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.learn.classifying.transition import LEAST, at, given_probs, learn_through

__all__ = ["TRevision"]


@dataclass(frozen=True)
class TRevision:
    """Cross-entropy times P(true = label) / P(given = label); a second stage learns a slack of the transition, too.

    Args:
        head: of `nets/heads`. by: estimate of the transition, `anchors` or `confident`. slack_rate: pace of the slack,
            of the network's; 0 = the transition stays as estimated.

    Source: Xia et al., NeurIPS 2019, arXiv 1906.00189, algorithm 1. Differs: the transition is read off labels out of
    fold; the last epoch stays and no noisy validation set chooses; rows of the revised transition are kept
    probabilities.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    by: str = "anchors"
    slack_rate: float = 0.01

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train both stages at the same pace; see the family's protocol."""
        if self.slack_rate < 0:
            raise UsageError(f"slack_rate={self.slack_rate}", "0 or above")
        transition = torch.from_numpy(doubt(taught, pace, rng, self.by).transition).float()
        slack = _Slack(taught.classes)

        def fixed(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
            return reweighted(logits, labels, transition).detach() * functional.cross_entropy(
                logits, labels, reduction="none"
            )

        def revised(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
            weight = reweighted(logits.detach(), labels, slack(transition))
            return weight * functional.cross_entropy(logits, labels, reduction="none")

        network = learn_through(taught, new_network(taught, self.head, rng), fixed, pace, rng, "t_revision")
        return learn_through(
            taught, network, revised, pace, rng, "t_revision", beside=slack, beside_rate=self.slack_rate
        )


def reweighted(
    logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"], transition: Float[Tensor, "k k"]
) -> Float[Tensor, "b"]:
    """How likely the given class is the true one, over how likely it is to be given."""
    return at(torch.softmax(logits, dim=1), labels) / at(given_probs(logits, transition), labels).clamp_min(LEAST)


class _Slack(nn.Module):
    """What is added to a transition; rows stay probabilities."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.slack = nn.Parameter(torch.zeros(classes, classes))

    def forward(self, transition: Float[Tensor, "k k"]) -> Float[Tensor, "k k"]:
        return functional.normalize((transition + self.slack).clamp_min(LEAST), p=1, dim=1)
