"""Flip, turn and crop, by one warp per image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from tapetum.core.errors import UsageError

__all__ = ["geometric"]


def geometric(
    images: Float[Tensor, "b 3 s s"],
    *,
    rngs: Sequence[np.random.Generator],
    flip: float = 0.5,
    upside: float = 0.0,
    rotate: float = 15.0,
    crop: float = 0.2,
    strength: float = 1.0,
) -> Float[Tensor, "b 3 s s"]:
    """Flip, turn and crop each image; all three are one affine map, so that pixels are interpolated once.

    A flip turns a right eye into the picture of a left one. Its findings stay, but a text that names the side (or a
    target that is the side) no longer fits: set `flip=0` there. Where the map looks beyond the border, the border goes
    on: black stays black around a fundus photograph.

    Args:
        images: channels first, in 0..1.
        rngs: one generator per image.
        flip: probability of a left-right flip.
        upside: probability of an up-down flip.
        rotate: largest angle in degrees, either way.
        crop: largest share of the side that is cut off, 0..0.9; the window lies anywhere inside the image.
        strength: multiplies all four; 0 changes nothing.

    Returns:
        Images of the same size, bilinear.

    Raises:
        UsageError: a probability, share, angle or strength outside its range.

    Example:
        >>> image = torch.arange(12.0).reshape(1, 3, 2, 2) / 12
        >>> only_flip = dict(rotate=0.0, crop=0.0, flip=1.0)
        >>> torch.equal(geometric(image, rngs=[np.random.default_rng(0)], **only_flip), image.flip(3))
        True

    Source: Krizhevsky et al., NeurIPS 2012 (flips and crops). Differs: one affine map with rotation; windows by share
    of the side, without change of aspect; every draw from the image's own generator.
    """
    likely = (flip * strength, upside * strength)
    if min(likely) < 0 or max(likely) > 1 or not 0 <= crop * strength <= 0.9 or rotate < 0 or strength < 0:
        raise UsageError(
            f"geometric(flip={flip}, upside={upside}, rotate={rotate}, crop={crop}, strength={strength})",
            "flip × strength and upside × strength 0..1, crop × strength 0..0.9, rotate ≥ 0, strength ≥ 0",
        )
    if strength == 0:
        return images.clone()
    maps = np.stack([_map(rng, *likely, rotate * strength, crop * strength) for rng in rngs])
    theta = torch.from_numpy(maps).to(images)
    grid = affine_grid(theta, list(images.shape), align_corners=False)
    warped = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return warped.clamp_(0, 1)


def _map(rng: np.random.Generator, flip: float, upside: float, rotate: float, crop: float) -> Float[np.ndarray, "2 3"]:
    """From places of the result to places of the image, both −1..1; six draws, whatever they turn out to be."""
    across, down, angle, cut, left, top = rng.random(6)
    turn = math.radians((2 * angle - 1) * rotate)
    side = 1 - cut * crop
    room = 1 - side
    signs = np.diag([-1.0 if across < flip else 1.0, -1.0 if down < upside else 1.0])
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    centre = np.array([(2 * left - 1) * room, (2 * top - 1) * room])
    return np.column_stack([side * rotation @ signs, centre])
