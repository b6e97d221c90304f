"""A sigmoid for every image-text pair of the batch, with soft positives."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

__all__ = ["siglip"]


def siglip(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "b d"],
    match: Float[Tensor, "b b"],
    *,
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
) -> Float[Tensor, "b"]:
    """Binary cross-entropy of every pair against `match`, summed over the texts of each image.

    Args:
        image: unit vectors.
        text: unit vectors, row i of both from the same pair.
        match: how much text j speaks of image i, 0..1, diagonal > 0. The identity gives the loss of the paper.
        scale: multiplier of the cosines.
        bias: added to every logit; starts negative, since most pairs do not match.

    Returns:
        Loss per image in nats, lower is better; summed over the batch's texts, so it grows with the batch.

    Source: Zhai et al., ICCV 2023, arXiv 2303.15343, algorithm 1. Differs: soft positives for equal reports.
    """
    logits = scale * image @ text.T + bias
    return binary_cross_entropy_with_logits(logits, match, reduction="none").sum(1)
