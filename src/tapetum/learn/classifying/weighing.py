"""What losses make of the number of rows of each class."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tapetum.core.errors import UsageError

FEWEST = 0.5  # rows that a class without any counts as


def log_prior(counts: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
    """Logarithm of the share of each class; one without rows counts as half a row.

    Example:
        >>> log_prior(torch.tensor([30.0, 10.0])).exp().tolist()
        [0.75, 0.25]
    """
    known = counts.clamp_min(FEWEST)
    return torch.log(known / known.sum())


def effective_weights(counts: Float[Tensor, "k"], beta: float) -> Float[Tensor, "k"]:
    """(1 - beta) / (1 - beta^n), scaled so that they add up to the number of classes.

    Args:
        counts: rows of each class.
        beta: 0 = all classes alike, towards 1 = in inverse proportion to the rows.

    Raises:
        UsageError: beta outside 0..1.

    Example:
        >>> effective_weights(torch.tensor([2.0, 1.0]), 0.5)
        tensor([0.8000, 1.2000])

    Source: Cui et al., CVPR 2019, arXiv 1901.05555, equation 8.
    """
    if not 0 <= beta < 1:
        raise UsageError(f"beta={beta}", "at least 0 and below 1")
    known = counts.clamp_min(FEWEST).double()
    weights = (1 - beta) / (1 - beta**known)
    return (weights * len(counts) / weights.sum()).to(counts.dtype)


def rate(loss: Float[Tensor, "b k"], labels: Float[Tensor, "b k"]) -> Float[Tensor, "b"]:
    """Mean over the findings of a row that are known; 0 for a row of which nothing is known.

    Example:
        >>> rate(torch.tensor([[1.0, 3.0], [2.0, 2.0]]), torch.tensor([[1.0, 0.0], [float("nan")] * 2])).tolist()
        [2.0, 0.0]
    """
    known = ~torch.isnan(labels)
    return torch.where(known, loss, 0.0).sum(dim=1) / known.sum(dim=1).clamp_min(1)
