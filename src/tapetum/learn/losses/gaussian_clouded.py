"""Gaussian clouded logits (GCL): logits of rare classes are clouded by noise, so that their rows lie well inside."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.weighing import FEWEST

__all__ = ["gaussian_clouded"]


def gaussian_clouded(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    noise: float = 0.5,
    scale: float = 16.0,
) -> Float[Tensor, "b"]:
    """Cross-entropy of scale · (cosine - noise · |e| · d): e is normal (deviation 1/3, cut at 1), d the rarity, 0..1.

    Made for the head `cosine` with the same scale. The rarity of a class is log(largest n / n) over its largest value.

    Args:
        logits: `scale · cosine`.
        labels: 0..k-1.
        counts: training images of each class.
        rng: of the noise; the trainer gives it.
        noise: in cosines; 0 = cross-entropy.
        scale: of the head.

    Returns:
        Nats per example.

    Raises:
        UsageError: noise below 0, or a scale not above 0.

    Source: Li et al., CVPR 2022, arXiv 2305.11733, section 3.3. Differs: no class-based effective-number sampler.
    """
    if noise < 0 or scale <= 0:
        raise UsageError(f"noise={noise}, scale={scale}", "noise of 0 or more, a scale above 0")
    logs = counts.clamp_min(FEWEST).log()
    rarity = (logs.max() - logs) / (logs.max() - logs.min()).clamp_min(1e-12)
    drawn = np.clip(np.abs(rng.normal(0, 1 / 3, logits.shape)), 0, 1)
    cloud = torch.from_numpy(drawn).to(logits.dtype) * rarity
    return functional.cross_entropy(logits - scale * noise * cloud, labels, reduction="none")
