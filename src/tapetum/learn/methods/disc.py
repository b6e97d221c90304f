"""DISC: every image has thresholds of its own, from two views; labels are clean, hard or made anew by them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Committee
from tapetum.learn.classifying.views import Views, blended, soft_loss

__all__ = ["Disc"]

CEILING = 0.99


@dataclass(frozen=True)
class Disc:
    """Clean labels are learned by cross-entropy, hard ones by a robust loss, both and those made anew also blended.

    The thresholds of an image are moving averages of how sure the network was of it in the weak and in the strong view.
    A label is clean if it passes both, hard if it passes one; where it passes none and the network is surer than the
    thresholds and `margin`, its class is learned instead. No rate is needed.

    Args:
        head: of `nets/heads`. warm: share of the epochs in which all labels are learned. momentum: of the thresholds,
            per epoch. margin: how much surer. hard: weight of the hard labels. alpha: of the blending. dropped, noise:
            of the strong view of features.

    Source: Li et al., CVPR 2023 (DISC), after a description of its code. Differs: a longer warm-up (chosen on the
    phantom); the strong view of frozen features is made by dropout and noise; thresholds begin at the first epoch's
    confidence, not at 0; AdamW.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    warm: float = 0.3
    momentum: float = 0.99
    margin: float = 0.5
    hard: float = 1.0
    alpha: float = 5.0
    dropped: float = 0.3
    noise: float = 0.1

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Committee:
        """Train; see the family's protocol."""
        if not (0 <= self.warm < 1 and 0 <= self.momentum < 1 and min(self.hard, self.margin) >= 0 and self.alpha > 0):
            raise UsageError(f"{self}", "0 ≤ warm, momentum < 1; hard, margin ≥ 0; alpha > 0")
        if not taught.exclusive:
            raise UsageError("labels that are findings", "one class each")
        learning = _Learning(self, taught, pace, rng)
        learn_together(taught, [learning.network], learning.losses, pace, rng, "disc")
        return Committee((learning.network,), learning.trust)


class _Learning:
    """The network, the thresholds of every row, and what is learned from a batch."""

    def __init__(self, method: Disc, taught: Taught, pace: Pace, rng: np.random.Generator) -> None:
        self.method, self.taught, self.epochs = method, taught, pace.epochs
        self.network = new_network(taught, method.head, rng)
        self.rng = np.random.default_rng(int(rng.integers(2**62)))
        self.views = Views(taught, method.dropped, method.noise, rng)
        self.thresholds = torch.full((2, len(taught.labels)), float("nan"))
        self.trust = np.zeros(len(taught.labels))
        self.robust = Family("tapetum.learn.losses").build("generalised_cross_entropy")
        self.counts = torch.from_numpy(taught.counts).float()

    def losses(self, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        """Loss per row, after the thresholds were moved."""
        given = (self.views.weak(rows, epoch), self.views.strong(rows, epoch))
        labels = self.taught.told(rows)
        logits = [logits_of(self.network, x) for x in given]
        probs = [torch.softmax(z.detach(), dim=1) for z in logits]
        sure = torch.stack([p.max(dim=1).values for p in probs])
        self.thresholds[:, rows] = moved(self.thresholds[:, rows], sure, self.method.momentum)
        plain = sum((functional.cross_entropy(z, labels, reduction="none") for z in logits), torch.zeros(len(rows)))
        if epoch < self.method.warm * self.epochs:
            return plain / 2
        clean, hard, anew = parts(probs[0], probs[1], labels, self.thresholds[:, rows], self.method.margin)
        self.trust[rows] = (clean | hard).double().numpy()
        robust = sum((self.robust(z, labels, self.counts) for z in logits), torch.zeros(len(rows)))
        found = (clean * plain + self.method.hard * hard * robust) / 2
        chosen = torch.nonzero(clean | hard | anew)[:, 0]
        if not len(chosen):
            return found
        known = torch.where(anew, (probs[0] + probs[1]).argmax(dim=1), labels)
        targets = functional.one_hot(known, self.taught.classes).float()[chosen]
        mixed, shares = blended(given[1][chosen], targets, self.method.alpha, self.rng)
        return found + soft_loss(logits_of(self.network, mixed), shares).mean()


def moved(thresholds: Float[Tensor, "2 b"], sure: Float[Tensor, "2 b"], momentum: float) -> Float[Tensor, "2 b"]:
    """Thresholds one epoch later; NaN, before the first one, takes what was seen."""
    return torch.where(thresholds.isnan(), sure, momentum * thresholds + (1 - momentum) * sure)


def parts(
    weak: Float[Tensor, "b k"],
    strong: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    thresholds: Float[Tensor, "2 b"],
    margin: float,
) -> tuple[Bool[Tensor, "b"], Bool[Tensor, "b"], Bool[Tensor, "b"]]:
    """Clean, hard and made anew; no row is in two of them.

    Args:
        weak: probabilities of the weak view.
        strong: of the strong view.
        labels: given.
        thresholds: of both views.
        margin: how much surer than the mean threshold the network is of a class that takes the label's place.
    """
    passes = [p.gather(1, labels[:, None])[:, 0] > t for p, t in zip((weak, strong), thresholds, strict=True)]
    clean, hard = passes[0] & passes[1], passes[0] ^ passes[1]
    sure = (weak + strong).max(dim=1).values / 2
    limit = (thresholds.mean(dim=0) + margin).clamp_max(CEILING)
    return clean, hard, (sure > limit) & ~clean & ~hard
