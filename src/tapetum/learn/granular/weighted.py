"""A weighted sum of losses: each term an objective of its own, a weight of 0 leaves it out altogether."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.learn.aligner.objective import Objective, Trains
from tapetum.learn.pairing.pairs import Pairs
from tapetum.nets import Aligner


@dataclass(frozen=True)
class Weighted:
    """Several losses at once.

    Args:
        names: what the weights are called where they are set. weights: at least 0, not all 0. terms: the losses.

    Raises:
        UsageError: a weight below 0 or not finite, or none above 0.
    """

    names: tuple[str, ...]
    weights: tuple[float, ...]
    terms: tuple[Trains, ...]

    def __post_init__(self) -> None:
        told = ", ".join(f"{n}={w:g}" for n, w in zip(self.names, self.weights, strict=True))
        if not all(0 <= w < math.inf for w in self.weights) or not any(self.weights):
            raise UsageError(told, "weights of at least 0, one of them above 0", f"{self.names[0]}=1.0")

    @staticmethod
    def of(terms: Mapping[str, tuple[float, Trains]]) -> Weighted:
        """A sum from the names of the weights, the weights, and the losses."""
        return Weighted(tuple(terms), tuple(w for w, _ in terms.values()), tuple(t for _, t in terms.values()))

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The sum on these pairs; what weighs 0 is not even asked what it needs."""
        used = [(w, t) for w, t in zip(self.weights, self.terms, strict=True) if w > 0]
        return _Sum([w for w, _ in used], [t.on(pairs, rng) for _, t in used])


class _Sum:
    def __init__(self, weights: Sequence[float], parts: Sequence[Objective]) -> None:
        self.weights, self.parts = weights, parts
        # several terms may share one module
        learned = list(dict.fromkeys(part.module for part in parts if part.module is not None))
        self.module: nn.Module | None = nn.ModuleList(learned) if learned else None

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        found = [part(aligner, image, rows, epoch) for part in self.parts]
        return torch.stack([w * loss for w, loss in zip(self.weights, found, strict=True)]).sum(0)

    def taught_by(self, rows: Int[np.ndarray, "n"]) -> None:
        for part in self.parts:
            part.taught_by(rows)

    def offset(self, rows: Int[np.ndarray, "b"]) -> Float[Tensor, ""]:
        return self.parts[0].offset(rows)

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        return sum(w * part.chance(rows) for w, part in zip(self.weights, self.parts, strict=True))
