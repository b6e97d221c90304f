"""A linear probe in closed form: ridge regression on standardised features, one column per finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float, Int

from tapetum.learn.fitting.anchors import Anchors
from tapetum.learn.fitting.ridge import PENALTIES, Gram, best_penalty, inner_quality, patient_folds
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.score.metrics.auroc_score import auroc_score

__all__ = ["LinearProbe"]


@dataclass
class LinearProbe:
    """Ridge regression of ±1 targets; each finding's penalty is chosen for its AUROC on inner patient folds.

    A finding that no inner fold can judge (too few positives) takes the penalty that serves the others best; where none
    can be judged, the middle one of those tried.

    Args:
        penalty: 0 = choose. power: exponent of the signed root. folds: inner patient folds. seed: of the folds.

    Returns:
        Regression scores, rising with the odds but no log odds: calibrate before reading them as such. A finding
        without a positive or without a negative image is NaN.

    Source: Hoerl and Kennard, Technometrics 1970 (ridge). Differs: one penalty per finding; unknown labels leave the
    image out of that finding, but not out of the (label-free) standardisation.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()
    penalty: float = 0.0
    power: float = 0.5
    folds: int = 4
    seed: int = 0
    standardiser_: Standardiser = field(init=False, repr=False)
    weight_: Float[np.ndarray, "d k"] = field(init=False, repr=False)
    bias_: Float[np.ndarray, "k"] = field(init=False, repr=False)
    penalty_: Float[np.ndarray, "k"] = field(init=False, repr=False)

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Solve for the weights; without `groups` every image counts as its own patient. Anchors play no part."""
        del anchors
        self.standardiser_ = Standardiser.fit(support, self.power, blocks)
        rows, truth = self.standardiser_(support), np.asarray(labels, dtype=np.float64)
        who = np.arange(len(truth)) if groups is None else np.asarray(groups)
        fold = patient_folds(who, self.folds, np.random.default_rng(self.seed))
        self.weight_ = np.full((rows.shape[1], truth.shape[1]), np.nan)
        self.bias_, self.penalty_ = np.full(truth.shape[1], np.nan), np.full(truth.shape[1], np.nan)
        useful = (truth == 1).any(0) & (truth == 0).any(0)
        # Findings that are known for the same images share one decomposition.
        patterns, which = np.unique(~np.isnan(truth), axis=1, return_inverse=True)
        for p in range(patterns.shape[1]):
            columns, known = np.flatnonzero(useful & (which.ravel() == p)), np.flatnonzero(patterns[:, p])
            if len(columns):
                targets = truth[np.ix_(known, columns)] * 2 - 1
                chosen = self._penalties(rows[known], targets, fold[known])
                self.weight_[:, columns], self.bias_[columns] = Gram.of(rows[known]).fit(targets, chosen)
                self.penalty_[columns] = chosen
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Scores per query and finding."""
        return self.standardiser_(query) @ self.weight_ + self.bias_

    def state(self) -> dict[str, np.ndarray]:
        """Standardisation, weights, and the penalties that were chosen."""
        return {
            **self.standardiser_.state(), "weight": self.weight_, "bias": self.bias_, "penalty": self.penalty_,
        }  # fmt: skip

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.standardiser_ = Standardiser.restore(state)
        self.weight_, self.bias_, self.penalty_ = state["weight"], state["bias"], state["penalty"]
        return self

    def _penalties(
        self, rows: Float[np.ndarray, "n d"], targets: Float[np.ndarray, "n k"], fold: Int[np.ndarray, "n"]
    ) -> Float[np.ndarray, "k"]:
        """One penalty per column."""
        if self.penalty > 0:
            return np.full(targets.shape[1], self.penalty)
        middle = PENALTIES[len(PENALTIES) // 2]
        if len(np.unique(fold)) < 2:
            return np.full(targets.shape[1], middle)

        def quality(prediction: Float[np.ndarray, "m k"], out: Int[np.ndarray, "m"]) -> Float[np.ndarray, "k"]:
            truth = (targets[out] > 0).astype(int)
            return np.array([auroc_score(p, y) for p, y in zip(prediction.T, truth.T, strict=True)])

        table = inner_quality(rows, targets, fold, quality=quality)
        judged = np.asarray(~np.isnan(table).any(0))
        shared = best_penalty(table[:, judged].mean(1)) if judged.any() else middle
        return np.array(
            [best_penalty(column) if ok else shared for column, ok in zip(table.T, judged.tolist(), strict=True)]
        )
