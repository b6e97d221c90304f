"""RSG: new rows of rare classes, made of how rows of frequent classes lie around their centres."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, normalize

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.plan import LOSSES, Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.score.imbalance import frequency_groups

__all__ = ["RareSampleGeneration"]


@dataclass(frozen=True)
class RareSampleGeneration:
    """For the last epochs a batch holds as many made rows as it holds rows of frequent classes, all of rare classes.

    A made row is a row of a rare class, and on top of it the way of a row of a frequent class from the nearest centre
    of that class, after a linear map that is to take out what this way tells of the frequent class. Frequent are the
    classes of the upper third of the logarithm of the training counts. The module stands before the head and does not
    move what comes before it; when training is over it is left out.

    Args:
        loss: of rows taught and made.
        head: of `nets/heads`.
        centres: of each class.
        units: of the network that judges pairs.
        start: share of the epochs after which rows are made and pairs are no longer learned, 0..1.
        centre: weight of the loss of centres and pairs (center estimation with sample contrast).
        vector: weight of the maximised-vector loss.

    Raises:
        UsageError: an option out of range, or a loss of findings.

    Source: Wang et al., CVPR 2021, arXiv 2106.09859; weights and start as in MONICA (arXiv 2410.02010). Differs: rows
    and linear maps in place of feature maps and convolutions; squared distances are means over columns; centres begin
    at the mean of their class; cross-entropy instead of LDAM and no second sampler, so that the effect is that of the
    rows.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    loss: str = "cross_entropy"
    head: str = "hidden"
    centres: int = 3
    units: int = 128
    start: float = 0.8
    centre: float = 0.1
    vector: float = 0.01

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        if min(self.centres, self.units) < 1 or not 0 <= self.start <= 1 or min(self.centre, self.vector) < 0:
            raise UsageError(f"{self}", "centres, units ≥ 1; 0 ≤ start ≤ 1; centre, vector ≥ 0")
        Plan(loss=self.loss).refuse_labels(taught.exclusive)
        network = new_network(taught, self.head, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        frequent = torch.from_numpy(frequency_groups(taught.counts) == 0)
        module = Generator(_means(taught), self.centres, self.units, frequent, generator)
        loss, counts = LOSSES.build(self.loss), torch.from_numpy(taught.counts).float()

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            given, told = taught.given(rows, epoch), taught.told(rows)
            features = given if network.tower is None else network.tower(given)
            late, fixed = epoch >= self.start * pace.epochs, features.detach()
            found = loss(network.head(features), told, counts)
            beside = self.centre * module.centre_loss(fixed, told, pairs=not late)
            made, labels, vector = module.made(fixed, told, generator) if late else (fixed[:0], told[:0], None)
            if vector is None:
                return found + beside
            new = loss(network.head(made), labels, counts)
            whole = len(found) + len(new)
            return (len(found) * found + new.sum()) / whole + beside + self.vector * vector

        learn_together(taught, [network], losses, pace, rng, "rsg", beside=module)
        return network


class Generator(nn.Module):
    """Centres of every class, the map of ways, and a judge of whether two rows are of one class."""

    frequent: Tensor

    def __init__(
        self, means: Float[Tensor, "k d"], centres: int, units: int, frequent: Bool[Tensor, "k"],
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        classes, width = means.shape

        def drawn(*shape: int, spread: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) * spread)

        self.register_buffer("frequent", frequent)
        self.centres = nn.Parameter(means[:, None].repeat(1, centres, 1))
        self.near = drawn(classes, centres, width, spread=width**-0.5)
        self.offset = nn.Parameter(torch.ones(classes, centres))
        self.map = nn.Linear(width, width)
        self.judge = nn.Sequential(nn.Linear(2 * width, units), nn.ReLU(), nn.Linear(units, 2))
        for layer in (self.map, *self.judge):
            if isinstance(layer, nn.Linear):
                layer.weight = drawn(*layer.weight.shape, spread=math.sqrt(2 / layer.in_features))
                nn.init.zeros_(layer.bias)

    def closeness(self, rows: Float[Tensor, "b d"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b c"]:
        """Of each row the shares of the centres of its class."""
        return torch.softmax(torch.einsum("bd,bcd->bc", rows, self.near[labels]) + self.offset[labels], dim=1)

    def centre_loss(self, rows: Float[Tensor, "b d"], labels: Int[Tensor, "b"], *, pairs: bool) -> Float[Tensor, ""]:
        """Distance to the centres by share; with pairs, cross-entropy of whether two rows are of one class."""
        shares = self.closeness(rows, labels)
        apart = (rows[:, None] - self.centres[labels]).square().mean(dim=2)
        found, half = (shares * apart).sum(dim=1).mean(), len(rows) // 2
        if pairs and half:
            both = torch.cat([rows[:half], rows[half : 2 * half]], dim=1)
            found = found + cross_entropy(self.judge(both), (labels[:half] == labels[half : 2 * half]).long())
        return found

    def made(
        self, rows: Float[Tensor, "b d"], labels: Int[Tensor, "b"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "m d"], Int[Tensor, "m"], Float[Tensor, ""] | None]:
        """One row of a rare class for each row of a frequent one, and the maximised-vector loss; none without both."""
        frequent = self.frequent[labels]
        common, rare = rows[frequent], rows[~frequent]
        if not len(common) or not len(rare):
            return rows[:0], labels[:0], None
        order = torch.randperm(len(common), generator=generator) % len(rare)
        base, classes = rare[order], labels[~frequent][order]
        way = common - self._nearest(common, labels[frequent])
        moved = self.map(way)
        return base + moved, classes, self.vector_loss(common, way, moved, base - self._nearest(base, classes))

    def vector_loss(
        self, common: Float[Tensor, "m d"], way: Float[Tensor, "m d"], moved: Float[Tensor, "m d"],
        rare: Float[Tensor, "m d"],
    ) -> Float[Tensor, ""]:  # fmt: skip
        """Not of the frequent class by the judge, who does not learn from it; as long as it was; along the rare way.

        Args:
            common: rows of frequent classes.
            way: from their nearest centres.
            moved: the same after the map.
            rare: ways of the rows they are added to, from their nearest centres.
        """
        fixed: Mapping[str, Tensor] = {name: p.detach() for name, p in self.judge.named_parameters()}
        judged = cast(Tensor, functional_call(self.judge, dict(fixed), (torch.cat([common, moved], dim=1),)))
        other = cross_entropy(judged, torch.zeros(len(judged), dtype=torch.int64))
        length = (moved.norm(dim=1) - way.norm(dim=1)).abs().mean()
        return other + length + (1 - (normalize(moved, dim=1) * normalize(rare, dim=1)).sum(dim=1)).mean()

    def _nearest(self, rows: Float[Tensor, "b d"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        with torch.no_grad():
            return self.centres[labels, self.closeness(rows, labels).argmax(dim=1)]


def _means(taught: Taught) -> Float[Tensor, "k d"]:
    """Of each class; 0 where it has no row."""
    own = np.eye(taught.classes)[taught.labels.astype(np.int64)]
    sums = own.T @ taught.features
    return torch.from_numpy(sums / np.maximum(own.sum(axis=0), 1)[:, None]).float()
