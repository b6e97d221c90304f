"""Cover a rectangle, so that no finding hangs on one spot alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tapetum.core.errors import UsageError

__all__ = ["erase"]


def erase(
    images: Float[Tensor, "b 3 s s"],
    *,
    rngs: Sequence[np.random.Generator],
    probability: float = 0.5,
    area: float = 0.2,
    stretch: float = 3.0,
    strength: float = 1.0,
) -> Float[Tensor, "b 3 s s"]:
    """Fill one rectangle of each image with the image's mean colour.

    A small lesion may vanish under it with its label left standing: keep `area` small where lesions are.

    Args:
        images: channels first, in 0..1.
        rngs: one generator per image.
        probability: of a rectangle at all, 0..1.
        area: its largest share of the image, 0..1; the smallest is a tenth of it.
        stretch: its largest ratio of height to width, or width to height, at least 1.
        strength: multiplies probability and area; 0 changes nothing.

    Returns:
        Images of the same size.

    Raises:
        UsageError: probability × strength or area × strength outside 0..1, or stretch below 1.

    Example:
        >>> import torch
        >>> black = torch.zeros(1, 3, 8, 8)
        >>> torch.equal(erase(black, rngs=[np.random.default_rng(0)]), black)
        True

    Source: Zhong et al., AAAI 2020, arXiv 1708.04896. Differs: filled with the mean colour of the image; height and
    width are cut to the image instead of drawn again.
    """
    likely, largest = probability * strength, area * strength
    if not (0 <= likely <= 1 and 0 <= largest <= 1 and stretch >= 1):
        raise UsageError(
            f"erase(probability={probability}, area={area}, stretch={stretch}, strength={strength})",
            "probability and area times strength 0..1, stretch ≥ 1",
        )
    changed = images.clone()
    for image, rng in zip(changed, rngs, strict=True):
        draw = rng.random(5)
        if draw[0] >= likely or largest == 0:
            continue
        side = image.shape[-1]
        share = largest * (0.1 + 0.9 * draw[1])
        ratio = math.exp((2 * draw[2] - 1) * math.log(stretch))
        height = min(side, max(1, round(side * math.sqrt(share * ratio))))
        width = min(side, max(1, round(side * math.sqrt(share / ratio))))
        top, left = int(draw[3] * (side - height + 1)), int(draw[4] * (side - width + 1))
        mean = image.new_tensor([float(c.mean()) for c in image.double()])
        image[:, top : top + height, left : left + width] = mean[:, None, None]
    return changed
