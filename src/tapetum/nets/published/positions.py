"""Position embeddings of another grid: what is learnt for 14 x 14 patches, used for any other square."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from tapetum.core.errors import ArtefactError


def resized_positions(
    positions: Float[Tensor, "1 n d"], side: int, *, prefix: int = 1, antialias: bool = False
) -> Float[Tensor, "1 m d"]:
    """Position embeddings for a grid of `side` x `side` patches, by bicubic interpolation of the learnt grid.

    Args:
        positions: those of `prefix` tokens before the patches, then of a square grid, row by row.
        side: patches per side that are wanted, at least 1.
        prefix: tokens without a place in the image (class token); theirs are kept as they are.
        antialias: smooth before shrinking: timm and open_clip do, MAE and RETFound do not.

    Returns:
        `prefix` + side² rows; the input itself where the grid is the same.

    Raises:
        ArtefactError: what is learnt is no square grid.

    Example:
        >>> resized_positions(torch.zeros(1, 1 + 14 * 14, 8), 16).shape
        torch.Size([1, 257, 8])
    """
    count = positions.shape[1] - prefix
    learnt = math.isqrt(max(count, 0))
    if count < 1 or learnt * learnt != count:
        raise ArtefactError(
            f"position embeddings for {count} patches after {prefix} other tokens", "a square number of patches"
        )
    if learnt == side:
        return positions
    grid = positions[:, prefix:].float().reshape(1, learnt, learnt, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(
        grid, size=(side, side), mode="bicubic", align_corners=False, antialias=antialias
    )
    patches = grid.permute(0, 2, 3, 1).reshape(1, side * side, -1).to(positions.dtype)
    return torch.cat([positions[:, :prefix], patches], dim=1)
