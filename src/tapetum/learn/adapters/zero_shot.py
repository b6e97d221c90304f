"""The anchors alone: what the words of the findings give without any label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.learn.fitting.anchors import Anchors, need_anchors

__all__ = ["ZeroShot"]


@dataclass
class ZeroShot:
    """The zero-shot head, unchanged: the baseline that every label has to beat.

    Returns:
        The anchors' logits; labels only tell how many findings there are.

    Raises:
        UsageError: on fitting, no anchors, or anchors of other rows or findings.

    Source: Radford et al., ICML 2021, arXiv 2103.00020 (prompts as a classifier).
    Differs: one sigmoid per finding instead of a softmax over all.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("anchors",)
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
        """Keep the anchors; nothing is learned."""
        del groups, blocks
        head = need_anchors(anchors, support, labels)
        self.head_, self.bias_ = head.weight.astype(np.float64), head.bias.astype(np.float64)
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
