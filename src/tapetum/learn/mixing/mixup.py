"""Mixup: every row is a blend of two, and so is its label."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError

__all__ = ["mixup"]


def mixup(
    inputs: Float[Tensor, "b ..."],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    alpha: float = 1.0,
) -> tuple[Float[Tensor, "b ..."], Int[np.ndarray, "b"], Float[Tensor, "b"]]:
    """Blend: share · row + (1 - share) · another row of the batch; one share of the batch, from Beta(alpha, alpha).

    Args:
        inputs: features or images.
        labels: not used.
        counts: not used.
        rng: the generator.
        alpha: 0 = nothing is blended, 1 = every share as likely.

    Returns:
        Blended inputs, the row blended in, and the share of the own label.

    Raises:
        UsageError: alpha below 0.

    Source: Zhang et al., ICLR 2018, arXiv 1710.09412. Differs: nothing; on features it is blended there.
    """
    del labels, counts
    if alpha < 0:
        raise UsageError(f"alpha={alpha}", "0 or more")
    part = float(rng.beta(alpha, alpha)) if alpha else 1.0
    partner = rng.permutation(len(inputs))
    return part * inputs + (1 - part) * inputs[partner], partner, torch.full((len(inputs),), part)
