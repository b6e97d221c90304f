"""Seesaw loss: rare classes are pushed down less by common ones, and more where they are wrongly preferred."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.learn.classifying.weighing import FEWEST

__all__ = ["seesaw"]


def seesaw(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    mitigation: float = 0.8,
    compensation: float = 2.0,
) -> Float[Tensor, "b"]:
    """Cross-entropy whose other classes j count S times: (n_j / n_i)^mitigation where j is rarer than the given i,
    times (p_j / p_i)^compensation where j is more probable.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: training images of each class.
        mitigation: 0 = none.
        compensation: 0 = none; with both 0 it is cross-entropy.

    Returns:
        Nats per example.

    Source: Wang et al., CVPR 2021, arXiv 2008.10032, equations 6 to 9. Differs: counts are those of the training rows
    and not gathered while training; no gradient flows through the factors.
    """
    known = counts.clamp_min(FEWEST).log()
    log_p = logits.detach().log_softmax(dim=1)
    rarer = (known[None, :] - known[labels][:, None]).clamp_max(0.0)
    likelier = (log_p - log_p.gather(1, labels[:, None])).clamp_min(0.0)
    moved = logits + mitigation * rarer + compensation * likelier
    return torch.logsumexp(moved, dim=1) - logits.gather(1, labels[:, None])[:, 0]
