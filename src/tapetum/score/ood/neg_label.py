"""NegLabel: how much of an image's likeness goes to words that no known image is called by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from scipy import special

from tapetum.score.in_distribution import InDistribution, Need, directions
from tapetum.score.post_hoc import PostHoc, positive
from tapetum.score.query import Query

__all__ = ["NegLabel"]


@dataclass
class NegLabel(PostHoc):
    """Minus the share of exp(cosine / temperature) that goes to the known classes, the rest going to negative words.

    The weights of the head are the words of the classes, in the space of the features; `negatives` are other words.
    Softmax and sigmoid alike: several findings in one image add up.

    Args:
        temperature: divides cosines; that of image-text models trained with softmax is about 0.01.

    Returns:
        -1..0, higher = more OOD.

    Source: Jiang et al., ICLR 2024, arXiv 2403.20078, equation 6. Differs: no grouping of the negative words; they come
    from the caller (`far_words`), not from WordNet.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head", "negatives")
    temperature: float = 0.01

    def __post_init__(self) -> None:
        positive(self.temperature, "temperature")

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        rows = query.directions.astype(np.float64)
        inside = rows @ directions(known.linear.weight).T / self.temperature
        outside = rows @ directions(known.other_words).T / self.temperature
        ours = np.asarray(special.logsumexp(inside, axis=1))
        return -special.expit(ours - special.logsumexp(outside, axis=1))
