"""Noise: every row is moved a little, those of rare classes farther."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError

__all__ = ["noise"]


def noise(
    inputs: Float[Tensor, "b ..."],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    spread: float = 0.5,
    rarity: float = 0.25,
) -> tuple[Float[Tensor, "b ..."], Int[np.ndarray, "b"], Float[Tensor, "b"]]:
    """Normal noise of deviation spread · (n / largest n)^-rarity · that of the batch's column; labels stay.

    Args:
        inputs: features or images.
        labels: classes, or findings, of which the rarest one counts.
        counts: training images of each class.
        rng: the generator.
        spread: of the commonest class, in deviations; 0 = nothing moves.
        rarity: exponent; 0 = all classes alike.

    Returns:
        Moved inputs; every row is its own partner.

    Raises:
        UsageError: spread below 0.

    Source: after Lim et al., ICLR 2022 (noisy feature mixup), arXiv 2110.02180, its additive noise. Differs: it grows
    with rarity.
    """
    if spread < 0:
        raise UsageError(f"spread={spread}", "0 or more")
    known = counts.clamp_min(0.5)
    far = (known / known.max()) ** -rarity
    own = far[labels] if labels.ndim == 1 else torch.where(labels == 1, far, 1.0).amax(dim=1)
    deviation = inputs.std(dim=0, correction=0, keepdim=True)
    drawn = torch.from_numpy(rng.normal(size=tuple(inputs.shape))).to(inputs.dtype)
    scale = spread * own.reshape(-1, *[1] * (inputs.ndim - 1))
    return inputs + scale * deviation * drawn, np.arange(len(inputs)), torch.ones(len(inputs))
