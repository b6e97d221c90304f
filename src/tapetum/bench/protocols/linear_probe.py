"""A linear probe on frozen features: what a few labels, or all of them, are worth."""

from __future__ import annotations

from tapetum.bench.models.adapting import measure_adapter
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial

__all__ = ["linear_probe"]


def linear_probe(trial: Trial, *, shots: int = 0) -> Results:
    """Supervised detection of every label name by ridge regression on frozen features.

    Args:
        trial: what is learned on and tested.
        shots: training images with, and as many without, each finding, 0 = all.

    Source: own protocol around the adapter `linear_probe`.
    Differs: patients, not images, are resampled; the operating point is fixed on validation patients.
    """
    return measure_adapter(trial, "linear_probe", "linear_probe", shots)
