"""Remix: rows are blended as in mixup, but a rare class keeps the whole label against a common one."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError

__all__ = ["remix"]


def remix(
    inputs: Float[Tensor, "b ..."],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    alpha: float = 1.0,
    kappa: float = 3.0,
    tau: float = 0.5,
) -> tuple[Float[Tensor, "b ..."], Int[np.ndarray, "b"], Float[Tensor, "b"]]:
    """Mixup whose label is the rarer class's alone where the other is kappa times as common and the blend allows it.

    Args:
        inputs: features or images.
        labels: the class of each row.
        counts: training images of each class.
        rng: the generator.
        alpha: of Beta(alpha, alpha), from which the share of the batch is drawn.
        kappa: how many times as common, at least 1.
        tau: the rarer class gets the whole label only where the commoner one's share of the blend is below this.

    Returns:
        Blended inputs, the row blended in, and the share of the own label.

    Raises:
        UsageError: findings in place of classes, alpha not above 0, kappa below 1, or tau outside 0..1.

    Source: Chou et al., ECCV 2020 Workshops, arXiv 2007.03943, equation 7. Differs: nothing.
    """
    if labels.ndim != 1 or alpha <= 0 or kappa < 1 or not 0 <= tau <= 1:
        raise UsageError(
            f"labels of shape {tuple(labels.shape)}, alpha={alpha}, kappa={kappa}, tau={tau}",
            "one class each, alpha above 0, kappa of 1 or more, tau in 0..1",
        )
    part = float(rng.beta(alpha, alpha))
    partner = rng.permutation(len(inputs))
    own, other = counts[labels], counts[labels[partner]]
    share = torch.full((len(inputs),), part)
    share = torch.where((own >= kappa * other) & (part < tau), 0.0, share)
    share = torch.where((other >= kappa * own) & (1 - part < tau), 1.0, share)
    return part * inputs + (1 - part) * inputs[partner], partner, share
