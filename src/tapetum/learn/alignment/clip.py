"""Softmax cross-entropy over the batch in both directions, with soft positives."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

__all__ = ["clip"]


def clip(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "b d"],
    match: Float[Tensor, "b b"],
    *,
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
) -> Float[Tensor, "b"]:
    """Symmetric contrastive loss; the target of each row and column is its matches, normalised to sum 1.

    Args:
        image: unit vectors.
        text: unit vectors, row i of both from the same pair.
        match: how much text j speaks of image i, 0..1, diagonal > 0. The identity gives the loss of the paper.
        scale: multiplier of the cosines (1 / temperature).
        bias: not used here; a softmax does not see it.

    Returns:
        Loss per pair in nats, lower is better; ln(b) when image and text know nothing of one another.

    Source: Radford et al., ICML 2021, arXiv 2103.00020, figure 3.
    Differs: soft targets for equal reports, as FLAIR does for equal categories (Silva-Rodríguez et al., MedIA 2025).
    """
    del bias
    logits = scale * image @ text.T
    per_image = -(match / match.sum(1, keepdim=True) * log_softmax(logits, 1)).sum(1)
    per_text = -(match / match.sum(0, keepdim=True) * log_softmax(logits, 0)).sum(0)
    return (per_image + per_text) / 2
