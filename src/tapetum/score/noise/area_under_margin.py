"""Area under the margin: the given label's lead over its strongest rival, averaged over epochs or networks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64
from scipy import special

from tapetum.score.given import SMALLEST, Given, best_other, members, of_given

__all__ = ["area_under_margin"]


def area_under_margin(probs: Float[np.ndarray, "*e n k"], labels: Given) -> Float64[np.ndarray, "n"]:
    """Sigmoid of the mean margin in logits: log p(given) − log p(strongest rival), mean over epochs or networks.

    A wrong label is learned late and against its neighbours: its margin starts below 0. With one member it orders as
    `normalized_margin` does where there are two classes.

    Args:
        probs: rows add up to 1; a leading axis for the epochs (of one training) or networks.
        labels: the given class, 0 to k - 1.

    Returns:
        0..1, higher = trust the label more; 0.5 where the margins cancel.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.

    Example:
        >>> area_under_margin(np.array([[[0.8, 0.2]], [[0.2, 0.8]]]), np.array([0])).round(3).tolist()
        [0.5]

    Source: Pleiss, Zhang, Elenberg and Weinberger, NeurIPS 2020, equation 1. Differs: margins from probabilities
    (differences of log probabilities are those of logits), no smaller than 1e-6; no extra class sets a threshold.
    """
    several, given = members(probs, labels)
    logs = np.log(np.clip(several, SMALLEST, None))
    return special.expit((of_given(logs, given) - best_other(logs, given)).mean(axis=0))
