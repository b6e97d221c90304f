"""Which rows stand in a step and how large the step is."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int


def batches(rows: Int[np.ndarray, "n"], size: int) -> list[Int[np.ndarray, "b"]]:
    """Every row once, in as few batches of at most `size` rows as will do, equal in size up to one row.

    Equal, since a contrastive loss grows with the batch: the mean over unequal ones could not be compared with chance.

    Example:
        >>> [len(b) for b in batches(np.arange(10), 4)]
        [4, 3, 3]
    """
    return np.array_split(rows, math.ceil(len(rows) / size)) if len(rows) else []


def learning_rate_at(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 5 % of the steps, then half a cosine to 0.

    Example:
        >>> [round(learning_rate_at(s, 100, 1.0), 2) for s in (0, 4, 52, 99)]
        [0.2, 1.0, 0.51, 0.0]
    """
    warm = max(1, steps // 20)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
