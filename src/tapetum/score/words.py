"""Out-of-distribution detection by words: likeness of places in the image, and words far from all known classes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy import special

from tapetum.core.errors import DataError, UsageError
from tapetum.score.in_distribution import directions


def gl_mcm(
    pooled: Float[np.ndarray, "n k"],
    places: Float[np.ndarray, "n t k"],
    *,
    temperature: float = 0.01,
    weight: float = 1.0,
) -> Float64[np.ndarray, "n"]:
    """Minus the confidence of the image as a whole, minus that of its most confident place.

    Args:
        pooled: cosines of images and the words of the classes.
        places: the same for the places of each image.
        temperature: divides cosines.
        weight: of the places; 0 = MCM.

    Returns:
        Higher = more OOD.

    Raises:
        UsageError: a temperature not above 0. DataError: shapes that do not fit.

    Example:
        >>> whole, parts = np.array([[0.2, 0.2]]), np.array([[[0.1, 0.1], [0.3, 0.1]]])
        >>> gl_mcm(whole, parts, temperature=0.1).round(3).tolist()
        [-1.381]

    Source: Miyai et al., IJCV 2025, arXiv 2304.04521, equations 3 to 5. Differs: nothing.
    """
    if temperature <= 0:
        raise UsageError(f"temperature={temperature}", "above 0")
    if places.ndim != 3 or (places.shape[0], places.shape[2]) != pooled.shape or not places.shape[1]:
        raise DataError(f"cosines of images {pooled.shape} and of places {places.shape}", "[n k] and [n t k]")
    whole = special.softmax(pooled.astype(np.float64) / temperature, axis=1).max(axis=1)
    parts = special.softmax(places.astype(np.float64) / temperature, axis=2).max(axis=(1, 2))
    return -whole - weight * parts


def far_words(
    candidates: Float[np.ndarray, "m d"], classes: Float[np.ndarray, "k d"], *, keep: int, quantile: float = 0.95
) -> Int[np.ndarray, "j"]:
    """The candidates least like the classes, least first.

    Args:
        candidates: words in the common space.
        classes: words of the known classes.
        keep: how many; all where there are fewer.
        quantile: of a candidate's cosines with the classes: which of them counts, 1 = the nearest class.

    Returns:
        Their numbers.

    Raises:
        UsageError: keep below 1, or a quantile outside 0..1.

    Example:
        >>> far_words(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.1]]), keep=1).tolist()
        [1]

    Source: Jiang et al., ICLR 2024, arXiv 2403.20078, algorithm 1 (NegMining).
    """
    if keep < 1 or not 0 <= quantile <= 1:
        raise UsageError(f"keep={keep}, quantile={quantile}", "at least 1, a quantile in 0..1")
    likeness = np.quantile(directions(candidates) @ directions(classes).T, quantile, axis=1)
    return np.argsort(likeness, kind="stable")[:keep]
