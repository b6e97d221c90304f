"""A small network that shifts the image features before the words judge them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.anchors import Anchors, need_anchors
from tapetum.learn.fitting.sigmoid import Adam, Targets

__all__ = ["ClipAdapter"]


@dataclass
class ClipAdapter:
    """x becomes (1 − ratio)·x + ratio·relu(relu(x·A)·B) at its old length, then meets the zero-shot head.

    Args:
        ratio: share of the network, in (0, 1). reduction: of the columns between A and B, at least 1.
        steps: of Adam, at least 1. rate: of Adam. seed: of A and B.

    Returns:
        Logits; all findings share the network, which only those with an image of either kind train. The intercepts
        are learned with it.

    Raises:
        UsageError: on fitting, an option out of range; no anchors, or anchors of other rows or findings.

    Source: Gao et al., arXiv 2110.04544 (International Journal of Computer Vision 2024). Differs: a sigmoid per
    finding in which both kinds of image weigh alike; free intercepts; one ratio for every archive; all rows at once.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("anchors",)
    ratio: float = 0.2
    reduction: int = 4
    steps: int = 40
    rate: float = 1e-3
    seed: int = 0
    head_: Float[np.ndarray, "d k"] = field(init=False, repr=False)
    bias_: Float[np.ndarray, "k"] = field(init=False, repr=False)
    down_: Float[np.ndarray, "d h"] = field(init=False, repr=False)
    up_: Float[np.ndarray, "h d"] = field(init=False, repr=False)

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Train the network; nothing is chosen, so `groups` and `blocks` play no part."""
        del groups, blocks
        if not 0 < self.ratio < 1 or self.reduction < 1:
            found = f"ratio={self.ratio}, reduction={self.reduction}"
            raise UsageError(found, "0 < ratio < 1, reduction ≥ 1", "clip_adapter(ratio=0.2)")
        head, targets = need_anchors(anchors, support, labels), Targets.of(labels)
        known = targets.weight.any(1)
        rows, targets = np.asarray(support, np.float64)[known], Targets(targets.sign[known], targets.weight[known])
        self.head_, self.bias_ = head.weight.astype(np.float64), head.bias.astype(np.float64)
        rng, wide = np.random.default_rng(self.seed), rows.shape[1]
        narrow = max(1, wide // self.reduction)
        self.down_ = rng.uniform(-1, 1, (wide, narrow)) / np.sqrt(wide)
        self.up_ = rng.uniform(-1, 1, (narrow, wide)) / np.sqrt(narrow)
        adam = Adam((self.down_, self.up_, self.bias_), self.rate, self.steps)
        for _ in range(self.steps):
            adam.step(self._slopes(rows, targets))
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Logits per query and finding."""
        rows = np.asarray(query, dtype=np.float64)
        return self._shifted(rows)[2] @ self.head_ + self.bias_

    def state(self) -> dict[str, np.ndarray]:
        """The zero-shot head and the network."""
        return {"weight": self.head_, "bias": self.bias_, "down": self.down_, "up": self.up_}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.head_, self.bias_, self.down_, self.up_ = (state[name] for name in ("weight", "bias", "down", "up"))
        return self

    def _shifted(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Both layers' outputs, the shifted rows, and what each was multiplied by to keep its length."""
        inner = np.maximum(rows @ self.down_, 0)
        outer = np.maximum(inner @ self.up_, 0)
        mixed = (1 - self.ratio) * rows + self.ratio * outer
        length = _lengths(rows) / np.maximum(_lengths(mixed), 1e-12)
        return inner, outer, mixed * length, length

    def _slopes(self, rows: np.ndarray, targets: Targets) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Derivatives of the summed loss by both layers and the intercepts."""
        inner, outer, shifted, length = self._shifted(rows)
        slope = targets.slope(shifted @ self.head_ + self.bias_)
        by_shifted = slope @ self.head_.T
        unit = shifted / np.maximum(_lengths(rows), 1e-12)
        by_mixed = length * (by_shifted - unit * (unit * by_shifted).sum(1, keepdims=True))
        by_outer = self.ratio * by_mixed * (outer > 0)
        by_inner = (by_outer @ self.up_.T) * (inner > 0)
        return rows.T @ by_inner, inner.T @ by_outer, slope.sum(0)


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.linalg.norm(rows, axis=1, keepdims=True)
