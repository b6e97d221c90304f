"""LDAM: a margin that is wider the rarer the class."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.weighing import FEWEST, effective_weights

__all__ = ["ldam"]


def ldam(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    margin: float = 0.5,
    scale: float = 16.0,
    beta: float = 0.0,
) -> Float[Tensor, "b"]:
    """Cross-entropy after the given class's logit is lowered by scale · margin · (n / least n)^(-1/4).

    Made for the head `cosine` with the same scale. Deferred re-weighting (DRW) is `late_loss='ldam(beta=0.9999)'`.

    Args:
        logits: `scale · cosine`.
        labels: 0..k-1.
        counts: training images of each class.
        margin: of the rarest class, in cosines; 0 = none.
        scale: of the head.
        beta: of weights by the effective number; 0 = all alike.

    Returns:
        Weighted nats per example.

    Raises:
        UsageError: a margin below 0, a scale not above 0, or beta outside 0..1.

    Source: Cao et al., NeurIPS 2019, arXiv 1906.07413, equations 12 and 13. Differs: nothing.
    """
    if margin < 0 or scale <= 0:
        raise UsageError(f"margin={margin}, scale={scale}", "a margin of 0 or more, a scale above 0")
    rarity = counts.clamp_min(FEWEST) ** -0.25
    own = functional.one_hot(labels, logits.shape[1]) * (scale * margin * rarity / rarity.max())
    return effective_weights(counts, beta)[labels] * functional.cross_entropy(logits - own, labels, reduction="none")
