"""CutMix: a box of every image is another image's."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.boxes import box, refuse_features

__all__ = ["cutmix"]


def cutmix(
    inputs: Float[Tensor, "b c h w"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    alpha: float = 1.0,
) -> tuple[Float[Tensor, "b c h w"], Int[np.ndarray, "b"], Float[Tensor, "b"]]:
    """A box of another image of the batch, at the same place; the label is shared by area.

    Args:
        inputs: images; features are refused.
        labels: not used.
        counts: not used.
        rng: the generator.
        alpha: of Beta(alpha, alpha), from which the share of the image that stays is drawn, above 0.

    Returns:
        Blended images, the one the box is from, and the share of the area that stayed.

    Raises:
        UsageError: features, or alpha not above 0.

    Source: Yun et al., ICCV 2019, arXiv 1905.04899. Differs: nothing.
    """
    del labels, counts
    refuse_features(inputs, "cutmix")
    if alpha <= 0:
        raise UsageError(f"alpha={alpha}", "above 0")
    rows, columns = box(inputs.shape[2], inputs.shape[3], 1 - float(rng.beta(alpha, alpha)), rng)
    partner, blended = rng.permutation(len(inputs)), inputs.clone()
    blended[:, :, rows, columns] = inputs[partner][:, :, rows, columns]
    cut = (rows.stop - rows.start) * (columns.stop - columns.start) / (inputs.shape[2] * inputs.shape[3])
    return blended, partner, torch.full((len(inputs),), 1 - cut)
