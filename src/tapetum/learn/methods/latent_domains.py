"""Domains that nobody named: groups of images that look alike, whatever they show."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64, Int

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.domain_weights import evened, refuse_findings
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Network

__all__ = ["LatentDomains"]

_ROUNDS, _STARTS = 50, 4  # of k-means


@dataclass(frozen=True)
class LatentDomains(Plan):
    """Rows are clustered after the mean of their class was taken away; the clusters then stand for domains.

    It needs no domain and works where there is one only.

    Args:
        clusters: at least 2; one with a class missing still counts.
        weight: of the penalty that makes the losses of the clusters equal, unless `invariance` names one.
        power: cells of cluster and class with n rows weigh as n ** (1 - power), see `evened_domains`.
        others: see `Plan`.

    Source: after Yan et al., TMI 2024 (PLDG), known to us from its code. Differs: clusters are found once, on features
    without their class mean instead of early tokens; V-REx in the place of prompts per domain.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    clusters: int = 4
    weight: float = 1.0
    power: float = 0.0

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        refuse_findings(taught, "latent_domains")
        if self.clusters < 2 or self.weight < 0 or self.power < 0:
            found = f"clusters={self.clusters}, weight={self.weight}, power={self.power}"
            raise UsageError(found, "2 clusters or more, and nothing below 0")
        found = dataclasses.replace(taught, domains=clusters_of(taught, self.clusters, rng))
        plan = dataclasses.replace(self, invariance=self.invariance or f"vrex(weight={self.weight!r})")
        return train(found, plan, pace, rng, weights=evened(found, self.power))


def clusters_of(taught: Taught, count: int, rng: np.random.Generator) -> Int[np.ndarray, "n"]:
    """Number of the cluster of each row: k-means on rows minus the mean of their class.

    Args:
        taught: rows with one class each.
        count: clusters.
        rng: of the first centres.
    """
    rows = taught.features.astype(np.float64)
    for c in np.unique(taught.labels):
        rows[taught.labels == c] -= rows[taught.labels == c].mean(0)
    tries = [_k_means(rows, min(count, len(rows)), rng) for _ in range(_STARTS)]
    return min(tries, key=lambda found: found[1])[0]


def _k_means(
    rows: Float64[np.ndarray, "n d"], count: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "n"], float]:
    """Clusters and the sum of squared distances to their centres, from k-means++ centres."""
    centres = rows[rng.integers(len(rows))][None]
    while len(centres) < count:
        nearest = _squares(rows, centres).min(1)
        chance = nearest / nearest.sum() if nearest.sum() > 0 else None
        centres = np.concatenate([centres, rows[rng.choice(len(rows), p=chance)][None]])
    which = np.full(len(rows), -1)
    for _ in range(_ROUNDS):
        squares = _squares(rows, centres)
        again = squares.argmin(1)
        if (again == which).all():
            break
        which = again
        centres = np.stack([rows[which == c].mean(0) if (which == c).any() else centres[c] for c in range(count)])
    return which, float(_squares(rows, centres).min(1).sum())


def _squares(rows: Float64[np.ndarray, "n d"], centres: Float64[np.ndarray, "c d"]) -> Float64[np.ndarray, "n c"]:
    found = (rows**2).sum(1)[:, None] - 2 * rows @ centres.T + (centres**2).sum(1)
    return np.maximum(found, 0.0)
