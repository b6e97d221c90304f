"""k nearest neighbours on frozen features: what similarity alone is worth."""

from __future__ import annotations

from tapetum.bench.models.adapting import measure_adapter
from tapetum.bench.models.tuned import tuned
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial

__all__ = ["knn"]


def knn(trial: Trial, *, shots: int = 0, k: int = 30) -> Results:
    """Supervised detection of every label name by weighted k nearest neighbours, in frozen or in tuned features.

    Args:
        trial: what is learned on and tested.
        shots: training images with, and as many without, each finding, 0 = all.
        k: neighbours that vote.

    Source: own protocol around the adapter `knn`.
    Differs: patients, not images, are resampled; the operating point is fixed on validation patients.
    """
    return measure_adapter(tuned(trial), "knn", f"knn(k={k})", shots)
