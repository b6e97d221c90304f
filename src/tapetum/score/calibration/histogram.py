"""Histogram binning: in each bin, what was observed there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float64, Real

from tapetum.core.errors import UsageError
from tapetum.score.calibrating import NO_RELATION, checked_logits, columns, fitted_width, reasons_of

__all__ = ["Histogram"]

MODES = ("sigmoid",)


@dataclass
class Histogram:
    """Cut the logits at their quantiles; a bin's probability is its share of positives, column by column.

    It follows any shape, even one that falls, and forgets all order within a bin: it costs AUROC. It can say exactly 0
    or 1. A column whose shares do not rise with the bins on the whole is left uncalibrated.

    Args:
        bins: of equal numbers of validation images; equal logits stay together.

    Raises:
        UsageError: fewer than one bin.

    Example:
        >>> fitted = Histogram(2).fit(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0.0], [0.0], [1.0], [0.0]]))
        >>> fitted(np.array([[-9.0], [1.0], [2.5]]))[:, 0].tolist()
        [0.0, 0.0, 0.5]

    Source: Zadrozny and Elkan, ICML 2001. Differs: cut halfway between neighbouring logits, equal ones together.
    """

    bins: int = 10
    edges: Float64[np.ndarray, "m 3"] = field(default_factory=lambda: np.empty((0, 3)), init=False, repr=False)
    calibrated: Float64[np.ndarray, "k"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)
    uncalibrated: Mapping[int, str] = field(default_factory=dict[int, str], init=False, repr=False)

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise UsageError(f"bins={self.bins}", "at least 1")

    @property
    def preserves_order(self) -> bool:
        """A higher bin may have had fewer positives."""
        return False

    @property
    def preserves_argmax(self) -> bool:
        """Columns move apart."""
        return False

    def fit(self, logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"]) -> Histogram:
        """Fit on validation data; see the family's protocol."""
        parts, reasons = [np.empty((0, 3))], dict[int, str]()
        for j, (z, truth, reason) in enumerate(columns(logits, labels)):
            lower, shares, rises = (np.empty(0), np.empty(0), False) if reason else self._bins(z, truth)
            if rises:
                parts.append(np.stack([np.full(len(lower), float(j)), lower, shares], axis=1))
            else:
                reasons[j] = reason or NO_RELATION
        self.edges, self.uncalibrated = np.concatenate(parts), reasons
        self.calibrated = np.array([np.nan if j in reasons else 1.0 for j in range(logits.shape[1])])
        return self

    def _bins(
        self, z: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"]
    ) -> tuple[Float64[np.ndarray, "b"], Float64[np.ndarray, "b"], bool]:
        """Lower edge and share of positives of each bin, and whether the shares rise on the whole."""
        levels, place = np.unique(z, return_inverse=True)
        below = np.concatenate([[0], np.cumsum(np.bincount(place))[:-1]])
        number = np.floor(below * self.bins / len(z)).astype(np.int64)
        first = np.flatnonzero(np.diff(number, prepend=-1) > 0)
        lower = np.where(first == 0, levels[0], (levels[first] + levels[first - 1]) / 2)
        of = np.searchsorted(first, place, "right") - 1
        shares = np.bincount(of, truth) / np.bincount(of)
        rises = len(shares) > 1 and float(np.mean((of - of.mean()) * truth)) > 0
        return lower, shares, rises

    def __call__(self, logits: Float[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        """Probabilities; see the family's protocol."""
        values = checked_logits(logits, fitted_width(self.calibrated))
        probs = np.full(values.shape, np.nan)
        for j in np.flatnonzero(self.calibrated == 1):
            _, lower, shares = self.edges[self.edges[:, 0] == j].T
            probs[:, j] = shares[np.maximum(np.searchsorted(lower, values[:, j], "right") - 1, 0)]
        return probs

    def state(self) -> dict[str, np.ndarray]:
        """The bins (column, lower edge, probability) and which columns have any."""
        return {"edges": self.edges, "calibrated": self.calibrated}

    def restore(self, state: Mapping[str, np.ndarray]) -> Histogram:
        """Take the bins back."""
        self.edges = np.asarray(state["edges"], dtype=np.float64).reshape(-1, 3)
        self.calibrated = np.asarray(state["calibrated"], dtype=np.float64)
        self.uncalibrated = reasons_of(self.calibrated)
        return self
