"""Rows of rare classes are repeated; no row is left out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.rarity import rarest

__all__ = ["repeat_factor"]


def repeat_factor(
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n k"], *, rng: np.random.Generator, threshold: float = 1.0
) -> Int[np.ndarray, "m"]:
    """Every row once, and rows of a class below `threshold` times the mean class max(1, √(threshold · mean / n)) times.

    A part of a repetition is drawn: of 1.4 every row comes once, and two of five a second time.

    Args:
        labels: see the family's protocol.
        rng: the generator.
        threshold: of the mean number of rows per class, above 0.

    Returns:
        Row numbers, at least as many as rows.

    Raises:
        UsageError: a threshold not above 0.

    Source: Gupta et al., CVPR 2019 (LVIS), arXiv 1908.03195, section 5 (repeat factor sampling). Differs: the threshold
    is of the mean class and not a share of images that was chosen for a thousand classes.
    """
    if threshold <= 0:
        raise UsageError(f"threshold={threshold}", "above 0")
    counted, which = rarest(labels)
    mean = counted[counted > 0].mean()
    times = np.maximum(1.0, np.sqrt(threshold * mean / counted[which]))
    whole = np.floor(times).astype(np.int64) + (rng.random(len(which)) < times % 1)
    return rng.permutation(np.repeat(np.arange(len(which)), whole))
