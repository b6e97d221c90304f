"""What ways of blending that need pixels ask for."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from tapetum.core.errors import UsageError


def refuse_features(inputs: Float[Tensor, "b ..."], name: str) -> None:
    """Features have no place from which a piece could be cut.

    Raises:
        UsageError: inputs are not images `[b c h w]`.
    """
    if inputs.ndim != 4:
        raise UsageError(
            f"mixing={name!r} on inputs of shape {tuple(inputs.shape)}", "images, which a tower that learns is given",
            "mixing='mixup' blends features",
        )  # fmt: skip


def box(height: int, width: int, share: float, rng: np.random.Generator) -> tuple[slice, slice]:
    """A box with this share of the area, cut off at the edges of the image, its centre anywhere."""
    tall, wide = round(height * share**0.5), round(width * share**0.5)
    y, x = int(rng.integers(height)), int(rng.integers(width))
    top, left = max(y - tall // 2, 0), max(x - wide // 2, 0)
    return slice(top, min(y - tall // 2 + tall, height)), slice(left, min(x - wide // 2 + wide, width))
