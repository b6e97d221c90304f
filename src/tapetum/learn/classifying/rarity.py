"""How rare the class of a row is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int, Int64


def rarest(
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n k"],
) -> tuple[Float64[np.ndarray, "k"], Int64[np.ndarray, "n"]]:
    """Rows per class, and the class of each row; of several findings it is the rarest one, of none an own class.

    Example:
        >>> counts, which = rarest(np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]]))
        >>> counts.tolist(), which.tolist()
        ([2.0, 1.0, 1.0], [1, 0, 2])
    """
    if labels.ndim == 1:
        which = labels.astype(np.int64)
        return np.bincount(which).astype(np.float64), which
    present = np.nan_to_num(labels) == 1
    none = ~present.any(axis=1)
    counts = np.concatenate([present.sum(axis=0), [none.sum()]]).astype(np.float64)
    size = np.where(present, counts[:-1], np.inf)
    return counts, np.where(none, labels.shape[1], size.argmin(axis=1)).astype(np.int64)
