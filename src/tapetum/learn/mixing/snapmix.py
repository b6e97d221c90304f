"""SnapMix: a box of every image is another image's, and the label goes where the network looks."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.activation import Maps
from tapetum.learn.classifying.boxes import box, refuse_features

__all__ = ["snapmix"]


def snapmix(
    inputs: Float[Tensor, "b c h w"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    maps: Maps | None = None,
    alpha: float = 5.0,
) -> tuple[Float[Tensor, "b c h w"], Int[np.ndarray, "b"], Float[Tensor, "b 2"]]:
    """A box of another image, stretched to a box of this one; labels are shared by class activation.

    The share of the own label is the activation outside the box that was covered, that of the other one the activation
    in the box that was taken: they need not add up to 1.

    Args:
        inputs: images; features are refused.
        labels: classes, of which the maps are.
        counts: not used.
        rng: the generator.
        maps: images and classes → where the network looks, 0 and above, of sum 1; the trainer gives them.
        alpha: of Beta(alpha, alpha), from which the share of the area that stays is drawn, for each box anew, above 0.

    Returns:
        Blended images, the one the box is from, and the shares of both labels.

    Raises:
        UsageError: features, no maps, or alpha not above 0.

    Source: Huang et al., AAAI 2021, arXiv 2012.04846, equations 2 to 6. Differs: every batch is blended.
    """
    del counts
    refuse_features(inputs, "snapmix")
    if alpha <= 0 or maps is None:
        raise UsageError(f"alpha={alpha}, maps={maps}", "above 0, and a network to ask", "mode=finetune")
    height, width = inputs.shape[2:]
    own, other = (box(height, width, 1 - float(rng.beta(alpha, alpha)), rng) for _ in range(2))
    partner, blended, looked = rng.permutation(len(inputs)), inputs.clone(), maps(inputs, labels)
    kept = 1 - looked[:, own[0], own[1]].sum(dim=(1, 2))
    taken = looked[partner][:, other[0], other[1]].sum(dim=(1, 2))
    size = (own[0].stop - own[0].start, own[1].stop - own[1].start)
    piece = inputs[partner][:, :, other[0], other[1]]
    if min(size) and piece.numel():
        blended[:, :, own[0], own[1]] = interpolate(piece, size=size, mode="bilinear", align_corners=False)
    else:
        kept, taken = torch.ones_like(kept), torch.zeros_like(taken)
    return blended, partner, torch.stack([kept, taken], dim=1).clamp(0, 1)
