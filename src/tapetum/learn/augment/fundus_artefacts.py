"""What goes wrong when a retina is photographed: halo, hole, spots, blur, and the sharpening of some cameras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError

__all__ = ["fundus_artefacts"]

SPOTS, DRAWN = 4, 15  # most spots of an image, and numbers drawn for each image
BLACK = 0.03  # beside the field, where no light falls


def fundus_artefacts(
    images: Float[Tensor, "b 3 s s"],
    *,
    rngs: Sequence[np.random.Generator],
    probability: float = 0.5,
    light: float = 0.5,
    blur: float = 0.01,
    sharpen: float = 1.0,
    strength: float = 1.0,
) -> Float[Tensor, "b 3 s s"]:
    """Each of the five with a probability of its own, in this order: sharpened, halo, hole, spots, blurred.

    A spot looks like a bright lesion and a hole like a haemorrhage: keep `light` low where small lesions are the
    finding.

    Args:
        images: channels first, in 0..1.
        rngs: one generator per image.
        probability: of each artefact, 0..1.
        light: most that a halo or spot adds, and the share that a hole takes away, 0..1.
        blur: largest standard deviation, in sides of the image.
        sharpen: most of the difference to the blurred image that is added.
        strength: multiplies probability, light, blur and sharpen; 0 changes nothing.

    Returns:
        Images of the same size.

    Raises:
        UsageError: probability or light times strength outside 0..1, or something negative.

    Example:
        >>> same = fundus_artefacts(torch.full((1, 3, 4, 4), 0.5), rngs=[np.random.default_rng(0)], strength=0.0)
        >>> float(same.mean())
        0.5

    Source: after Che et al., MICCAI 2023, arXiv 2307.04378 (FundusAug). Differs: shapes are Gaussian discs and rings of
    our own; colour is left to `photometric`.
    """
    likely, most = probability * strength, light * strength
    if not (0 <= likely <= 1 and 0 <= most <= 1) or min(blur, sharpen, strength) < 0:
        raise UsageError(
            f"probability={probability}, light={light}, blur={blur}, sharpen={sharpen}, strength={strength}",
            "probability and light times strength 0..1, none below 0",
        )
    if not strength:
        return images.clone()
    wide = max(blur * strength, 1e-6)
    return torch.stack(
        [
            _one(x, rng.random(DRAWN), likely, most, wide, sharpen * strength)
            for x, rng in zip(images, rngs, strict=True)
        ]
    )


def _one(
    image: Float[Tensor, "3 s s"], draw: np.ndarray, likely: float, light: float, blur: float, sharpen: float
) -> Float[Tensor, "3 s s"]:
    side = image.shape[-1]
    happens, (x, y, u, v), rest = draw[:5] < likely, draw[5:9], draw[9:]
    found, lit = image.clone(), (image.amax(0) > BLACK).to(image.dtype)
    if happens[0]:
        found = (found + float(sharpen * u) * (found - _blurred(found, 0.01 * side))).clamp(0, 1)
    across = torch.linspace(-1, 1, side)
    if happens[1]:
        away = torch.sqrt((across[None] - float(x - 0.5)).square() + (across[:, None] - float(y - 0.5)).square())
        found = found + lit * float(light * v) * torch.exp(-((away - float(0.4 + 0.6 * u)) / 0.15).square())
    if happens[2]:
        dark = float(light * rest[0]) * _disc(across, rest[1], rest[2], 0.1 + 0.2 * rest[3])
        found = found * (1 - dark)
    if happens[3]:
        # places from a generator of their own, so that every image draws as many numbers
        places = np.random.default_rng(int(rest[4] * 2**32)).random((SPOTS, 3))
        for a, b, c in places[: 1 + int(rest[4] * SPOTS)]:
            found = found + lit * light * _disc(across, a, b, 0.02 + 0.04 * c)
    if happens[4]:
        found = _blurred(found, blur * side * float(rest[-1]))
    return found.clamp(0, 1)


def _disc(across: Float[Tensor, "s"], x: float, y: float, radius: float) -> Float[Tensor, "s s"]:
    """A Gaussian of height 1 around a place within 0.7 of the centre."""
    row, column = across - float(1.4 * x - 0.7), across - float(1.4 * y - 0.7)
    return torch.exp(-(row[None].square() + column[:, None].square()) / (2 * float(radius) ** 2))


def _blurred(image: Float[Tensor, "3 s s"], width: float) -> Float[Tensor, "3 s s"]:
    """Gaussian of a standard deviation in pixels, edges repeated."""
    reach = min(int(3 * width) + 1, image.shape[-1] - 1)
    kernel = torch.exp(-torch.arange(-reach, reach + 1).square() / (2 * max(width, 1e-3) ** 2))
    kernel = (kernel / kernel.sum()).to(image.dtype)
    padded = functional.pad(image[None], [reach] * 4, mode="replicate")[0][:, None]
    rows = functional.conv2d(padded, kernel[None, None, None])
    return functional.conv2d(rows, kernel[None, None, :, None])[:, 0]
