"""DivideMix: two networks tell each other which labels fit; the other images are learned without their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of, new_networks, read_rows
from tapetum.learn.classifying.trained import Committee, Network
from tapetum.learn.classifying.views import Views, blended, sharpened, soft_loss

__all__ = ["DivideMix"]

FITS = 0.5  # posterior from which on a label is thought to fit


@dataclass(frozen=True)
class DivideMix:
    """Before each epoch two normals split the losses of all rows; each network gets the split of the other.

    Labels that fit are softened towards what the network thinks; for the others both networks guess. All of them are
    blended, and both kinds are learned together. No rate is needed.

    Args:
        head: of `nets/heads`, with weights drawn at random. warm: share of the epochs in which all labels are learned.
            unlabelled: weight of the images without labels. temperature: of guesses. alpha: of the blending. even:
            weight of a penalty for naming some classes oftener than others, which is wrong where classes are rare.
            dropped, noise: of the views of features.

    Source: Li, Socher and Hoi, ICLR 2020, arXiv 2002.07394, algorithm 1; MixMatch: Berthelot et al., NeurIPS 2019.
    Differs: views of frozen features are made by dropout and noise; the share of a batch that fits is what the split
    gives; the weight of the unlabelled is not ramped up; a monotone mixture (`score/noise/loss_mixture`); AdamW.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    warm: float = 0.2
    unlabelled: float = 1.0
    temperature: float = 0.5
    alpha: float = 4.0
    even: float = 1.0
    dropped: float = 0.3
    noise: float = 0.1

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Committee:
        """Train both networks; see the family's protocol."""
        if not 0 <= self.warm < 1 or min(self.unlabelled, self.even) < 0 or min(self.temperature, self.alpha) <= 0:
            raise UsageError(f"{self}", "0 ≤ warm < 1; unlabelled, even ≥ 0; temperature, alpha > 0")
        if not taught.exclusive:
            raise UsageError("labels that are findings", "one class each")
        learning = _Learning(self, taught, pace, rng)
        networks = learning.networks
        learn_together(taught, networks, learning.losses, pace, rng, "divide_mix", before=learning.divide)
        return Committee(networks, np.stack(learning.fits).mean(axis=0))


class _Learning:
    """Both networks, and what each thinks of the labels."""

    def __init__(self, method: DivideMix, taught: Taught, pace: Pace, rng: np.random.Generator) -> None:
        self.method, self.taught = method, taught
        self.first_split = max(1, round(method.warm * pace.epochs))
        self.networks = new_networks(taught, method.head, rng)
        self.rng = np.random.default_rng(int(rng.integers(2**62)))
        self.views = Views(taught, method.dropped, method.noise, rng)
        self.fits = [np.ones(len(taught.labels)) for _ in self.networks]

    def divide(self, epoch: int) -> None:
        """Split the rows anew, by the networks as they are now."""
        if epoch < self.first_split:
            return
        mixture, everyone = Family("tapetum.score.noise").build("loss_mixture"), np.arange(len(self.taught.labels))
        self.fits = [mixture(read_rows(self.taught, n, everyone), self.taught.labels) for n in self.networks]

    def losses(self, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        """The sum over both networks, of which each uses the other's split."""
        if epoch < self.first_split:
            labels, given = self.taught.told(rows), self.views.weak(rows, epoch)
            each = [functional.cross_entropy(logits_of(n, given), labels, reduction="none") for n in self.networks]
            return each[0] + each[1]
        looks = [self.views.strong(rows, epoch, look) for look in (1, 2)]
        with torch.no_grad():
            said = [
                torch.stack([torch.softmax(logits_of(n, x), dim=1) for x in looks]).mean(dim=0) for n in self.networks
            ]
        both = (said[0] + said[1]) / 2
        total = torch.zeros(len(rows))
        for network, mine, others in zip(self.networks, said, reversed(self.fits), strict=True):
            fits = torch.from_numpy(others[rows]).float()
            labels = functional.one_hot(self.taught.told(rows), self.taught.classes).float()
            targets = targets_of(labels, mine, both, fits, self.method.temperature)
            total = total + self._mixed(network, looks, targets, fits > FITS)
        return total

    def _mixed(
        self, network: Network, looks: list[Tensor], targets: Float[Tensor, "b k"], fits: Tensor
    ) -> Float[Tensor, "b"]:
        """MixMatch: both views blended with all rows; cross-entropy where labels fit, squared error elsewhere."""
        mixed, shares = blended(torch.cat(looks), targets.repeat(2, 1), self.method.alpha, self.rng)
        logits = logits_of(network, mixed)
        probs = torch.softmax(logits, dim=1)
        told, guessed = soft_loss(logits, shares), (probs - shares).square().mean(dim=1)
        known = fits.repeat(2).float()
        part, rest = known / known.sum().clamp_min(1), (1 - known) / (1 - known).sum().clamp_min(1)
        mean = probs.mean(dim=0)
        uneven = -(mean * len(mean)).log().mean()
        loss = (part * told).sum() + self.method.unlabelled * (rest * guessed).sum() + self.method.even * uneven
        return loss.expand(len(fits))


def targets_of(
    labels: Float[Tensor, "b k"],
    mine: Float[Tensor, "b k"],
    both: Float[Tensor, "b k"],
    fits: Float[Tensor, "b"],
    temperature: float,
) -> Float[Tensor, "b k"]:
    """What a network is taught: softened labels where they fit, guesses of both networks elsewhere.

    Args:
        labels: given, one-hot.
        mine: probabilities of the network that learns.
        both: mean probabilities of both.
        fits: posterior that a label fits, by the other network.
        temperature: of both kinds.
    """
    share = fits[:, None]
    soft = torch.where(share > FITS, share * labels + (1 - share) * mine, both)
    return sharpened(soft, temperature)
