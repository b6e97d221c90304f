"""LADE: the logits alone are to be ratios to a balanced world, and not only differences between classes."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.learn.classifying.weighing import log_prior

__all__ = ["lade"]


def lade(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    weight: float = 0.1,
    penalty: float = 0.1,
) -> Float[Tensor, "b"]:
    """Cross-entropy of logits + log prior, minus weight · the regularised Donsker-Varadhan bound of every class.

    The bound of class c is the mean logit of its rows minus log E exp(logit), where E is over a world in which all
    classes are as common: each row of the batch weighs 1 / (k · prior of its class). Classes weigh by their prior;
    those without a row in the batch are left out. The bound is of the batch: every example carries the same amount.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: training images of each class.
        weight: of the bound; 0 = balanced softmax.
        penalty: of (log E)², which keeps it near 0.

    Returns:
        Nats per example.

    Source: Hong et al., CVPR 2021, arXiv 2012.00321, equations 9 to 13. Differs: the importance weight is that of the
    row's class, as the derivation has it.
    """
    prior, (count, classes) = log_prior(counts), logits.shape
    loss = functional.cross_entropy(logits + prior, labels, reduction="none")
    if not weight:
        return loss
    own = functional.one_hot(labels, classes).to(logits.dtype)
    number = own.sum(dim=0)
    first = (own * logits).sum(dim=0) / number.clamp_min(1)
    weights = -math.log(classes) - prior[labels]
    second = torch.logsumexp(logits + weights[:, None], dim=0) - math.log(count)
    bound = first - second - penalty * second.square()
    return loss - weight * (prior.exp() * bound * (number > 0)).sum()
