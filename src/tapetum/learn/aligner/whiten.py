"""Whitening of text embeddings: sentences of one clinic share most of their direction; what differs must count."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError


def whitening(
    embeddings: Float[np.ndarray, "n t"], shrinkage: float
) -> tuple[Float[np.ndarray, "t"], Float[np.ndarray, "t e"]]:
    """Mean and linear map after which the directions of the training texts weigh alike.

    Args:
        embeddings: one row per image (a text used often counts often).
        shrinkage: added to each variance, as a share of the largest, above 0: near 0 blows up directions never seen.

    Returns:
        The mean and the symmetric (ZCA) map, so that whitened space keeps the axes of the text space.

    Raises:
        UsageError: shrinkage is not above 0.

    Example:
        >>> mean, weight = whitening(np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 1e-9)
        >>> np.round(np.abs(weight), 3)
        array([[0.707, 0.   ],
               [0.   , 1.414]])
    """
    if shrinkage <= 0:
        raise UsageError(f"shrinkage={shrinkage}", "above 0", "shrinkage=0.1")
    mean = embeddings.mean(0)
    centred = embeddings - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(embeddings))
    values = np.maximum(values, 0)
    floor = shrinkage * max(float(values[-1]), 1e-12)
    return mean, (vectors / np.sqrt(values + floor)) @ vectors.T
