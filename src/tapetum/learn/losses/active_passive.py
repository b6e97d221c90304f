"""Active-passive loss: normalised cross-entropy, which pulls the given class up, and an absolute error beside it."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError

__all__ = ["active_passive"]


def active_passive(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    active: float = 1.0,
    passive: float = 1.0,
    normalised: bool = True,
) -> Float[Tensor, "b"]:
    """`active` · CE(y) / Σ_j CE(j) + `passive` · 2 (1 - p), both of which no symmetric noise can bend.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: not used.
        active: weight of the cross-entropy.
        passive: weight of the absolute error between probabilities and label.
        normalised: divide the cross-entropy of the given class by that of all classes; without it, and with passive=0,
            it is cross-entropy.

    Returns:
        Per example.

    Raises:
        UsageError: a weight below 0, or both 0.

    Source: Ma et al., ICML 2020, arXiv 2006.13554 (NCE + MAE). Differs: nothing.
    """
    del counts
    if min(active, passive) < 0 or active + passive == 0:
        raise UsageError(f"active={active}, passive={passive}", "weights of 0 or more, not both 0")
    log_probs = functional.log_softmax(logits, dim=1)
    told = log_probs.gather(1, labels[:, None])[:, 0]
    found = told / log_probs.sum(dim=1) if normalised else -told
    return active * found + passive * 2 * (1 - told.exp())
