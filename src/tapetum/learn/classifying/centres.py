"""Means of the classes in a batch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def centres(
    embedded: Float[Tensor, "b e"], labels: Int[Tensor, "b"], classes: int
) -> tuple[Float[Tensor, "k e"], Bool[Tensor, "k"]]:
    """Mean row of each class, 0 for those without one, and which have one.

    Example:
        >>> found, present = centres(torch.tensor([[1.0], [3.0]]), torch.tensor([1, 1]), 3)
        >>> found[:, 0].tolist(), present.tolist()
        ([0.0, 2.0, 0.0], [False, True, False])
    """
    own = torch.nn.functional.one_hot(labels, classes).to(embedded.dtype)
    number = own.sum(dim=0)
    return own.T @ embedded / number.clamp_min(1)[:, None], number > 0
