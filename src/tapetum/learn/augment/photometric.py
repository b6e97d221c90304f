"""Brightness, contrast, gamma and colour: what another camera and another lamp would change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tapetum.core.errors import UsageError

__all__ = ["photometric"]


def photometric(
    images: Float[Tensor, "b 3 s s"],
    *,
    rngs: Sequence[np.random.Generator],
    brightness: float = 0.3,
    contrast: float = 0.3,
    gamma: float = 0.3,
    colour: float = 0.1,
    strength: float = 1.0,
) -> Float[Tensor, "b 3 s s"]:
    """Change light and colour of each image: `gain · (mean + contrast · (x^gamma − mean))`, cut to 0..1.

    Every factor is exp(u), u uniform in −range..range: twice as bright is as likely as half as bright.

    Args:
        images: channels first, in 0..1.
        rngs: one generator per image.
        brightness: range of the gain of all channels together.
        contrast: range of the factor of the distance from the image's mean.
        gamma: range of the exponent.
        colour: range of a gain of each channel by itself.
        strength: multiplies the four ranges; 0 changes nothing.

    Returns:
        Images of the same size.

    Raises:
        UsageError: a negative range or strength.

    Example:
        >>> same = photometric(torch.full((1, 3, 2, 2), 0.5), rngs=[np.random.default_rng(0)], strength=0.0)
        >>> float(same.mean())
        0.5

    Source: Howard, arXiv 1312.5402, 2013 (changes of contrast, brightness and colour). Differs: with gamma; factors
    are drawn on a log scale, in a fixed order.
    """
    ranges = np.array([gamma, contrast, brightness, colour, colour, colour]) * strength
    if ranges.min() < 0:
        raise UsageError(f"ranges {gamma, contrast, brightness, colour}, strength={strength}", "each at least 0")
    if not ranges.any():
        return images.clone()
    return torch.stack([_one(image, rng, ranges) for image, rng in zip(images, rngs, strict=True)])


def _one(
    image: Float[Tensor, "3 s s"], rng: np.random.Generator, ranges: Float[np.ndarray, "6"]
) -> Float[Tensor, "3 s s"]:
    """One image at a time: a mean over a batch may round otherwise than a mean over one."""
    power, contrast, gain, *gains = (float(f) for f in np.exp((2 * rng.random(6) - 1) * ranges))
    bent = image.pow(power)
    mean = float(bent.numpy().mean(dtype=np.float64)) if bent.device.type == "cpu" else float(bent.mean())
    colours = image.new_tensor(gains).mul_(gain)[:, None, None]
    return bent.sub_(mean).mul_(contrast).add_(mean).mul_(colours).clamp_(0, 1)
