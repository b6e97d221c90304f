"""The p values of several comparisons at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64


def holm(p_values: Float[np.ndarray, "m"]) -> Float64[np.ndarray, "m"]:
    """The p values adjusted for their number, so that 5 % of such tables hold a false one below 0.05.

    Args:
        p_values: of all comparisons that were looked at; NaN (undefined) stays NaN and counts as none.

    Returns:
        Adjusted p values in the same order, 0..1, never smaller than before.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.06, 0.06]

    Source: Holm, Scandinavian Journal of Statistics 1979. Differs: nothing.
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1) if len(order) else steps
    return adjusted


def benjamini_hochberg(p_values: Float[np.ndarray, "m"]) -> Float64[np.ndarray, "m"]:
    """The p values adjusted so that of those below 0.05, 5 % are expected to be false (false discovery rate).

    Milder than `holm`: for screening many subgroups, not for a claim.

    Args:
        p_values: of all comparisons that were looked at, independent or positively dependent; NaN (undefined) stays NaN
            and counts as none.

    Returns:
        Adjusted p values in the same order, 0..1, never smaller than before.

    Example:
        >>> benjamini_hochberg(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.04, 0.04]

    Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 1995. Differs: nothing.
    """
    adjusted = np.full(len(p_values), np.nan)
    known = np.flatnonzero(~np.isnan(p_values))
    order = known[np.argsort(p_values[known], kind="stable")[::-1]]
    steps = p_values[order] * (len(order) / np.arange(len(order), 0, -1))
    adjusted[order] = np.minimum(np.minimum.accumulate(steps), 1) if len(order) else steps
    return adjusted
