"""Linear discriminant analysis with a shrunk covariance, one finding at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.anchors import Anchors
from tapetum.learn.fitting.standardise import Standardiser

__all__ = ["LDA"]


@dataclass
class LDA:
    """w = Σ⁻¹·(mean with − mean without), with the covariance within both kinds of image shrunk towards a sphere.

    Args:
        shrinkage: share of the sphere, in (0, 1]; None = after Ledoit and Wolf. pooled: one covariance for both kinds
            of image, of all their deviations together; False = shrink each kind's correlations by itself, then mix
            them by their numbers, as scikit-learn does. power: exponent of the signed root.

    Returns:
        Log odds under two normal distributions of that covariance. A finding without a positive or without a negative
        image is NaN; with one image of each kind only, the covariance is a sphere.

    Raises:
        UsageError: on fitting, shrinkage outside its range, or given together with pooled=False.

    Source: Ledoit and Wolf, Journal of Multivariate Analysis 2004; Friedman, JASA 1989. Differs: features standardised
    after a signed root first; pooled deviations, so that three images of a finding do not shrink by themselves.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()
    shrinkage: float | None = None
    pooled: bool = True
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
        """Solve finding by finding; nothing is chosen and no word asked: `groups` and `anchors` play no part."""
        del groups, anchors
        if self.shrinkage is not None and not (0 < self.shrinkage <= 1 and self.pooled):
            found = f"shrinkage={self.shrinkage}, pooled={self.pooled}"
            raise UsageError(found, "0 < shrinkage ≤ 1 with pooled=True, or None", "lda(shrinkage=0.5)")
        self.standardiser_ = Standardiser.fit(support, self.power, blocks)
        rows = self.standardiser_(support).astype(np.float64)
        self.weight_, self.bias_ = np.full((rows.shape[1], labels.shape[1]), np.nan), np.full(labels.shape[1], np.nan)
        for j, column in enumerate(np.asarray(labels, dtype=np.float64).T):
            kinds = rows[column == 1], rows[column == 0]
            if min(map(len, kinds)):
                centres = [kind.mean(0) for kind in kinds]
                sphere, loose = self._covariance([kind - c for kind, c in zip(kinds, centres, strict=True)])
                self.weight_[:, j] = _solve(sphere, loose, centres[0] - centres[1])
                middle = (centres[0] + centres[1]) / 2
                self.bias_[j] = np.log(len(kinds[0]) / len(kinds[1])) - middle @ self.weight_[:, j]
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Logits per query and finding."""
        return self.standardiser_(query) @ self.weight_ + self.bias_

    def state(self) -> dict[str, np.ndarray]:
        """Standardisation and weights."""
        return {**self.standardiser_.state(), "weight": self.weight_, "bias": self.bias_}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.standardiser_ = Standardiser.restore(state)
        self.weight_, self.bias_ = state["weight"], state["bias"]
        return self

    def _covariance(self, deviations: list[np.ndarray]) -> tuple[Float[np.ndarray, "d"], Float[np.ndarray, "n d"]]:
        """The shrunk covariance as diag(sphere) + looseᵀ·loose."""
        whole = np.concatenate(deviations)
        if self.pooled:
            share = _ledoit_wolf(whole) if self.shrinkage is None else self.shrinkage
            sphere = np.full(whole.shape[1], share * (whole**2).mean())
            return sphere, whole * np.sqrt((1 - share) / len(whole))
        sphere, loose = np.zeros(whole.shape[1]), list[np.ndarray]()
        for part in deviations:
            scale = part.std(0)
            scale[scale <= 10 * np.finfo(np.float64).eps * len(part)] = 1.0
            scaled = part / scale
            share = _ledoit_wolf(scaled)
            sphere += len(part) / len(whole) * share * (scaled**2).mean() * scale**2
            loose.append(part * np.sqrt((1 - share) / len(whole)))
        return sphere, np.concatenate(loose)


def _ledoit_wolf(deviations: Float[np.ndarray, "n d"]) -> float:
    """Share of the sphere that minimises the expected squared error of the covariance; 0 where nothing deviates."""
    count, wide = deviations.shape
    inner = deviations @ deviations.T if count < wide else deviations.T @ deviations
    square = (inner**2).sum() / count**2
    trace = (deviations**2).sum() / count
    noise = (((deviations**2).sum(1) ** 2).sum() / count - square) / count
    spread = square - trace**2 / wide
    return float(min(noise, spread) / spread) if noise > 0 and spread > 0 else 0.0


def _solve(
    sphere: Float[np.ndarray, "d"], loose: Float[np.ndarray, "n d"], difference: Float[np.ndarray, "d"]
) -> Float[np.ndarray, "d"]:
    """(diag(sphere) + looseᵀ·loose)⁻¹·difference, in whichever of rows and columns are fewer."""
    total = float(sphere.mean() + (loose**2).sum() / len(sphere))
    if total == 0:
        return difference
    sphere = np.maximum(sphere, 1e-9 * total)
    if len(loose) >= len(sphere):
        return np.linalg.solve(loose.T @ loose + np.diag(sphere), difference)
    across, plain = loose / sphere, difference / sphere
    return plain - across.T @ np.linalg.solve(np.eye(len(loose)) + across @ loose.T, loose @ plain)
