"""What a row shows, in the style of another domain: features with a domain's statistics taken for another's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.domain_weights import (
    domain_statistics,
    evened,
    refuse_findings,
    refuse_inputs,
    refuse_one_domain,
)
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network

__all__ = ["Restyled"]


@dataclass(frozen=True)
class Restyled:
    """Every row is seen twice, as it is and with the mean and spread of another domain; both shall be called alike.

    A domain's statistics are those of the row's own class in it, so that how common a class is is no style.

    Args:
        weight: of the squared distance between the log probabilities of the two, over classes.
        least, most: of the distance to the other style that is gone, 1 = all of it; beyond 1 further than any domain.
        power: cells of domain and class with n rows weigh as n ** (1 - power).
        loss: of `learn/losses`. head: of `nets/heads`.

    Source: after DECO (Xia et al., MICCAI 2024), known to us from its abstract. Differs: statistics of whole rows of
    frozen features instead of maps, of domains instead of images, and agreement of calls instead of pixels.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes", "domains", "features")
    weight: float = 1.0
    least: float = 0.0
    most: float = 1.5
    power: float = 0.0
    loss: str = "cross_entropy"
    head: str = "linear"

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        for refuse in (refuse_one_domain, refuse_findings, refuse_inputs):
            refuse(taught, "restyled")
        Plan(self.loss).refuse_labels(taught.exclusive)
        if self.weight < 0 or self.power < 0 or not 0 <= self.least <= self.most:
            raise UsageError(f"weight={self.weight}, power={self.power}, {self.least} to {self.most}", "none below 0")
        network = new_network(taught, self.head, rng)
        loss: Callable[..., Any] = Family("tapetum.learn.losses").build(self.loss)
        counts = torch.from_numpy(taught.counts).float()
        weights = torch.from_numpy(evened(taught, self.power)).float()
        style, source = Styles(taught), np.random.default_rng(int(rng.integers(2**62)))

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            given, told = taught.given(rows, epoch), taught.told(rows)
            share = source.uniform(self.least, self.most, len(rows))
            other = torch.from_numpy(style.changed(rows, share, source).astype(np.float32))
            ours, theirs = logits_of(network, given), logits_of(network, other)
            apart = (ours.log_softmax(1) - theirs.log_softmax(1)).square().mean(1)
            both: Tensor = (loss(ours, told, counts) + loss(theirs, told, counts)) / 2
            return weights[rows] * both + self.weight * apart

        learn_together(taught, [network], losses, pace, rng, "restyled")
        return network


class Styles:
    """Mean and spread of every column, of each class in each domain; of the whole class where a domain lacks it.

    Args:
        taught: rows with one class each.
    """

    def __init__(self, taught: Taught) -> None:
        self.rows, self.labels = taught.features.astype(np.float64), taught.labels.astype(np.int64)
        self.domains = np.unique(taught.domains, return_inverse=True)[1]
        count = int(self.domains.max()) + 1
        self.means = np.zeros((count, taught.classes, self.rows.shape[1]))
        self.spreads = np.ones(self.means.shape)
        for c in np.unique(self.labels):
            of = self.labels == c
            mean, spread = domain_statistics(self.rows[of], np.zeros(int(of.sum()), dtype=np.int64))
            for d in range(count):
                cell = of & (self.domains == d)
                if cell.sum() > 1:
                    mean, spread = domain_statistics(self.rows[cell], self.domains[cell])
                self.means[d, c], self.spreads[d, c] = mean[0], spread[0]

    def changed(
        self, rows: Int[np.ndarray, "b"], share: Float[np.ndarray, "b"], rng: np.random.Generator
    ) -> Float[np.ndarray, "b d"]:
        """The rows on their way to the style of another domain, drawn for each."""
        here, label = self.domains[rows], self.labels[rows]
        there = (here + rng.integers(1, len(self.means), len(rows))) % len(self.means)
        own = self.means[here, label], self.spreads[here, label]
        other = self.means[there, label], self.spreads[there, label]
        t = share[:, None]
        spread = (other[1] / own[1]) ** t
        return (self.rows[rows] - own[0]) * spread + (1 - t) * own[0] + t * other[0]
