"""Image weights plus a learned share of the text weights, with steps that need no tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.anchors import Anchors, need_anchors
from tapetum.learn.fitting.sigmoid import Targets, curvature

__all__ = ["LPPlusPlus"]


@dataclass
class LPPlusPlus:
    """logit = x·w + b + alpha·(x·t): (w, b) and alpha take turns, each with the step that its curvature allows.

    Both start from one such step away from 0, that is, from the difference of the class means and from how well the
    words do on the shots. alpha never falls below 0: words that mislead are dropped, not turned round.

    Args:
        steps: of either block; 0 = the start alone, which needs no training and holds better to the words.

    Returns:
        Log odds for as many images with as without. A finding without a positive or without a negative image keeps
        its zero-shot head.

    Raises:
        UsageError: on fitting, steps below 0; no anchors, or anchors of other rows or findings.

    Source: Huang et al., CVPR 2024, arXiv 2404.02285. Differs: a sigmoid per finding in which both kinds of image
    weigh alike; one alpha per finding from the start, moved at every step, at least 0; no momentum, and no
    validation set picks the epoch (which the published code needs: see steps).
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("anchors",)
    steps: int = 300
    head_: Float[np.ndarray, "d k"] = field(init=False, repr=False)
    bias_: Float[np.ndarray, "k"] = field(init=False, repr=False)
    share_: Float[np.ndarray, "k"] = field(init=False, repr=False)

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Take turns; nothing is chosen, so `groups` and `blocks` play no part."""
        del groups, blocks
        if self.steps < 0:
            raise UsageError(f"steps={self.steps}", "0 or more", "lp_plus_plus(steps=300)")
        head, targets = need_anchors(anchors, support, labels), Targets.of(labels)
        rows = np.asarray(support, dtype=np.float64)
        words = head.logits(rows)
        bend, bend_words = curvature(rows, targets.weight), (targets.weight * words**2).sum(0) / 4
        bend_words[bend_words == 0] = 1.0
        slope = targets.slope(np.zeros(words.shape))
        weight, bias = -(rows.T @ slope) / bend, -slope.sum(0) / bend
        share = np.maximum(-(slope * words).sum(0) / bend_words, 0)
        for _ in range(self.steps):
            slope = targets.slope(rows @ weight + bias + share * words)
            weight, bias = weight - (rows.T @ slope) / bend, bias - slope.sum(0) / bend
            slope = targets.slope(rows @ weight + bias + share * words)
            share = np.maximum(share - (slope * words).sum(0) / bend_words, 0)
        self.share_ = np.where(targets.taught, share, 1.0)
        self.head_, self.bias_ = weight + head.weight * self.share_, bias + head.bias * self.share_
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Logits per query and finding."""
        return np.asarray(query, dtype=np.float64) @ self.head_ + self.bias_

    def state(self) -> dict[str, np.ndarray]:
        """Weights and biases, and the share that the words have in them."""
        return {"weight": self.head_, "bias": self.bias_, "share": self.share_}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.head_, self.bias_, self.share_ = state["weight"], state["bias"], state["share"]
        return self
