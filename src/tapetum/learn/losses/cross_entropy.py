"""Cross-entropy."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError

__all__ = ["cross_entropy"]


def cross_entropy(
    logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"], *, smoothing: float = 0.0
) -> Float[Tensor, "b"]:
    """Minus the log probability of the given class.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: not used.
        smoothing: share of the target that is spread over all classes, 0..1; 0 = none.

    Returns:
        Nats per example.

    Raises:
        UsageError: smoothing outside 0..1.

    Source: Szegedy et al., CVPR 2016, arXiv 1512.00567, section 7 (smoothing). Differs: nothing.
    """
    del counts
    if not 0 <= smoothing < 1:
        raise UsageError(f"smoothing={smoothing}", "at least 0 and below 1")
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
