"""Class-balanced selection: quotas for every class, a vote of neighbours, and a loss that knows the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.doubt import doubt
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of, read_rows
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Committee

__all__ = ["ClassBalancedSelection"]


@dataclass(frozen=True)
class ClassBalancedSelection:
    """Before each epoch the labels of every class are ranked among themselves, and the best of each are learned.

    A label's rank is that of the network's probability of it times the share of its neighbours that have it, both
    relative to how common the class is; of each class as many stay as were estimated to be right, and never fewer than
    `least` of them. The loss adds the logarithm of the prior of what was kept, so that a rare class keeps its place.

    Args:
        head: of `nets/heads`. by: estimate of the share of wrong labels of each class, `anchors` or `confident`. warm:
            share of the epochs in which all labels are learned. neighbours: that vote; 0 = none do. least: share of
            each class that is always learned. tau: strength of the prior in the loss; 0 = cross-entropy.

    Source: after MedSSL, known here from a summary of its results on LNMBench (arXiv 2512.09315). Differs: rebuilt;
    quotas, vote and product are our own; the logit-adjusted loss is that of Menon et al., ICLR 2021.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    by: str = "anchors"
    warm: float = 0.2
    neighbours: int = 20
    least: float = 0.3
    tau: float = 1.0

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Committee:
        """Train; see the family's protocol."""
        if not (0 <= self.warm < 1 and self.neighbours >= 0 and 0 < self.least <= 1 and self.tau >= 0):
            raise UsageError(f"{self}", "0 ≤ warm < 1; neighbours, tau ≥ 0; 0 < least ≤ 1")
        wrong = np.minimum(doubt(taught, pace, rng, self.by).wrong, 1 - self.least)
        votes = _votes(taught, self.neighbours)
        network, everyone = new_network(taught, self.head, rng), np.arange(len(taught.labels))
        kept = np.ones(len(everyone), dtype=bool)
        loss = Family("tapetum.learn.losses").build(f"balanced_softmax(tau={self.tau})")

        def before(epoch: int) -> None:
            nonlocal kept
            if epoch >= self.warm * pace.epochs and epoch:
                fits = read_rows(taught, network, everyone)[everyone, taught.labels] * votes
                kept = by_quota(fits, taught.labels, wrong)

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            counts = torch.from_numpy(np.bincount(taught.labels[kept], minlength=taught.classes)).float()
            found = loss(logits_of(network, taught.given(rows, epoch)), taught.told(rows), counts)
            chosen = torch.from_numpy(kept[rows]).float()
            return found * chosen * (len(rows) / chosen.sum().clamp_min(1))

        learn_together(taught, [network], losses, pace, rng, "class_balanced_selection", before=before)
        return Committee((network,), kept.astype(np.float64))


def by_quota(
    fits: Float[np.ndarray, "n"], labels: Int[np.ndarray, "n"], wrong: Float[np.ndarray, "k"]
) -> Bool[np.ndarray, "n"]:
    """Of each class the labels that fit best, `1 - wrong` of them, rounded up.

    Example:
        >>> fits, labels = np.array([0.9, 0.2, 0.8, 0.1, 0.05]), np.array([0, 0, 0, 1, 1])
        >>> by_quota(fits, labels, np.array([0.3, 0.5])).tolist()
        [True, True, True, True, False]
    """
    kept = np.zeros(len(labels), dtype=bool)
    for c in np.unique(labels):
        mine = np.flatnonzero(labels == c)
        number = int(np.ceil((1 - wrong[c]) * len(mine) - 1e-9))
        kept[mine[np.argsort(-fits[mine], kind="stable")[:number]]] = True
    return kept


def _votes(taught: Taught, neighbours: int) -> Float64[np.ndarray, "n"]:
    """Share of a row's nearest rows of other patients, by cosine, that have its label; 1 where nobody is asked."""
    number = len(taught.labels)
    if not neighbours:
        return np.ones(number)
    rows = taught.features / np.maximum(np.linalg.norm(taught.features, axis=1, keepdims=True), 1e-12)
    found = np.empty(number)
    for start in range(0, number, 1024):
        part = slice(start, start + 1024)
        near = rows[part] @ rows.T
        near[taught.groups[part, None] == taught.groups[None, :]] = -np.inf
        nearest = np.argpartition(-near, min(neighbours, number - 1), axis=1)[:, :neighbours]
        found[part] = (taught.labels[nearest] == taught.labels[part, None]).mean(axis=1)
    return found + 1 / neighbours
