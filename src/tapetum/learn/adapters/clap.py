"""A linear probe held to the words of the findings, more firmly where the words are right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float
from scipy import special

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.anchors import Anchors, need_anchors
from tapetum.learn.fitting.sigmoid import Targets

__all__ = ["CLAP"]


@dataclass
class CLAP:
    """Cross-entropy + λ·|w − t|²/|t|² per finding; λ is how well the words t alone do on the finding's own shots.

    Args:
        outer: steps of the augmented Lagrangian after the first solution, 0 or more: λ grows by ρ·h, and ρ becomes h,
            where h is the violation |w − t|²/|t|² and ρ starts at 0 (so that the first of them leaves λ as it is).
            The published command takes none.

    Returns:
        Log odds for as many images with as without. A finding without a positive or without a negative image keeps
        its zero-shot head.

    Raises:
        UsageError: on fitting, outer below 0; no anchors, or anchors of other rows or findings.

    Source: Silva-Rodríguez et al., CVPR 2024, arXiv 2312.12730. Differs: a sigmoid per finding in which both kinds of
    image weigh alike, so that λ is the mean of the probabilities given to the right side; a free intercept, not held;
    each problem is solved to its optimum by Newton's method instead of 300 epochs; the penalty is not divided by the
    number of findings, and distances are measured in lengths of the text vector.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("anchors",)
    outer: int = 0
    head_: Float[np.ndarray, "d k"] = field(init=False, repr=False)
    bias_: Float[np.ndarray, "k"] = field(init=False, repr=False)
    multiplier_: Float[np.ndarray, "k"] = field(init=False, repr=False)

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Solve finding by finding; nothing is chosen, so `groups` and `blocks` play no part."""
        del groups, blocks
        if self.outer < 0:
            raise UsageError(f"outer={self.outer}", "0 or more", "clap(outer=0)")
        head, targets = need_anchors(anchors, support, labels), Targets.of(labels)
        rows, scale = np.asarray(support, dtype=np.float64), head.lengths
        start = head.logits(rows)
        self.multiplier_ = (targets.weight * special.expit(targets.sign * start)).sum(0)
        self.head_, self.bias_ = head.weight.astype(np.float64), head.bias.astype(np.float64)
        for j in np.flatnonzero(targets.taught):
            used = targets.weight[:, j] > 0
            part = Targets(targets.sign[used, j : j + 1], targets.weight[used, j : j + 1])
            # The solution is t plus a combination of the rows: in their own few coordinates it is small.
            left, length, right = np.linalg.svd(rows[used] * scale[j], full_matrices=False)
            problem = _Held(left * length, part, start[used, j])
            multiplier, firmness, moved = float(self.multiplier_[j]), 0.0, problem.solve(float(self.multiplier_[j]))
            for _ in range(self.outer):
                violation = float(moved[:-1] @ moved[:-1])
                multiplier, firmness = multiplier + firmness * violation, violation
                moved = problem.solve(multiplier, moved)
            self.multiplier_[j] = multiplier
            self.head_[:, j] += scale[j] * (right.T @ moved[:-1])
            self.bias_[j] += moved[-1]
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Logits per query and finding."""
        return np.asarray(query, dtype=np.float64) @ self.head_ + self.bias_

    def state(self) -> dict[str, np.ndarray]:
        """Weights, biases, and the multipliers they were found with."""
        return {"weight": self.head_, "bias": self.bias_, "multiplier": self.multiplier_}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.head_, self.bias_, self.multiplier_ = state["weight"], state["bias"], state["multiplier"]
        return self


@dataclass(frozen=True)
class _Held:
    """min over (u, b) of the loss of `start + rows @ u + b`, plus λ·|u|²."""

    rows: Float[np.ndarray, "n r"]
    targets: Targets
    start: Float[np.ndarray, "n"]

    def solve(self, penalty: float, moved: Float[np.ndarray, "r+1"] | None = None) -> Float[np.ndarray, "r+1"]:
        """Newton's method; the step is halved while it does not lower the value."""
        whole = np.hstack([self.rows, np.ones((len(self.rows), 1))])
        held = np.append(np.full(self.rows.shape[1], 2 * penalty), 1e-9)  # keeps a separated intercept finite
        here = np.zeros(whole.shape[1]) if moved is None else moved
        value = self._value(whole, held, here)
        for _ in range(_NEWTON):
            logits = self.start + whole @ here
            odds = special.expit(logits) * special.expit(-logits) * self.targets.weight[:, 0]
            slope = whole.T @ self.targets.slope(logits[:, None])[:, 0] + held * here
            step = np.linalg.solve((whole.T * odds) @ whole + np.diag(held), slope)
            share = 1.0
            while (lower := self._value(whole, held, here - share * step)) > value and share > 1e-6:
                share /= 2
            here, gain, value = here - share * step, value - lower, min(lower, value)
            if gain <= 1e-14 * max(1.0, value) and share == 1.0:
                break
        return here

    def _value(self, whole: np.ndarray, held: np.ndarray, moved: np.ndarray) -> float:
        logits = (self.start + whole @ moved)[:, None]
        return float(self.targets.loss(logits)[0] + (held * moved**2).sum() / 2)


_NEWTON = 50
