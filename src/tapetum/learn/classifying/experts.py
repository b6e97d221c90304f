"""Several last layers on one hidden layer, which vote with the mean of their logits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import paces, run_stage
from tapetum.learn.classifying.trained import Network

ExpertLoss = Callable[[Float[Tensor, "b m k"], Int[Tensor, "b"], Float[Tensor, "k"]], Float[Tensor, "b"]]


class Experts(nn.Module):
    """One hidden layer and `number` linear ones, all with weights of their own."""

    BENDS: ClassVar[bool] = True

    def __init__(self, width: int, classes: int, units: int, number: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = nn.Linear(width, units)
        self.lasts = nn.ModuleList(nn.Linear(units, classes) for _ in range(number))
        with torch.no_grad():
            self.first.weight.copy_(torch.randn(units, width, generator=generator) * math.sqrt(2 / width))
            for last in self.lasts:
                last.get_parameter("weight").copy_(torch.randn(classes, units, generator=generator) / (10 * units**0.5))
                nn.init.zeros_(last.get_parameter("bias"))
        nn.init.zeros_(self.first.bias)

    def embed(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """The hidden layer."""
        return torch.relu(self.first(features))

    def each(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b m k"]:
        """Logits of every expert."""
        return torch.stack([last(embedded) for last in self.lasts], dim=1)

    def classify(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        """Mean logits."""
        return self.each(embedded).mean(dim=1)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Mean logits."""
        return self.classify(self.embed(features))


def train_experts(
    taught: Taught, loss: ExpertLoss, number: int, units: int, pace: Pace, rng: np.random.Generator, name: str
) -> Network:
    """Train experts with a loss of all their logits.

    Args:
        taught: the rows, one class each.
        loss: logits of every expert, labels, rows of each class → loss per row.
        number: of experts.
        units: of the hidden layer.
        pace: how long and how fast.
        rng: first weights and order.
        name: of the method, for whoever reads an error.
    """
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    head = Experts(taught.features.shape[1], taught.classes, units, number, generator)
    network = Network(head, copy.deepcopy(taught.tower))
    counts = torch.from_numpy(taught.counts).float()

    def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        given = taught.given(rows, epoch)
        features = given if network.tower is None else network.tower(given)
        return loss(head.each(head.embed(features)), taught.told(rows), counts)

    train_network(taught, network, losses, pace, rng, name)
    return network


def train_network(
    taught: Taught,
    network: Network,
    losses: Callable[[Int[np.ndarray, "b"], int], Float[Tensor, "b"]],
    pace: Pace,
    rng: np.random.Generator,
    name: str,
) -> None:
    """Train all of a network with losses of row numbers and epoch; the last epoch stays.

    Raises:
        DataError: the loss became not finite.
    """
    whole = nn.ModuleList([network.head, *([network.tower] if network.tower is not None else [])])
    run_stage(
        whole,
        losses,
        taught,
        pace.settings(),
        rng,
        paces(network, list(whole.parameters()), pace.offset_rate),
        None,
        name,
    )
