"""Texts as extra shots: a linear probe of images and words together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.learn.fitting.anchors import Anchors, need_anchors
from tapetum.learn.fitting.sigmoid import Targets, descend

__all__ = ["CrossModal"]


@dataclass
class CrossModal:
    """Logistic regression from the zero-shot head, in which the words of each finding count as one more image of it.

    The words of a finding are a shot with it, those of the others shots without it; images and words weigh alike.

    Args:
        steps: of gradient descent, at least 1. rate: first step in multiples of 1/curvature, in (0, 2); falls as half a
            cosine.

    Returns:
        Log odds. A finding without a positive or without a negative image keeps its zero-shot head.

    Raises:
        UsageError: on fitting, an option out of range; no anchors, or anchors of other rows or findings.

    Source: Lin et al., CVPR 2023, arXiv 2301.06025. Differs: a sigmoid per finding in which both kinds weigh alike;
    one text per finding, the mean of its prompts; gradient steps on all rows instead of a search for rate and decay.
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
        head, images = need_anchors(anchors, support, labels), Targets.of(labels)
        own = np.eye(labels.shape[1])
        # One finding alone has no words that speak against it: only its own are added.
        texts = Targets.of(own) if len(own) > 1 else Targets(own, own / 2)
        both = Targets(
            np.vstack([images.sign, texts.sign]), np.vstack([images.weight, texts.weight]) / 2 * images.taught
        )
        rows = np.vstack([np.asarray(support, dtype=np.float64), (head.weight / head.lengths).T])
        self.head_, self.bias_ = descend(rows, both, head.weight, head.bias, steps=self.steps, rate=self.rate)
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
