"""Softmax cross-entropy over the batch in both directions, one of them weighing more, with soft positives."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import log_softmax

from tapetum.core.errors import UsageError

__all__ = ["convirt"]


def convirt(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "b d"],
    match: Float[Tensor, "b b"],
    *,
    scale: Float[Tensor, ""],
    bias: Float[Tensor, ""],
    share: float = 0.75,
) -> Float[Tensor, "b"]:
    """Contrastive loss in which finding the text of an image counts `share` and finding the image of a text the rest.

    Args:
        image: unit vectors.
        text: unit vectors, row i of both from the same pair.
        match: how much text j speaks of image i, 0..1, diagonal > 0. The identity gives the loss of the paper.
        scale: multiplier of the cosines (1 / temperature).
        bias: not used here; a softmax does not see it.
        share: λ of the paper, 0..1; 0.5 is the loss `clip`.

    Returns:
        Loss per pair in nats, lower is better; ln(b) when image and text know nothing of one another.

    Raises:
        UsageError: share outside 0..1.

    Source: Zhang et al., MLHC 2022, arXiv 2010.00747, equations 2 to 4. Differs: soft positives for equal reports; the
    temperature is learned.
    """
    del bias
    if not 0 <= share <= 1:
        raise UsageError(f"share={share}", "0 to 1", "convirt(share=0.75)")
    logits = scale * image @ text.T
    per_image = -(match / match.sum(1, keepdim=True) * log_softmax(logits, 1)).sum(1)
    per_text = -(match / match.sum(0, keepdim=True) * log_softmax(logits, 0)).sum(0)
    return share * per_image + (1 - share) * per_text
