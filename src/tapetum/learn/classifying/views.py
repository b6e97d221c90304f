"""Two looks at the same rows: as they are and disturbed, for methods that compare what a network says of both."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import beta as beta_law
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.taught import Taught

APART = 1_000_003  # added to the epoch, so that images are augmented otherwise


class Views:
    """Weak and strong views of the rows taught.

    Where a tower learns from images, both are augmentations as the caller makes them, drawn apart. Frozen features
    cannot be augmented: there the strong view leaves columns out, as dropout does, and adds noise.

    Args:
        taught: the rows.
        dropped: share of columns that a strong view leaves out, 0..1.
        noise: standard deviation added to a column, of about unit variance.
        rng: of both.

    Raises:
        UsageError: an option out of range.
    """

    def __init__(self, taught: Taught, dropped: float, noise: float, rng: np.random.Generator) -> None:
        if not 0 <= dropped < 1 or noise < 0:
            raise UsageError(f"dropped={dropped}, noise={noise}", "at least 0 and below 1, and 0 or above")
        self.taught, self.dropped, self.noise = taught, dropped, noise
        self.generator = torch.Generator().manual_seed(int(rng.integers(2**62)))

    def weak(self, rows: Int[np.ndarray, "b"], epoch: int) -> Tensor:
        """As they are, or as the caller augments them."""
        return self.taught.given(rows, epoch)

    def strong(self, rows: Int[np.ndarray, "b"], epoch: int, look: int = 1) -> Tensor:
        """Disturbed; another `look` is another augmentation."""
        if self.taught.inputs is not None:
            return self.taught.given(rows, epoch + look * APART)
        given = self.taught.given(rows, epoch)
        kept = torch.rand(given.shape, generator=self.generator) >= self.dropped
        return given * kept / (1 - self.dropped) + self.noise * torch.randn(given.shape, generator=self.generator)


def blended(
    given: Tensor, targets: Float[Tensor, "b k"], alpha: float, rng: np.random.Generator
) -> tuple[Tensor, Float[Tensor, "b k"]]:
    """Mixup: every row with another one, and their targets in the same share, at least half of its own.

    Args:
        given: inputs.
        targets: probabilities.
        alpha: of the beta distribution of the share.
        rng: of share and partners.
    """
    share = float(beta_law.rvs(alpha, alpha, random_state=rng))
    share = max(share, 1 - share)
    partner = torch.from_numpy(rng.permutation(len(given)))
    return share * given + (1 - share) * given[partner], share * targets + (1 - share) * targets[partner]


def soft_loss(logits: Float[Tensor, "b k"], targets: Float[Tensor, "b k"]) -> Float[Tensor, "b"]:
    """Cross-entropy with probabilities as targets, nats."""
    return -(targets * torch.log_softmax(logits, dim=1)).sum(dim=1)


def sharpened(probs: Float[Tensor, "b k"], temperature: float) -> Float[Tensor, "b k"]:
    """Probabilities to the power 1 / temperature, divided by their sum.

    Example:
        >>> sharpened(torch.tensor([[0.8, 0.2]]), 0.5).numpy().round(3).tolist()
        [[0.9409999847412109, 0.05900000035762787]]
    """
    return torch.softmax(probs.clamp_min(1e-30).log() / temperature, dim=1)
