"""Tests that exchange what chance could have exchanged: the p value of a null, methods swapped patient by patient."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError


def permutation_p_value(
    observed: float,
    null: Float[np.ndarray, "b"],
    *,
    alternative: Literal["greater", "less", "two-sided"] = "greater",
) -> float:
    """Share of the null values at least as extreme as the observed one, the observed one counted among them.

    Args:
        observed: the real result.
        null: the same quantity after each permutation.
        alternative: which side is extreme; `two-sided` doubles the smaller side.

    Returns:
        In (0, 1], never below 1 / (b + 1); lower speaks against chance. NaN when a value is NaN or there is no null.

    Raises:
        UsageError: unknown alternative.

    Example:
        >>> permutation_p_value(0.9, np.array([0.4, 0.5, 0.6, 0.5]))
        0.2

    Source: Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 2010. Differs: nothing.
    """
    if alternative not in ("greater", "less", "two-sided"):
        raise UsageError(f"alternative={alternative!r}", "greater, less or two-sided")
    if math.isnan(observed) or not len(null) or np.isnan(null).any():
        return math.nan
    above = (1 + int((null >= observed).sum())) / (1 + len(null))
    below = (1 + int((null <= observed).sum())) / (1 + len(null))
    return {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}[alternative]
