"""Generalised cross-entropy: between cross-entropy, which listens to every label, and the mean absolute error."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError

__all__ = ["generalised_cross_entropy"]


def generalised_cross_entropy(
    logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"], *, q: float = 0.7
) -> Float[Tensor, "b"]:
    """(1 - p^q) / q with p the probability of the given class; the less probable a label, the less it pulls.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: not used.
        q: 0..1; 0 = cross-entropy, 1 = half the absolute error, which ignores improbable labels most.

    Returns:
        0 to 1 / q per example.

    Raises:
        UsageError: q outside 0..1.

    Source: Zhang and Sabuncu, NeurIPS 2018, arXiv 1805.07836, equation 6. Differs: the untruncated loss.
    """
    del counts
    if not 0 <= q <= 1:
        raise UsageError(f"q={q}", "0 to 1")
    loss = functional.cross_entropy(logits, labels, reduction="none")
    return loss if q == 0 else -torch.expm1(-q * loss) / q
