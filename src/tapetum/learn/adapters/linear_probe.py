"""A linear probe in closed form: ridge regression on standardised features, one column per finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from jaxtyping import Float

from tapetum.learn.ridge import Gram, choose_penalty
from tapetum.learn.standardise import Standardiser
from tapetum.score.metrics.auroc_score import auroc_score

__all__ = ["LinearProbe"]


@dataclass
class LinearProbe:
    """Ridge regression of ±1 targets; the penalty is chosen for AUROC on inner patient folds of the support set.

    Args:
        penalty: 0 = choose. power: exponent of the signed root. folds: inner patient folds. seed: of the folds.

    Returns:
        Regression scores: 0 is the boundary of ±1 targets that weigh the classes alike; calibrate before reading them as
        odds.

    Source: Hoerl and Kennard, Technometrics 1970 (ridge). Differs: unknown labels stand at the column's mean, so that
    they pull nowhere; one penalty for all columns.
    """

    penalty: float = 0.0
    power: float = 0.5
    folds: int = 4
    seed: int = 0
    standardiser_: Standardiser = field(init=False, repr=False)
    weight_: Float[np.ndarray, "d k"] = field(init=False, repr=False)
    bias_: Float[np.ndarray, "k"] = field(init=False, repr=False)
    penalty_: float = field(init=False, repr=False)

    def fit(
        self, support: Float[np.ndarray, "n d"], labels: Float[np.ndarray, "n k"], groups: np.ndarray | None = None
    ) -> Self:
        """Solve for the weights; without `groups` every image counts as its own patient."""
        self.standardiser_ = Standardiser.fit(support, self.power)
        rows = self.standardiser_(support)
        known = ~np.isnan(labels)
        share = np.where(known, labels, 0).sum(0) / np.maximum(known.sum(0), 1)
        targets = np.where(known, labels - share, 0.0) * 2
        who = np.arange(len(labels)) if groups is None else np.asarray(groups)
        self.penalty_ = self.penalty
        if self.penalty <= 0:
            rng = np.random.default_rng(self.seed)
            self.penalty_, _ = choose_penalty(
                rows, targets, who, quality=_MeanAUROC(np.asarray(labels)), rng=rng, folds=self.folds
            )
        self.weight_ = Gram.of(rows).weight(targets, self.penalty_)
        self.bias_ = 2 * share - 1
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Scores per query and finding."""
        return self.standardiser_(query) @ self.weight_ + self.bias_

    def state(self) -> dict[str, np.ndarray]:
        """Standardisation and weights."""
        return {**self.standardiser_.state(), "weight": self.weight_, "bias": self.bias_}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.standardiser_ = Standardiser.restore(state)
        self.weight_, self.bias_ = state["weight"], state["bias"]
        return self


class _MeanAUROC:
    """Mean AUROC over the columns that have both classes among the held-out rows."""

    def __init__(self, labels: Float[np.ndarray, "n k"]) -> None:
        self.labels = labels

    def __call__(self, prediction: Float[np.ndarray, "m k"], rows: np.ndarray) -> float:
        values: list[float] = []
        for column in range(self.labels.shape[1]):
            labels = self.labels[rows, column]
            known = ~np.isnan(labels)
            values.append(auroc_score(prediction[known, column], labels[known].astype(int)))
        finite = [v for v in values if not np.isnan(v)]
        return float(np.mean(finite)) if finite else float("nan")
