"""GDRNet: images with artefacts of the camera, pulled to the clean ones of their class; rare cells weigh more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.domain_weights import evened, refuse_findings, refuse_frozen
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.nets.heads import ClassHead

__all__ = ["GdrNet"]


@dataclass(frozen=True)
class GdrNet:
    """Weighted loss of the changed image, beside a contrast in which it and the clean one are two of their class.

    The share of the contrast falls in a line from `start` to 0 over the epochs; that of the weighted loss is the rest.

    Args:
        artefacts: specs of `learn/augment` joined by `+`, on top of what the caller changes.
        power: a cell of domain and class with n rows weighs as n ** -power; 0 = every row alike.
        contrast: multiplies the contrast, at least 0.
        start: share of the contrast in the first epoch, 0..1; 0 = the weighted loss alone.
        temperature: of the contrast, above 0.
        loss: of `learn/losses`. head: of `nets/heads`.

    Source: after Che et al., MICCAI 2023, arXiv 2307.04378. Differs: artefacts are `fundus_artefacts` and
    `photometric`, weights are counted on the rows at hand and have mean 1; no warm-up.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes", "pictures")
    artefacts: str = "fundus_artefacts() + photometric()"
    power: float = 0.5
    contrast: float = 0.25
    start: float = 1.0
    temperature: float = 0.1
    loss: str = "cross_entropy"
    head: str = "linear"

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        refuse_frozen(taught, "gdr_net")
        refuse_findings(taught, "gdr_net")
        Plan(self.loss).refuse_labels(taught.exclusive)
        if self.power < 0 or self.contrast < 0 or not 0 <= self.start <= 1 or self.temperature <= 0:
            found = f"power={self.power}, contrast={self.contrast}, start={self.start}, temperature={self.temperature}"
            raise UsageError(found, "at least 0, at least 0, 0 to 1, above 0")
        if self.start == 1 and pace.epochs < 2:
            raise UsageError(
                f"start=1.0 in {pace.epochs} epoch", "two epochs: the first one is contrast alone", "start=0"
            )
        network = new_network(taught, self.head, rng)
        changed = _changed(taught, self.artefacts)
        losses_of = self._parts(network, taught)
        weights = torch.from_numpy(evened(taught, self.power)).float()

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            share = self.start * (1 - epoch / pace.epochs)
            own, apart = losses_of(changed(rows, epoch), taught.given(rows, epoch), taught.told(rows))
            return (1 - share) * weights[rows] * own + share * self.contrast * apart

        learn_together(taught, [network], losses, pace, rng, "gdr_net")
        return network

    def _parts(
        self, network: Network, taught: Taught
    ) -> Callable[[Tensor, Tensor, Tensor], tuple[Float[Tensor, "b"], Float[Tensor, "b"]]]:
        """Changed and clean images and labels → loss of the changed ones, and the contrast of both."""
        loss: Callable[..., Any] = Family("tapetum.learn.losses").build(self.loss)
        near: Callable[..., Any] = Family("tapetum.learn.compactness").build(
            "supervised_contrastive", weight=1.0, temperature=self.temperature, balanced=False
        )
        head, counts = cast(ClassHead, network.head), torch.from_numpy(taught.counts).float()

        def parts(other: Tensor, clean: Tensor, told: Tensor) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
            assert network.tower is not None
            embedded = head.embed(network.tower(torch.cat([other, clean])))
            both = near(embedded, torch.cat([told, told]), counts)
            return loss(head.classify(embedded[: len(told)]), told, counts), both.reshape(2, -1).mean(dim=0)

        return parts


def _changed(taught: Taught, artefacts: str) -> Callable[[Int[np.ndarray, "b"], int], Tensor]:
    """Raises:
    UsageError: an unknown augmentation, or a tower of something that cannot be changed.
    """
    if taught.changed is None:
        raise UsageError("gdr_net on inputs that cannot be changed", "pictures of an archive")
    return taught.changed(artefacts)
