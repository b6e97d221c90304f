"""A linear probe that starts from the words of the findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.learn.fitting.anchors import Anchors, need_anchors
from tapetum.learn.fitting.sigmoid import Targets, descend

__all__ = ["ZeroShotProbe"]


@dataclass
class ZeroShotProbe:
    """Logistic regression by full-batch gradient steps from the zero-shot head; the number of steps is its only brake.

    Args:
        steps: of gradient descent, at least 1. rate: first step in multiples of 1/curvature, in (0, 2); falls as half a
            cosine.

    Returns:
        Log odds for as many images with as without. A finding without a positive or without a negative image keeps
        its zero-shot head.

    Raises:
        UsageError: on fitting, an option out of range; no anchors, or anchors of other rows or findings.

    Source: Silva-Rodríguez et al., CVPR 2024, arXiv 2312.12730 (ZS-LP). Differs: a sigmoid per finding in which both
    kinds of image weigh alike; a free intercept; the step comes from the loss's curvature instead of a rate of 0.1
    with a one-epoch warm-up; all rows at once; the head is not scaled to length 1.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("anchors",)
    steps: int = 300
    rate: float = 1.0
    head_: Float[np.ndarray, "d k"] = field(init=False, repr=False)
    bias_: Float[np.ndarray, "k"] = field(init=False, repr=False)

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Descend from the anchors; nothing is chosen, so `groups` and `blocks` play no part."""
        del groups, blocks
        head = need_anchors(anchors, support, labels)
        rows = np.asarray(support, dtype=np.float64)
        self.head_, self.bias_ = descend(
            rows, Targets.of(labels), head.weight, head.bias, steps=self.steps, rate=self.rate
        )
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Logits per query and finding."""
        return np.asarray(query, dtype=np.float64) @ self.head_ + self.bias_

    def state(self) -> dict[str, np.ndarray]:
        """Weights and biases."""
        return {"weight": self.head_, "bias": self.bias_}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.head_, self.bias_ = state["weight"], state["bias"]
        return self
