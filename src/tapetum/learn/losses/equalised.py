"""Softmax equalisation: common classes do not push the logits of rare ones down."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError

__all__ = ["equalised"]


def equalised(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    rare: float = 0.5,
    ignored: float = 0.9,
) -> Float[Tensor, "b"]:
    """Cross-entropy in which a rare class that is not the given one counts only 1 - ignored of its exponential.

    What is rare is told by these classes: fewer than `rare` times the mean number of rows. A fixed share such as the
    0.00043 that was chosen for a thousand classes is under no class here, and the loss would be cross-entropy.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: training images of each class.
        rare: of the mean number of rows; 0 = no class is rare.
        ignored: 0..1; 0 = cross-entropy.

    Returns:
        Nats per example.

    Raises:
        UsageError: rare below 0, or ignored outside 0..1.

    Source: Tan et al., CVPR 2020, arXiv 2003.05176, section 3.3. Differs: the threshold is scaled to the data, and the
    expected weight stands in place of a draw per class and example.
    """
    if rare < 0 or not 0 <= ignored < 1:
        raise UsageError(f"rare={rare}, ignored={ignored}", "rare of 0 or more, ignored at least 0 and below 1")
    few = counts < rare * counts.mean()
    other = functional.one_hot(labels, logits.shape[1]) == 0
    lowered = logits + math.log(1 - ignored) * (few & other)
    return torch.logsumexp(lowered, dim=1) - logits.gather(1, labels[:, None])[:, 0]
