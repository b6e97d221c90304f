"""YOCO: cut an image once, flip each half for itself."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.learn.classifying.boxes import refuse_features

__all__ = ["yoco"]


def yoco(
    inputs: Float[Tensor, "b c h w"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    chance: float = 0.5,
) -> tuple[Float[Tensor, "b c h w"], Int[np.ndarray, "b"], Float[Tensor, "b"]]:
    """Both halves of every image, cut upright or across, are mirrored or not by themselves; labels stay.

    Args:
        inputs: images; features are refused.
        labels: not used.
        counts: not used.
        rng: the generator.
        chance: of a half to be mirrored.

    Returns:
        Images; every row is its own partner.

    Raises:
        UsageError: features.

    Source: Han et al., ICML 2022 (you only cut once), arXiv 2201.12078, with flips. Differs: nothing.
    """
    del labels, counts
    refuse_features(inputs, "yoco")
    found = inputs.clone()
    for i, axis in enumerate(rng.integers(1, 3, size=len(inputs)).tolist()):
        middle = inputs.shape[axis + 1] // 2
        for part in (slice(None, middle), slice(middle, None)):
            if rng.random() < chance:
                place = (i, slice(None), part) if axis == 1 else (i, slice(None), slice(None), part)
                found[place] = inputs[place].flip(2 if axis == 2 else 1)
    return found, np.arange(len(inputs)), torch.ones(len(inputs))
