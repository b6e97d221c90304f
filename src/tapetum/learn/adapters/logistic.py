"""Logistic regression on standardised features, one column per finding, its penalty chosen on inner patient folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float, Int

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.anchors import Anchors
from tapetum.learn.fitting.logistic_path import LOGISTIC_PENALTIES, Turned, chosen_penalties, logistic_fit
from tapetum.learn.fitting.ridge import patient_folds
from tapetum.learn.fitting.standardise import Standardiser

__all__ = ["Logistic"]


@dataclass
class Logistic:
    """Logistic regression; each finding's L2 penalty is chosen for its AUROC on inner patient folds of the support.

    No validation set is asked for. A finding that no inner fold can judge (too few positives) takes the penalty that
    serves the others best; where none can be judged, the middle one of those tried.

    Args:
        penalty: 0 = choose; else above 0, scikit-learn's 1 / C. power: exponent of the signed root. folds: inner
            patient folds, at least 2. seed: of the folds. tolerance: on the mean Newton decrement per image.

    Returns:
        Log odds of the fitted model; calibrate before reading them as probabilities of other patients. A finding
        without a positive or without a negative image is NaN.

    Raises:
        UsageError: on fitting, a negative penalty, fewer than 2 folds, or a tolerance not above 0.

    Source: Cox, Journal of the Royal Statistical Society B 1958 (the model); Lin, Weng and Keerthi, JMLR 2008
    (truncated Newton steps). Differs: one penalty per finding, all findings and folds solved together in as many
    coordinates as there are images; unknown labels leave the image out of that finding, but not out of the
    (label-free) standardisation.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()
    penalty: float = 0.0
    power: float = 0.5
    folds: int = 5
    seed: int = 0
    tolerance: float = 1e-18
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
        """Choose and solve; without `groups` every image counts as its own patient. Anchors play no part."""
        del anchors
        if self.penalty < 0 or self.folds < 2 or self.tolerance <= 0:
            raise UsageError(
                f"penalty={self.penalty:g}, folds={self.folds}, tolerance={self.tolerance:g}",
                "penalty ≥ 0, folds ≥ 2, tolerance > 0",
                "logistic(penalty=0)",
            )
        self.standardiser_ = Standardiser.fit(support, self.power, blocks)
        truth = np.asarray(labels, dtype=np.float64)
        who = np.arange(len(truth)) if groups is None else np.asarray(groups)
        fold = patient_folds(who, self.folds, np.random.default_rng(self.seed))
        some = ~np.isnan(truth).all(1)
        width, columns = np.shape(support)[1], truth.shape[1]
        self.weight_, self.bias_ = np.full((width, columns), np.nan), np.full(columns, np.nan)
        self.penalty_ = np.full(columns, np.nan)
        useful = np.flatnonzero((truth == 1).any(0) & (truth == 0).any(0))
        if len(useful):
            turned = Turned.of(self.standardiser_(np.asarray(support)[some]))
            known = truth[np.ix_(some, useful)]
            self.penalty_[useful] = self._penalties(turned, known, fold[some])
            mask, chosen = ~np.isnan(known), self.penalty_[useful]
            rough = logistic_fit(turned.single(), known, mask, chosen, tolerance=max(self.tolerance, 1e-6))
            solution = logistic_fit(turned, known, mask, chosen, start=rough, tolerance=self.tolerance)
            self.weight_[:, useful], self.bias_[useful] = turned.weights(solution)
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Log odds per query and finding."""
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
        self, turned: Turned, labels: Float[np.ndarray, "n k"], fold: Int[np.ndarray, "n"]
    ) -> Float[np.ndarray, "k"]:
        if self.penalty > 0:
            return np.full(labels.shape[1], self.penalty)
        return chosen_penalties(turned, labels, fold, LOGISTIC_PENALTIES)
