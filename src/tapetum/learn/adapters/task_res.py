"""A residual on the text vectors, learned while the text vectors stay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.anchors import Anchors, need_anchors
from tapetum.learn.fitting.sigmoid import Adam, Targets

__all__ = ["TaskRes"]


@dataclass
class TaskRes:
    """Each finding's vector becomes t + alpha·r: t its prompt, fixed; r learned from 0 by Adam.

    Args:
        alpha: share of the residual, above 0. steps: of Adam, at least 1.
        rate: of Adam, in units of a vector of length 1: the smaller of the two published ones (2e-3 for small sets).
        decay: weight decay of the residual, 0 or more.

    Returns:
        Log odds for as many images with as without. A finding without a positive or without a negative image keeps
        its zero-shot head.

    Raises:
        UsageError: on fitting, an option out of range; no anchors, or anchors of other rows or findings.

    Source: Yu et al., CVPR 2023, arXiv 2211.10277. Differs: a sigmoid per finding in which both kinds of image weigh
    alike; a free intercept; all rows at once; t + alpha·r keeps its length; one alpha and one rate for every
    archive, where the paper has others for some.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("anchors",)
    alpha: float = 0.5
    steps: int = 200
    rate: float = 2e-4
    decay: float = 5e-4
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
        """Learn the residuals; nothing is chosen, so `groups` and `blocks` play no part."""
        del groups, blocks
        if self.alpha <= 0 or self.decay < 0:
            raise UsageError(f"alpha={self.alpha}, decay={self.decay}", "alpha > 0, decay ≥ 0", "task_res(alpha=0.5)")
        head, targets = need_anchors(anchors, support, labels), Targets.of(labels)
        # In units of a prompt vector of length 1: the scale of the logits moves to the rows.
        rows, scale = np.asarray(support, dtype=np.float64), head.lengths
        residual, bias = np.zeros(head.weight.shape), head.bias.astype(np.float64)
        adam, start = Adam((residual, bias), self.rate, self.steps), head.logits(rows) - head.bias
        for _ in range(self.steps):
            slope = targets.slope(start + self.alpha * scale * (rows @ residual) + bias)
            adam.step((self.alpha * scale * (rows.T @ slope) + self.decay * residual, slope.sum(0)))
        self.head_, self.bias_ = head.weight + self.alpha * scale * residual, bias
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
