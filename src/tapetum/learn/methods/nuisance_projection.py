"""Nuisance projection: directions in which domains differ, class by class, are shrunk before anything is learned."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.domain_weights import refuse_findings, refuse_inputs, refuse_one_domain
from tapetum.learn.classifying.moved import Moved, as_rows
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train

__all__ = ["NuisanceProjection"]


@dataclass(frozen=True)
class NuisanceProjection(Plan):
    """Each direction of the scatter of domains around their class mean is divided by root(1 + weight · its variance).

    The scatter is that of the means of a class in the domains that have it: how common a class is in a domain plays no
    part. The other directions stay as they are. It removes what the domains learned on differ by, and nothing else.

    Args:
        weight: 0 = nothing, large = the directions are cut out.
        others: see `Plan`.

    Source: after Solomonoff, Campbell and Boardman, ICASSP 2005 (nuisance attribute projection) and Hatch, Kajarekar
    and Stolcke, Interspeech 2006. Differs: scatter of means of domains instead of sessions; shrunk, not cut.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes", "domains", "features")
    weight: float = 10.0

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Moved:
        """Train; see the family's protocol."""
        for refuse in (refuse_one_domain, refuse_findings, refuse_inputs):
            refuse(taught, "nuisance_projection")
        if self.weight < 0:
            raise UsageError(f"weight={self.weight}", "at least 0")
        apart = _scatter(taught)
        _, size, directions = np.linalg.svd(apart, full_matrices=False)
        keep = size > 1e-9 * max(float(size.max()), 1e-30)
        directions, shrink = directions[keep], 1 - 1 / np.sqrt(1 + self.weight * size[keep] ** 2)

        def move(inputs: Float[np.ndarray | Tensor, "n d"]) -> Float64[np.ndarray, "n d"]:
            rows = as_rows(inputs)
            return rows - (rows @ directions.T * shrink) @ directions

        network = train(dataclasses.replace(taught, features=move(taught.features)), self, pace, rng)
        return Moved(network, move)


def _scatter(taught: Taught) -> Float64[np.ndarray, "m d"]:
    """Means of domains around the mean of their class, times the root of their share: squares add up to the scatter."""
    found: list[np.ndarray] = []
    for c in range(taught.classes):
        cells = [taught.features[(taught.labels == c) & (taught.domains == d)] for d in np.unique(taught.domains)]
        means = [cell.mean(0, dtype=np.float64) for cell in cells if len(cell)]
        if len(means) > 1:
            found.append((np.stack(means) - np.mean(means, axis=0)) / np.sqrt(len(means) * taught.classes))
    return np.concatenate(found) if found else np.zeros((1, taught.features.shape[1]))
