"""Cross-entropy weighted against the number of rows of a class."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.learn.classifying.weighing import FEWEST

__all__ = ["inverse_frequency"]


def inverse_frequency(
    logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"], *, power: float = 1.0
) -> Float[Tensor, "b"]:
    """Cross-entropy times n^-power, scaled so that the weights of all classes add up to their number.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: training images of each class.
        power: 0 = cross-entropy, 1 = every class weighs alike in all, above 1 = the rare ones more.

    Returns:
        Weighted nats per example.

    Source: King and Zeng, Political Analysis 2001, section 3 (weighting); power 1.2: Zhang et al., CVPR 2021
    (DisAlign), arXiv 2103.16370. Differs: nothing.
    """
    weights = counts.clamp_min(FEWEST) ** -power
    weights = weights * len(counts) / weights.sum()
    return weights[labels] * functional.cross_entropy(logits, labels, reduction="none")
