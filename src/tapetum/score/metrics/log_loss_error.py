"""Log loss: the surprise of what came true."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError
from tapetum.score.inputs import Labels, binary_probabilities, class_probabilities

__all__ = ["log_loss_error"]

TAKES = ("binary probabilities", "class probabilities")
NEEDS = "any label"


def log_loss_error(
    probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"], labels: Labels, *, floor: float = 1e-15
) -> float:
    """Mean negative logarithm of the probability of the outcome.

    Args:
        probs: `[n]` of the positive class, or `[n k]`, rows adding up to 1.
        labels: 0 or 1, or 0..k-1.
        floor: smallest probability that an outcome is given: whoever says 0 of what happens has an infinite loss, and
            one such image would be all that a mean shows. It decides the size of the loss of step functions.

    Returns:
        Nats, 0 or more, lower is better, at most -ln `floor`; NaN without images.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or labels that are no class.
        UsageError: a floor outside 0..0.5.

    Example:
        >>> round(log_loss_error(np.array([0.5, 0.25]), np.array([1, 0])), 3)
        0.49

    Source: Good, Journal of the Royal Statistical Society B 1952. Differs: the floor.
    """
    if not 0 < floor < 0.5:
        raise UsageError(f"floor={floor}", "above 0 and below 0.5, for example 1e-15")
    if probs.ndim == 1:
        values, truth = binary_probabilities(probs, labels)
        chosen = np.where(truth, values, 1 - values)
    else:
        values, classes = class_probabilities(probs, labels)
        chosen = values[np.arange(len(values)), classes]
    return float(-np.log(np.maximum(chosen, floor)).mean()) if len(chosen) else float("nan")
