"""Instance-dependent noise: images that look like another class are taken for it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real
from scipy import special, stats

from tapetum.core.errors import DataError, UsageError
from tapetum.score.inputs import same_length
from tapetum.score.planted import Planted, checked_classes, drawn_from, hardness

__all__ = ["instance"]


def instance(
    labels: Real[np.ndarray, "n"],
    features: Float[np.ndarray, "n d"] | None,
    *,
    rng: np.random.Generator,
    classes: int = 2,
    rate: float = 0.2,
    steepness: float = 2.0,
) -> Planted:
    """Within each class, the nearer an image lies to another class, the likelier it is flipped, and to that class.

    The chance rises as a power of the rank of the image's hardness, so that its mean over each class is the rate as
    long as no chance has to be cut at 1 (rate × (steepness + 1) ≤ 1).

    Args:
        labels: true classes.
        features: of the images; their distances to the means of the classes decide.
        rng: the generator.
        classes: how many there are.
        rate: expected share of flipped labels, 0..1.
        steepness: 0 = all images of a class alike; higher = the hardest ones only.

    Raises:
        DataError: other labels, no features or as many as there are not labels. UsageError: rate or steepness out of
            range.

    Source: after Xia et al., NeurIPS 2020, and LNMBench (arXiv 2512.09315), noise pattern 2, where a network's softmax
    without the true class says to which one. Differs: distances to class means instead of a network, and the features
    decide who is flipped, too; there it is drawn without regard to the image, so that with two classes nothing depends
    on it.
    """
    given = checked_classes(labels, classes, rate)
    if steepness < 0:
        raise UsageError(f"steepness={steepness:g}", "0 or above")
    if features is None:
        raise DataError("no features", "those of the images, [n d]")
    same_length(len(features), len(given))
    nearer = hardness(features, given, classes)
    chance = np.zeros(len(given))
    for c in np.unique(given):
        mine = given == c
        place = (stats.rankdata(nearer[mine].max(axis=1)) - 0.5) / mine.sum()
        chance[mine] = np.minimum(1.0, rate * (steepness + 1) * place**steepness)
    lonely = np.isneginf(nearer).all(axis=1)  # one class only: nobody to be taken for
    nearer[lonely, (given[lonely] + 1) % classes] = 0.0
    chances = special.softmax(nearer / max(float(nearer[np.isfinite(nearer)].std()), 1e-12), axis=1) * chance[:, None]
    chances[np.arange(len(given)), given] = 1 - chance
    return drawn_from(given, chances, rng)
