"""Centre loss: rows are drawn to the mean of their class."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from tapetum.learn.classifying.centres import centres

__all__ = ["centre"]


def centre(
    embedded: Float[Tensor, "b e"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"], *, weight: float = 0.1
) -> Float[Tensor, "b"]:
    """Half the squared distance, at unit length, of every row to the mean of its class in the batch.

    Args:
        embedded: what the last layer reads.
        labels: the class of each row.
        counts: how many classes there are.
        weight: of the penalty, 0 = none.

    Returns:
        Per row, 0 to 2 · weight.

    Source: after Wen et al., ECCV 2016 (centre loss). Differs: means of the batch in place of centres that move slowly,
    and unit length, so that the embedding cannot shrink to please it.
    """
    unit = normalize(embedded, dim=1)
    middle, _ = centres(unit, labels, len(counts))
    return weight * 0.5 * (unit - middle[labels]).square().sum(dim=1)
