"""The nearest class mean: nothing is trained, a class of ten rows has a mean like one of a thousand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from tapetum.core.errors import DataError
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.stages import embedded_rows
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network

__all__ = ["NearestMean"]


@dataclass(frozen=True)
class NearestMean:
    """Cosine with the mean of each class, after the middle of all class means was taken off.

    Args:
        scale: of the cosine, so that it is a logit.

    Source: Kang et al., ICLR 2020, arXiv 1910.09217, section 4.2 (NCM). Differs: the middle is that of the class means,
    so that common classes do not draw it to themselves.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    scale: float = 16.0

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Means:
        """Take means; the pace plays no part.

        Raises:
            DataError: a class without rows.
        """
        del pace
        if not (taught.counts > 0).all():
            raise DataError("a class without training rows", "at least one each")
        network = new_network(taught, "linear", rng)
        rows = embedded_rows(taught, network).features.astype(np.float64)
        means = np.stack([rows[taught.labels == c].mean(axis=0) for c in range(taught.classes)])
        return Means(network, means.mean(axis=0), _unit(means - means.mean(axis=0)), self.scale)


@dataclass(frozen=True)
class Means:
    """See `NearestMean`."""

    network: Network
    middle: Float64[np.ndarray, "d"]
    means: Float64[np.ndarray, "k d"]
    scale: float

    def __call__(self, inputs: Float[np.ndarray | Tensor, "n ..."]) -> Float64[np.ndarray, "n k"]:
        """Logits, higher = more likely."""
        return self.scale * _unit(self.network.embed(inputs) - self.middle) @ self.means.T


def _unit(rows: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n d"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
