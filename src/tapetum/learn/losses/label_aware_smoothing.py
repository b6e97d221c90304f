"""Label-aware smoothing: the commoner a class, the less sure the classifier shall be of it."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError

__all__ = ["label_aware_smoothing"]


def label_aware_smoothing(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    head: float = 0.3,
    tail: float = 0.0,
) -> Float[Tensor, "b"]:
    """Cross-entropy against 1 - e for the given class and e / (k - 1) for each other one.

    e rises from `tail` for the rarest class to `head` for the commonest one, along the first quarter of a sine.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: training images of each class.
        head: e of the commonest class, 0..1.
        tail: e of the rarest; with both 0 it is cross-entropy.

    Returns:
        Nats per example.

    Raises:
        UsageError: a value outside 0..1.

    Source: Zhong et al., CVPR 2021 (MiSLAS), arXiv 2104.00466, equations 3 and 4, its concave form. Differs: nothing.
    """
    if not (0 <= head < 1 and 0 <= tail < 1):
        raise UsageError(f"head={head}, tail={tail}", "at least 0 and below 1")
    place = (counts - counts.min()) / (counts.max() - counts.min()).clamp_min(1e-12)
    smoothing = (tail + (head - tail) * torch.sin(place * math.pi / 2))[labels]
    log_p = logits.log_softmax(dim=1)
    own = log_p.gather(1, labels[:, None])[:, 0]
    others = (log_p.sum(dim=1) - own) / max(logits.shape[1] - 1, 1)
    return -(1 - smoothing) * own - smoothing * others
