"""SagNet: the head reads images in a style drawn anew, and a second head that reads style alone is led astray."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.domain_weights import refuse_findings, refuse_frozen
from tapetum.learn.classifying.maps import changing, first_blocks, with_mixed_style, with_other_content
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.learn.training.loop import HELD_OUT

__all__ = ["SagNet"]


@dataclass(frozen=True)
class SagNet:
    """What a head reads has a style mixed with another image's; what comes before may not tell the class by style.

    A style head sees maps with the style of one image and the content of another and learns the class of the style.
    The layers before it are taught that this head should find every class as likely.

    Args:
        weight: of that adversarial loss, at least 0.
        level: of the sizes of map, from 1: where style and content part, after the last block of that size.
        units: channels of the style head.
        loss: of `learn/losses`, of the content. head: of `nets/heads`.

    Source: Nam et al., CVPR 2021, arXiv 1910.11645. Differs: the style head is one convolution and one linear layer,
    not a copy of the rest of the network; the adversarial loss teaches all layers before the maps and not their norms
    alone, as in DomainBed, since a tower may have none; deviations are mixed and not variances; all losses in one step.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes", "pictures")
    weight: float = 0.1
    level: int = 2
    units: int = 32
    loss: str = "cross_entropy"
    head: str = "linear"

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        refuse_frozen(taught, "sag_net")
        refuse_findings(taught, "sag_net")
        Plan(self.loss).refuse_labels(taught.exclusive)
        if self.weight < 0 or self.units < 1:
            raise UsageError(f"weight={self.weight}, units={self.units}", "at least 0, and 1 or more")
        source = rng.spawn(1)[0]
        network = new_network(taught, self.head, rng)
        tower = cast(nn.Module, network.tower)
        block, channels = first_blocks(tower, taught.given(np.arange(1), HELD_OUT), self.level)[-1]
        judge = style_head(channels, self.units, taught.classes, source)
        loss: Callable[..., Any] = Family("tapetum.learn.losses").build(self.loss)
        counts = torch.from_numpy(taught.counts).float()
        seen: list[Tensor] = []

        def in_another_style(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
            seen[:] = [maps]
            share = torch.from_numpy(source.random(len(maps))).to(maps.dtype)
            return with_mixed_style(maps, torch.from_numpy(source.permutation(len(maps))), share, fixed=False)

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            told = taught.told(rows)
            own: Tensor = loss(logits_of(network, taught.given(rows, epoch)), told, counts)
            partner = torch.from_numpy(source.permutation(len(rows)))
            named, fooled = style_losses(judge, seen[0], partner, told)
            return own + named + self.weight * fooled

        with changing(tower, [block], in_another_style):
            learn_together(taught, [network], losses, pace, rng, "sag_net", beside=judge)
        return network


def style_losses(
    judge: nn.Module, maps: Float[Tensor, "b c h w"], partner: Int[Tensor, "b"], labels: Int[Tensor, "b"]
) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
    """What the style head learns by, and what the maps learn by so that it cannot.

    Args:
        judge: the style head.
        maps: of a batch.
        partner: whose content each style is seen with.
        labels: of the styles.

    Returns:
        Cross-entropy, whose gradient reaches the style head alone; and the mean of minus the log probabilities, whose
        gradient reaches the maps alone, through their means and deviations.
    """
    mixed = with_other_content(maps, partner)
    named = functional.cross_entropy(judge(mixed.detach()), labels, reduction="none")
    held = {name: p.detach() for name, p in judge.named_parameters()}
    fooled = -functional_call(judge, held, (mixed,)).log_softmax(dim=1).mean(dim=1)
    return named, fooled


def style_head(channels: int, units: int, classes: int, rng: np.random.Generator) -> nn.Module:
    """A convolution, pooled, and a linear layer, with drawn weights."""
    judge = nn.Sequential(
        nn.Conv2d(channels, units, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(units, classes),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    with torch.no_grad():
        for parameter in judge.parameters():
            spread = math.sqrt(2 / parameter[0].numel()) if parameter.ndim > 1 else 0.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return judge
