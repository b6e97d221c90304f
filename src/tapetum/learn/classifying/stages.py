"""Learning in two stages: first what the last layer reads, then the last layer alone."""

from __future__ import annotations

from typing import ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import IMAGES, ROWS, Network
from tapetum.learn.training.loop import HELD_OUT
from tapetum.nets.heads import ClassHead


class Joined(nn.Module):
    """What one network embeds, classified by another's last layer."""

    BENDS: ClassVar[bool] = True

    def __init__(self, first: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.first, self.last = first, last

    def embed(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """Of the first network."""
        return cast(ClassHead, self.first).embed(features)

    def classify(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        """Logits of the second one."""
        return self.last(embedded)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.classify(self.embed(features))


class Adjusted(nn.Module):
    """A linear layer whose logits are multiplied, class by class."""

    BENDS: ClassVar[bool] = False

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear, self.scale = linear, nn.Parameter(torch.ones(linear.out_features))

    def embed(self, features: Float[Tensor, "b e"]) -> Float[Tensor, "b e"]:
        """The features themselves."""
        return features

    def classify(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.scale * self.linear(embedded)

    def forward(self, features: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.classify(features)


def first_stage(taught: Taught, plan: Plan, pace: Pace, rng: np.random.Generator) -> tuple[Network, nn.Linear, Taught]:
    """Train a network with a hidden layer, then take its last layer off.

    Args:
        taught: the rows.
        plan: its head has a hidden layer and a linear one named `last`.
        pace: how long and how fast.
        rng: the generator.

    Returns:
        The network, its last layer, and the same rows as that layer reads them, without augmentation.
    """
    network = train(taught, plan, pace, rng)
    return network, cast(nn.Linear, network.head.get_submodule("last")), embedded_rows(taught, network)


def embedded_rows(taught: Taught, network: Network) -> Taught:
    """The same rows as the network's last layer reads them, without augmentation; nothing before it learns any more."""
    size = IMAGES if taught.tower is not None else ROWS
    rows = np.arange(len(taught.labels))
    parts = [network.embed(taught.given(rows[i : i + size], HELD_OUT)) for i in range(0, len(rows), size)]
    return Taught(
        np.concatenate(parts).astype(np.float32), taught.labels, taught.classes, taught.groups, taught.domains
    )


def joined(network: Network, last: nn.Module) -> Network:
    """The network with another last layer."""
    return Network(Joined(network.head, last), network.tower)
