"""The zero-shot head plus a cache: each labelled image votes for what looks like it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.anchors import Anchors, need_anchors
from tapetum.learn.fitting.sigmoid import Adam, Targets

__all__ = ["TipAdapter"]


@dataclass
class TipAdapter:
    """Zero-shot logit + alpha·Σ exp(−beta·(1 − cosine))·value over the labelled images, or over keys learned from them.

    An image with the finding votes for it and one without votes against it, so weighted that either side sums to the
    number of the rarer one: neither many absent labels nor a missing last class tips the vote.

    Args:
        alpha: of the cache, above 0. beta: sharpness, above 0.
        finetune: learn the keys by Adam, an image never voting for itself meanwhile.
        steps: of Adam, at least 1. rate: of Adam.

    Returns:
        Logits. A finding without a positive or without a negative image keeps its zero-shot head.

    Raises:
        UsageError: on fitting, an option out of range; no anchors, or anchors of other rows or findings.

    Source: Zhang et al., ECCV 2022, arXiv 2207.09519 (Tip-Adapter and Tip-Adapter-F). Differs: votes for and against
    per finding instead of one-hot classes; alpha and beta are the published defaults, never searched for; the same
    formula in training and in use.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("anchors",)
    alpha: float = 1.0
    beta: float = 5.5
    finetune: bool = False
    steps: int = 20
    rate: float = 1e-3
    head_: Float[np.ndarray, "d k"] = field(init=False, repr=False)
    bias_: Float[np.ndarray, "k"] = field(init=False, repr=False)
    keys_: Float[np.ndarray, "n d"] = field(init=False, repr=False)
    values_: Float[np.ndarray, "n k"] = field(init=False, repr=False)

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Fill the cache; nothing is chosen, so `groups` and `blocks` play no part."""
        del groups, blocks
        if self.alpha <= 0 or self.beta <= 0:
            raise UsageError(f"alpha={self.alpha}, beta={self.beta}", "both above 0", "tip_adapter(alpha=1, beta=5.5)")
        head, targets = need_anchors(anchors, support, labels), Targets.of(labels)
        self.head_, self.bias_ = head.weight.astype(np.float64), head.bias.astype(np.float64)
        known = targets.weight.any(1)
        rarer = np.minimum((labels == 1).sum(0), (labels == 0).sum(0))
        self.keys_ = _unit(np.asarray(support, dtype=np.float64)[known])
        self.values_ = (2 * rarer * targets.weight * targets.sign)[known]
        if self.finetune:
            self._learn_keys(head.logits(support)[known], Targets(targets.sign[known], targets.weight[known]))
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Logits per query and finding."""
        rows = np.asarray(query, dtype=np.float64)
        votes = np.exp(self.beta * (_unit(rows) @ self.keys_.T - 1)) @ self.values_
        return rows @ self.head_ + self.bias_ + self.alpha * votes

    def state(self) -> dict[str, np.ndarray]:
        """The zero-shot head and the cache."""
        return {"weight": self.head_, "bias": self.bias_, "keys": self.keys_, "values": self.values_}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.head_, self.bias_, self.keys_, self.values_ = (
            state[name] for name in ("weight", "bias", "keys", "values")
        )
        return self

    def _learn_keys(self, start: Float[np.ndarray, "n k"], targets: Targets) -> None:
        rows, others = self.keys_.copy(), 1 - np.eye(len(self.keys_))
        adam = Adam((self.keys_,), self.rate, self.steps, floor=1e-4)
        for _ in range(self.steps):
            votes = np.exp(self.beta * (rows @ self.keys_.T - 1)) * others
            slope = targets.slope(start + self.alpha * votes @ self.values_)
            adam.step(((self.alpha * self.beta * (slope @ self.values_.T) * votes).T @ rows,))


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
