"""Distance to the mean image of each finding, against the mean of the images without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.learn.fitting.anchors import Anchors
from tapetum.learn.fitting.standardise import Standardiser

__all__ = ["Prototypes"]


@dataclass
class Prototypes:
    """Nearest class mean per finding; works from one positive and one negative image on.

    Args:
        power: exponent of the signed root.

    Returns:
        Projection on the line between both means, 0 halfway, higher = nearer to the images with the finding.
        A finding without a positive or without a negative image is NaN.

    Source: Snell et al., NeurIPS 2017, arXiv 1703.05175, equation 2 for two classes.
    Differs: fixed standardised features instead of a trained network; one pair of means per finding.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()
    power: float = 0.5
    standardiser_: Standardiser = field(init=False, repr=False)
    weight_: Float[np.ndarray, "d k"] = field(init=False, repr=False)
    bias_: Float[np.ndarray, "k"] = field(init=False, repr=False)

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Take the means; nothing is chosen, so only the rows and labels play a part."""
        del groups, blocks, anchors
        self.standardiser_ = Standardiser.fit(support, self.power)
        rows = self.standardiser_(support).astype(np.float64)
        present, absent = labels == 1, labels == 0
        with np.errstate(invalid="ignore"):
            with_it = rows.T @ present / np.where(present.any(0), present.sum(0), np.nan)
            without = rows.T @ absent / np.where(absent.any(0), absent.sum(0), np.nan)
        self.weight_ = with_it - without
        self.bias_ = -((with_it**2).sum(0) - (without**2).sum(0)) / 2
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Scores per query and finding."""
        return self.standardiser_(query) @ self.weight_ + self.bias_

    def state(self) -> dict[str, np.ndarray]:
        """Standardisation and weights."""
        return {**self.standardiser_.state(), "weight": self.weight_, "bias": self.bias_}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.standardiser_ = Standardiser.restore(state)
        self.weight_, self.bias_ = state["weight"], state["bias"]
        return self
