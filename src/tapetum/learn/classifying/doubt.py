"""How far the labels taught can be trusted, told from themselves: no rate of wrong labels is ever handed in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import read_rows
from tapetum.learn.classifying.train import train
from tapetum.learn.fitting.ridge import patient_folds
from tapetum.score.noise_rate import ESTIMATORS, NoiseEstimate

FOLDS = 3


@dataclass(frozen=True)
class Doubt:
    """What a model that never saw a row's patient makes of its label.

    Attributes:
        probs: out of fold. estimate: how many labels are wrong, and between which classes.
    """

    probs: Float64[np.ndarray, "n k"]
    estimate: NoiseEstimate

    @property
    def rate(self) -> float:
        """Share of wrong labels, 0..1; 0 where it cannot be estimated."""
        return float(np.clip(np.nan_to_num(self.estimate.rate), 0.0, 0.95))

    @property
    def wrong(self) -> Float64[np.ndarray, "k"]:
        """Share of wrong ones among the labels of each given class; 0 where it cannot be estimated."""
        return np.nan_to_num(self.estimate.wrong)

    @property
    def transition(self) -> Float64[np.ndarray, "k k"]:
        """P(given | true), rows the true class; a class whose row cannot be estimated is taken to be given rightly."""
        found = self.estimate.transition
        return np.where(np.isnan(found).any(axis=1, keepdims=True), np.eye(len(found)), found)


def out_of_fold(
    taught: Taught, pace: Pace, rng: np.random.Generator, *, head: str = "hidden"
) -> Float64[np.ndarray, "n k"]:
    """Probabilities of every row by a network that saw neither it nor its patient.

    Args:
        taught: the rows; what `held_out` of it says is taken as it is.
        pace: of each fold.
        rng: divides the patients into folds.
        head: of `nets/heads`.

    Raises:
        UsageError: labels that are no classes, or fewer patients than folds.
    """
    if not taught.exclusive:
        raise UsageError("labels that are findings", "one class each")
    if taught.held_out is not None:
        return taught.held_out
    if len(np.unique(taught.groups)) < FOLDS:
        raise UsageError(f"{len(np.unique(taught.groups))} patients", f"at least {FOLDS}, to judge labels out of fold")
    fold = patient_folds(taught.groups, FOLDS, rng)
    probs = np.zeros((len(taught.labels), taught.classes))
    for number in range(FOLDS):
        seen, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        probs[out] = read_rows(taught, train(taught.only(seen), Plan(head=head), pace, rng), out)
    return probs


def doubt(taught: Taught, pace: Pace, rng: np.random.Generator, by: str = "anchors") -> Doubt:
    """Judge the labels out of fold and estimate how many are wrong.

    Args:
        taught: the rows.
        pace: of each fold.
        rng: divides the patients into folds.
        by: `anchors` or `confident`, see `score/noise_rate`.

    Raises:
        UsageError: another estimate, labels that are no classes, or fewer patients than folds.
    """
    if by not in ESTIMATORS:
        raise UsageError(f"by={by!r}", " or ".join(ESTIMATORS))
    probs = out_of_fold(taught, pace, rng)
    return Doubt(probs, ESTIMATORS[by](probs, taught.labels))
