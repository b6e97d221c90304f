"""A sigmoid per finding: logistic loss in which images with and without a finding weigh alike, and ways down it.

The papers on few-shot adapters end in a softmax over classes. Findings of one image do not exclude each other, and
some are unknown: each gets its own two-class loss, over the images whose label is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from tapetum.core.errors import UsageError


@dataclass(frozen=True)
class Targets:
    """Signs and weights of the labels, column by column.

    Attributes:
        sign: +1 present, −1 absent, 0 unknown.
        weight: of each image in the loss of each finding: those with it sum to ½, those without it to ½. All 0 for a
            finding without either kind, which therefore stays where it started.

    Example:
        >>> Targets.of(np.array([[1.0], [0.0], [0.0], [np.nan]])).weight.ravel()
        array([0.5 , 0.25, 0.25, 0.  ])
    """

    sign: Float[np.ndarray, "n k"]
    weight: Float[np.ndarray, "n k"]

    @staticmethod
    def of(labels: Float[np.ndarray, "n k"]) -> Targets:
        """From labels 1, 0 and NaN."""
        present, absent = labels == 1, labels == 0
        with_it, without = present.sum(0), absent.sum(0)
        both = (with_it > 0) & (without > 0)
        weight = (present / np.maximum(with_it, 1) + absent / np.maximum(without, 1)) / 2 * both
        return Targets(present.astype(np.float64) - absent, weight)

    @property
    def taught(self) -> Bool[np.ndarray, "k"]:
        """Findings with an image of either kind."""
        return np.asarray(self.weight.any(0))

    def loss(self, logits: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "k"]:
        """Weighted mean of −log σ(sign·logit), per finding."""
        return (self.weight * np.logaddexp(0, -self.sign * logits)).sum(0)

    def slope(self, logits: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """Derivative of the loss by the logits."""
        return -self.weight * self.sign * special.expit(-self.sign * logits)


def curvature(rows: Float[np.ndarray, "n d"], weight: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "k"]:
    """Bound on the second derivative of the loss of `rows @ w + b`: λmax(Σ weight·(x, 1)(x, 1)ᵀ)/4 per finding.

    A gradient step of 1/curvature never raises the loss. 1 for a finding without weights, where nothing moves.
    """
    whole = np.hstack([rows, np.ones((len(rows), 1))])
    bound = np.ones(weight.shape[1])
    for j in np.flatnonzero(weight.any(0)):
        used = weight[:, j] > 0
        part = whole[used] * np.sqrt(weight[used, j])[:, None]
        small = part @ part.T if len(part) < part.shape[1] else part.T @ part
        bound[j] = np.linalg.eigvalsh(small)[-1] / 4
    return bound


def descend(
    rows: Float[np.ndarray, "n d"],
    targets: Targets,
    weight: Float[np.ndarray, "d k"],
    bias: Float[np.ndarray, "k"],
    *,
    steps: int,
    rate: float,
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, "k"]]:
    """A linear head after full-batch gradient steps from where it starts; the step falls to 0 as half a cosine.

    Args:
        rows: images, float64.
        targets: their labels.
        weight: where the head starts.
        bias: the same.
        steps: how many, at least 1.
        rate: length of the first step, in multiples of 1/curvature, in (0, 2).

    Raises:
        UsageError: steps or rate out of range.
    """
    if steps < 1 or not 0 < rate < 2:
        raise UsageError(f"steps={steps}, rate={rate}", "steps ≥ 1, 0 < rate < 2", "zs_lp(steps=300, rate=1.0)")
    length = rate / curvature(rows, targets.weight)
    weight, bias = weight.astype(np.float64), bias.astype(np.float64)
    for step in range(steps):
        slope = targets.slope(rows @ weight + bias) * (length * _half_cosine(step, steps))
        weight -= rows.T @ slope
        bias -= slope.sum(0)
    return weight, bias


@dataclass
class Adam:
    """Adam on arrays that it changes in place, with half a cosine of steps.

    Args:
        values: what is learned.
        rate: length of the first step.
        steps: how many there will be.
        floor: added to the root of the mean square, so that small slopes make small steps.

    Source: Kingma and Ba, ICLR 2015, arXiv 1412.6980, algorithm 1.
    """

    values: Sequence[np.ndarray]
    rate: float
    steps: int
    floor: float = 1e-8
    step_: int = field(default=0, init=False)
    mean_: list[np.ndarray] = field(init=False)
    square_: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.rate <= 0:
            raise UsageError(f"steps={self.steps}, rate={self.rate}", "steps ≥ 1, rate > 0", "steps=200, rate=0.001")
        self.mean_, self.square_ = ([np.zeros_like(v) for v in self.values] for _ in range(2))

    def step(self, slopes: Sequence[np.ndarray]) -> None:
        """One step against the slopes, in the order of the values."""
        length = self.rate * _half_cosine(self.step_, self.steps)
        self.step_ += 1
        first, second = 1 - 0.9**self.step_, 1 - 0.999**self.step_
        for i, slope in enumerate(slopes):
            self.mean_[i] += 0.1 * (slope - self.mean_[i])
            self.square_[i] += 0.001 * (slope**2 - self.square_[i])
            self.values[i][...] -= length * (self.mean_[i] / first) / (np.sqrt(self.square_[i] / second) + self.floor)


def _half_cosine(step: int, steps: int) -> float:
    return float((1 + np.cos(np.pi * step / steps)) / 2)
