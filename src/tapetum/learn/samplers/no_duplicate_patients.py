"""No patient twice in a batch."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Int

from tapetum.learn.pairing.pairs import Pairs

__all__ = ["no_duplicate_patients"]


def no_duplicate_patients(
    rows: Int[np.ndarray, "n"], pairs: Pairs, batch: int, rng: np.random.Generator
) -> Int[np.ndarray, "m"]:
    """Two eyes of a patient are no negatives of one another: they stand in different batches.

    The rows are laid patient by patient and dealt like cards, one to each batch in turn, so that a patient's rows fall
    into different batches and the batches differ in size by at most one. A patient with more rows than there are
    batches cannot be placed whole: others of its rows stay out in every epoch.

    Args:
        rows: row numbers of the pairs.
        pairs: whose patients they are.
        batch: rows per batch, at most.
        rng: of the order.

    Returns:
        All rows, but of a patient no more than there are batches.

    Source: own; asked for by Zhang et al. (ConVIRT), MLHC 2022, arXiv 2010.00747, where a batch draws studies.
    """
    patients = np.asarray(pairs.patient_ids)[rows]
    own = [rng.permutation(rows[patients == name]) for name in rng.permutation(np.unique(patients))]
    count = math.ceil(len(rows) / batch)
    while True:
        kept = np.concatenate([of[:count] for of in own]) if own else rows
        fewer = math.ceil(len(kept) / batch)
        if fewer == count:
            break
        count = fewer
    dealt = [kept[i::count] for i in range(count)]
    larger = len(kept) % count if count else 0
    # The larger batches come first, since that is how an order is cut; within both kinds they are mixed, so that the
    # images of a patient do not follow one another from step to step.
    order = [*rng.permutation(larger), *(larger + rng.permutation(count - larger))]
    return np.concatenate([dealt[i] for i in order]) if order else kept
