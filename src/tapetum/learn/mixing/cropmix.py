"""CropMix: crops of one image at several scales, laid over each other."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.boxes import refuse_features

__all__ = ["cropmix"]


def cropmix(
    inputs: Float[Tensor, "b c h w"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    crops: int = 2,
    least: float = 0.2,
) -> tuple[Float[Tensor, "b c h w"], Int[np.ndarray, "b"], Float[Tensor, "b"]]:
    """Blend of crops of the same image, each from its own range of scales; labels stay.

    Args:
        inputs: images; features are refused.
        labels: not used.
        counts: not used.
        rng: the generator.
        crops: how many, at least 1; the range from `least` to the whole image is cut into as many parts.
        least: smallest share of the area, above 0 to 1.

    Returns:
        Blended images; every row is its own partner.

    Raises:
        UsageError: features, no crop, or a share outside 0..1.

    Source: after Han et al., 2022 (CropMix), arXiv 2205.15955, its mixup form. Differs: equal weights; one place of
    each scale for a batch.
    """
    del labels, counts
    refuse_features(inputs, "cropmix")
    if crops < 1 or not 0 < least <= 1:
        raise UsageError(f"crops={crops}, least={least}", "one or more crops, a share above 0 and to 1")
    height, width = inputs.shape[2:]
    edges = np.linspace(least, 1, crops + 1)
    found = torch.zeros_like(inputs)
    for low, high in itertools.pairwise(edges.tolist()):
        side = float(rng.uniform(low, high)) ** 0.5
        tall, wide = max(1, round(side * height)), max(1, round(side * width))
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        crop = inputs[:, :, top : top + tall, left : left + wide]
        found += interpolate(crop, size=(height, width), mode="bilinear", align_corners=False) / crops
    return found, np.arange(len(inputs)), torch.ones(len(inputs))
