"""FlexRS: classes that are recognised badly are drawn more often, told by patients of the training part left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.plan import LOSSES, Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of, new_networks, read_rows
from tapetum.learn.classifying.trained import Network
from tapetum.learn.fitting.ridge import patient_folds

__all__ = ["FlexibleSampling"]


@dataclass(frozen=True)
class FlexibleSampling:
    """After each epoch a row's chance is one over the recall of its class; the first epoch takes all rows alike.

    The recall is that of networks that are taught beside the one that stays, each without one fold of the training
    patients and at the same pace: no network judges a patient from whom it learned, and neither patients of the
    validation part nor tested ones are looked at.

    Args:
        loss: of all networks.
        head: of `nets/heads`.
        folds: of the training patients, at least 2; as many networks are taught in passing.

    Raises:
        UsageError: fewer than two folds, fewer patients than folds, or a loss of findings.

    Source: after Ju et al., MICCAI 2022 (flexible sampling), arXiv 2204.03161, as MONICA (arXiv 2410.02010) has it.
    Differs: recall out of fold in place of the accuracy on validation patients, with one right and one wrong image
    added to each class, so that a class never recognised has a finite chance.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    loss: str = "cross_entropy"
    head: str = "linear"
    folds: int = 3

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        patients = len(np.unique(taught.groups))
        if self.folds < 2 or patients < self.folds:
            raise UsageError(f"folds={self.folds} of {patients} patients", "two or more folds, a patient in each")
        Plan(loss=self.loss).refuse_labels(taught.exclusive)
        fold = patient_folds(taught.groups, self.folds, rng)
        kept, *judges = new_networks(taught, self.head, rng, self.folds + 1)
        loss, counts = LOSSES.build(self.loss), torch.from_numpy(taught.counts).float()
        chance = np.full(len(fold), 1 / len(fold))

        def drawn(rows: Int[np.ndarray, "n"], source: np.random.Generator) -> Int[np.ndarray, "n"]:
            return source.choice(rows, size=len(rows), p=chance[rows] / chance[rows].sum())

        def before(epoch: int) -> None:
            if epoch:
                chance[:] = chances(out_of_fold_recall(taught, judges, fold), taught.labels)

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            given, told = taught.given(rows, epoch), taught.told(rows)
            found = loss(logits_of(kept, given), told, counts)
            for number, judge in enumerate(judges):
                seen = torch.from_numpy(fold[rows] != number)
                if seen.any():
                    own = loss(logits_of(judge, given[seen]), told[seen], counts)
                    found = found + own.sum() / seen.sum()
            return found

        learn_together(taught, [kept, *judges], losses, pace, rng, "flex_rs", before=before, draw=drawn)
        return kept


def out_of_fold_recall(
    taught: Taught, judges: Sequence[Network], fold: Int[np.ndarray, "n"]
) -> Float64[np.ndarray, "k"]:
    """Of each class, with one right and one wrong image more; every row is judged by the network that never saw it."""
    right, labels = np.zeros(len(fold)), taught.labels.astype(np.int64)
    for number, judge in enumerate(judges):
        out = np.flatnonzero(fold == number)
        right[out] = read_rows(taught, judge, out).argmax(axis=1) == labels[out]
    hits = np.bincount(labels, weights=right, minlength=taught.classes)
    return (hits + 1) / (np.bincount(labels, minlength=taught.classes) + 2)


def chances(recall: Float64[np.ndarray, "k"], labels: Int[np.ndarray, "n"]) -> Float64[np.ndarray, "n"]:
    """Of each row, one over the recall of its class, of sum 1.

    Example:
        >>> chances(np.array([0.8, 0.2]), np.array([0, 0, 1])).round(3).tolist()
        [0.167, 0.167, 0.667]
    """
    weight = 1 / recall[labels.astype(np.int64)]
    return weight / weight.sum()
