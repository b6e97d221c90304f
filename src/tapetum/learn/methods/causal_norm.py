"""Causal norm: what every feature leans to, since common classes are common, is taken off when asked."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.experts import train_network
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.stages import embedded_rows
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.trained import Network

__all__ = ["CausalNorm"]


@dataclass(frozen=True)
class CausalNorm:
    """A cosine classifier on groups of features, minus alpha · its answer to the mean direction of the training rows.

    Args:
        tau: of the logits.
        alpha: how much of the mean direction is taken off; 0 = nothing.
        gamma: added to the length of weights.
        groups: of features, each with a classifier; a divisor of `units`.
        units: of the hidden layer.

    Raises:
        UsageError: groups that do not divide the units.

    Source: Tang et al., NeurIPS 2020, arXiv 2009.12991, equations 5 to 8. Differs: the direction is the mean of all
    training rows after training, in place of one that moved along; features as in `crt`.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    tau: float = 16.0
    alpha: float = 1.5
    gamma: float = 0.03125
    groups: int = 2
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train, then find the direction; see the family's protocol."""
        if self.groups < 1 or self.units % self.groups:
            raise UsageError(f"groups={self.groups}, units={self.units}", "groups that divide the units")
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        head = _Causal(taught.features.shape[1], taught.classes, self, generator)
        network = Network(head, copy.deepcopy(taught.tower))

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            given = taught.given(rows, epoch)
            logits = head(given if network.tower is None else network.tower(given))
            return cross_entropy(logits, taught.told(rows), reduction="none")

        train_network(taught, network, losses, pace, rng, "causal_norm")
        mean = torch.from_numpy(embedded_rows(taught, network).features).mean(dim=0)
        head.direction.copy_(normalize(mean.reshape(self.groups, -1), dim=1))
        return network


class _Causal(nn.Module):
    """See `CausalNorm`; `direction` is 0 while training."""

    BENDS: ClassVar[bool] = True

    direction: Tensor

    def __init__(self, width: int, classes: int, settings: CausalNorm, generator: torch.Generator) -> None:
        super().__init__()
        units = settings.units // settings.groups
        self.settings, self.first = settings, nn.Linear(width, settings.units)
        self.weight = nn.Parameter(torch.randn(settings.groups, classes, units, generator=generator) / math.sqrt(units))
        self.register_buffer("direction", torch.zeros(settings.groups, units))
        with torch.no_grad():
            drawn = torch.randn(settings.units, width, generator=generator)
            self.first.weight.copy_(drawn * math.sqrt(2 / width))
        nn.init.zeros_(self.first.bias)

    def embed(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        return torch.relu(self.first(features))

    def classify(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        rows = normalize(embedded.reshape(len(embedded), self.settings.groups, -1), dim=2)
        weight = self.weight / (self.weight.norm(dim=2, keepdim=True) + self.settings.gamma)
        cosine = (rows * self.direction).sum(dim=2, keepdim=True)
        moved = rows - self.settings.alpha * cosine * self.direction
        return self.settings.tau / self.settings.groups * torch.einsum("bge,gke->bk", moved, weight)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        return self.classify(self.embed(features))
