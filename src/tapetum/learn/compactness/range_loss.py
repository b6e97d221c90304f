"""Range loss: the widest class is drawn together, the two nearest classes apart."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.centres import centres

__all__ = ["range_loss"]


def range_loss(
    embedded: Float[Tensor, "b e"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    largest: int = 2,
    margin: float = 0.5,
    inside: float = 0.05,
    between: float = 0.05,
) -> Float[Tensor, ""]:
    """Harmonic mean of the largest distances inside each class, plus a hinge on the least distance of two means.

    Args:
        embedded: what the last layer reads; brought to unit length.
        labels: the class of each row.
        counts: how many classes there are.
        largest: distances of each class that count, at least 1.
        margin: distance of two means at which the hinge ends.
        inside: weight of the first part.
        between: of the second; with both 0 there is no penalty.

    Returns:
        Of the batch; a class with one row only has no distance.

    Raises:
        UsageError: largest below 1.

    Source: after Zhang et al., ICCV 2017, arXiv 1611.08976, equations 6 to 8. Differs: unit length; weights of our own.
    A published benchmark trains with this penalty alone; here it is added to the loss.
    """
    if largest < 1:
        raise UsageError(f"largest={largest}", "at least 1")
    unit = normalize(embedded, dim=1)
    found = unit.new_zeros(())
    for c in labels.unique().tolist():
        own = unit[labels == c]
        if len(own) > 1:
            apart = torch.pdist(own)
            top = apart.topk(min(largest, len(apart))).values.clamp_min(1e-6)
            found = found + inside * len(top) / (1 / top).sum()
    middle, present = centres(unit, labels, len(counts))
    if int(present.sum()) > 1:
        found = found + between * (margin - torch.pdist(middle[present]).min()).clamp_min(0.0)
    return found
