"""The largest of many likenesses, row by row, without sorting."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

GROUP = 16  # columns of which only the largest is looked at first
STRIP = 64  # rows at a time, so that what is made on the way stays in the processor's cache


def largest(
    values: Float32[np.ndarray, "b n"], k: int, weights: Float32[np.ndarray, "n"] | None = None
) -> Float32[np.ndarray, "b k"]:
    """The k largest values of each row, the smallest of them first, the others in no order.

    Args:
        values: of any kind.
        k: 1 up to n.
        weights: of the columns; values are multiplied by them first.

    Example:
        >>> largest(np.array([[3.0, 1.0, 2.0]], dtype=np.float32), 2).tolist()
        [[2.0, 3.0]]
    """
    found = np.empty((len(values), k), dtype=np.float32)
    for first in range(0, len(values), STRIP):
        strip = values[first : first + STRIP]
        found[first : first + STRIP] = _largest(strip if weights is None else strip * weights, k)
    return found


def _largest(values: Float32[np.ndarray, "b n"], k: int) -> Float32[np.ndarray, "b k"]:
    groups = values.shape[1] // GROUP
    if groups > 2 * k:
        # The k largest values lie in the k groups whose largest values are largest, or in none.
        whole = groups * GROUP
        grouped = values[:, :whole].reshape(len(values), GROUP, groups)
        where = np.argpartition(grouped.max(axis=1), groups - k, axis=1)[:, -k:]
        chosen = np.take_along_axis(grouped, where[:, None], axis=2).reshape(len(values), GROUP * k)
        values = np.concatenate([chosen, values[:, whole:]], axis=1)
    return np.partition(values, values.shape[1] - k, axis=1)[:, -k:]
