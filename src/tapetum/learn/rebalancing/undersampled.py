"""Common classes are cut, anew in every epoch."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.rarity import rarest

__all__ = ["undersampled"]


def undersampled(
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n k"], *, rng: np.random.Generator, most: float = 4.0
) -> Int[np.ndarray, "m"]:
    """At most `most` times as many rows of a class as of the rarest one, without replacement; an epoch gets shorter.

    Args:
        labels: see the family's protocol.
        rng: the generator.
        most: at least 1, where every class has as many rows as the rarest.

    Returns:
        Row numbers, each at most once.

    Raises:
        UsageError: most below 1.

    Source: Japkowicz and Stephen, Intelligent Data Analysis 2002 (random undersampling). Differs: anew in each epoch.
    """
    if most < 1:
        raise UsageError(f"most={most}", "1 or more")
    counted, which = rarest(labels)
    limit = int(most * counted[counted > 0].min())
    order = rng.permutation(len(which))
    kept = [order[which[order] == c][:limit] for c in np.unique(which)]
    return rng.permutation(np.concatenate(kept))
