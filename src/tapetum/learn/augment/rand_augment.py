"""RandAugment: a few changes of fourteen kinds, all of one strength."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from tapetum.core.errors import UsageError

__all__ = ["rand_augment"]

OPERATIONS = (
    "identity", "autocontrast", "equalise", "rotate", "solarise", "colour", "posterise", "contrast", "brightness",
    "sharpness", "shear_across", "shear_down", "shift_across", "shift_down",
)  # fmt: skip
_FACTORS = {
    "colour": ImageEnhance.Color, "contrast": ImageEnhance.Contrast, "brightness": ImageEnhance.Brightness,
    "sharpness": ImageEnhance.Sharpness,
}  # fmt: skip
MOST = 8  # changes of an image


def rand_augment(
    images: Float[Tensor, "b 3 s s"],
    *,
    rngs: Sequence[np.random.Generator],
    count: int = 2,
    magnitude: float = 0.3,
    strength: float = 1.0,
) -> Float[Tensor, "b 3 s s"]:
    """`count` of fourteen changes, drawn with replacement, one after the other, each of the same magnitude.

    At magnitude 1: 30 degrees, a shear of 0.3, a shift of 0.45 sides, factors of 0.1 or 1.9, four bits a colour, all
    that is not black inverted. Equalising, inverting and four bits a colour look like no camera: a finding that is a
    shade may be lost with them.

    Args:
        images: channels first, in 0..1.
        rngs: one generator per image.
        count: changes of an image, 1 to 8.
        magnitude: of every change, 0..1; equalising and stretching the contrast have none.
        strength: multiplies the magnitude; 0 changes nothing.

    Returns:
        Images of the same size, in steps of 1/255. What is moved leaves its border behind it.

    Raises:
        UsageError: a count or magnitude × strength out of range.

    Example:
        >>> same = rand_augment(torch.full((1, 3, 4, 4), 0.5), rngs=[np.random.default_rng(0)], strength=0.0)
        >>> float(same.mean())
        0.5

    Source: Cubuk et al., NeurIPS 2020, arXiv 1909.13719. Differs: magnitude in 0..1 and not 0..30; either way by
    chance where a change has two; what leaves the picture is replaced by its border.
    """
    size = magnitude * strength
    if not 1 <= count <= MOST or not 0 <= size <= 1:
        raise UsageError(f"count={count}, magnitude={magnitude}, strength={strength}", f"1 to {MOST}, a product 0..1")
    if not strength:
        return images.clone()
    found: list[np.ndarray] = []
    for image, rng in zip(images, rngs, strict=True):
        pixels = np.ascontiguousarray((image * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy())
        for which, way in rng.random(2 * count).reshape(count, 2):
            pixels = changed(pixels, OPERATIONS[int(which * len(OPERATIONS))], size, 1 if way < 0.5 else -1)
        found.append(pixels)
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).to(images) / 255


def changed(pixels: UInt8[np.ndarray, "s s 3"], what: str, size: float, way: int) -> UInt8[np.ndarray, "s s 3"]:
    """One change.

    Args:
        pixels: RGB.
        what: one of `OPERATIONS`.
        size: 0..1.
        way: 1 or -1, for changes that have two.
    """
    if what == "identity":
        return pixels
    if what in ("rotate", "shear_across", "shear_down", "shift_across", "shift_down"):
        return _moved(pixels, what, size * way)
    image = Image.fromarray(pixels)
    if what in _FACTORS:
        return np.asarray(_FACTORS[what](image).enhance(1 + 0.9 * size * way))
    if what == "autocontrast":
        return np.asarray(ImageOps.autocontrast(image))
    if what == "equalise":
        return np.asarray(ImageOps.equalize(image))
    if what == "solarise":
        return np.asarray(ImageOps.solarize(image, round(256 * (1 - size))))
    return np.asarray(ImageOps.posterize(image, 8 - round(4 * size)))


def _moved(pixels: UInt8[np.ndarray, "s s 3"], what: str, by: float) -> UInt8[np.ndarray, "s s 3"]:
    """By one affine map around the middle, from places of the result to places of the picture."""
    side = pixels.shape[0]
    matrix, shift = np.eye(2), np.zeros(2)
    if what == "rotate":
        turn = math.radians(30 * by)
        matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    elif what.startswith("shear"):
        matrix[(0, 1) if what == "shear_across" else (1, 0)] = 0.3 * by
    else:
        shift[0 if what == "shift_across" else 1] = 0.45 * side * by
    middle = np.full(2, (side - 1) / 2)
    whole = np.column_stack([matrix, middle + shift - matrix @ middle])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, whole, (side, side), flags=flags, borderMode=cv2.BORDER_REPLICATE))
