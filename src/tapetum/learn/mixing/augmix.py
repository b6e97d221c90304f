"""AugMix: chains of simple changes, blended with each other and with the image itself."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.boxes import refuse_features

__all__ = ["augmix"]


def augmix(
    inputs: Float[Tensor, "b c h w"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    width: int = 3,
    strength: float = 0.3,
) -> tuple[Float[Tensor, "b c h w"], Int[np.ndarray, "b"], Float[Tensor, "b"]]:
    """`width` chains of one to three turns, shifts and changes of contrast, weighed by a Dirichlet; labels stay.

    Args:
        inputs: images; features are refused.
        labels: not used.
        counts: not used.
        rng: the generator.
        width: chains, at least 1.
        strength: largest turn in radians, shift in half images and change of contrast; 0 = nothing.

    Returns:
        Images; every row is its own partner.

    Raises:
        UsageError: features, no chain, or strength below 0.

    Source: after Hendrycks et al., ICLR 2020, arXiv 1912.02781, algorithm AugMix. Differs: three operations that act on
    tensors in any range; one chain for a batch; no consistency loss.
    """
    del labels, counts
    refuse_features(inputs, "augmix")
    if width < 1 or strength < 0:
        raise UsageError(f"width={width}, strength={strength}", "one or more chains, strength of 0 or more")
    blended = torch.zeros_like(inputs)
    for part in rng.dirichlet(np.ones(width)):
        chain = inputs
        for _ in range(int(rng.integers(1, 4))):
            chain = _changed(chain, int(rng.integers(3)), float(rng.uniform(-strength, strength)), rng)
        blended += float(part) * chain
    own = float(rng.beta(1, 1))
    return own * inputs + (1 - own) * blended, np.arange(len(inputs)), torch.ones(len(inputs))


def _changed(images: Float[Tensor, "b c h w"], what: int, by: float, rng: np.random.Generator) -> Tensor:
    """A turn, a shift in a random direction, or a change of contrast."""
    if what == 2:
        middle = images.mean(dim=(2, 3), keepdim=True)
        return middle + (1 + by) * (images - middle)
    turn, way = (by, 0.0) if what == 0 else (0.0, float(rng.uniform(0, 2 * np.pi)))
    aside = [0.0, 0.0] if what == 0 else [by * np.cos(way), by * np.sin(way)]
    matrix = [[np.cos(turn), -np.sin(turn), aside[0]], [np.sin(turn), np.cos(turn), aside[1]]]
    grid = affine_grid(
        torch.tensor(matrix, dtype=images.dtype).expand(len(images), 2, 3), list(images.shape), align_corners=False
    )
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)
