"""A linear probe on frozen features: what a few labels, or all of them, are worth."""

from __future__ import annotations

from tapetum.bench.models.adapting import measure_adapter
from tapetum.bench.models.tuned import measure_tuned
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial
from tapetum.core.errors import UsageError

__all__ = ["linear_probe"]


def linear_probe(trial: Trial, *, shots: int = 0) -> Results:
    """Supervised detection of every label name by ridge regression on frozen features, or by a tuned tower and head.

    Args:
        trial: what is learned on and tested.
        shots: training images with, and as many without, each finding, 0 = all.

    Raises:
        UsageError: shots with `mode=finetune`.

    Source: own protocol around the adapter `linear_probe`.
    Differs: patients, not images, are resampled; the operating point is fixed on validation patients.
    """
    if trial.config.mode == "frozen":
        return measure_adapter(trial, "linear_probe", "linear_probe", shots)
    if shots:
        raise UsageError(
            f"shots={shots} with mode=finetune", "all labels, or frozen features", 'tapetum compare --modes "full()"'
        )
    return measure_tuned(trial, "linear_probe")
