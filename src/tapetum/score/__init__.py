"""How good, and how sure: metrics, calibration, operating points, intervals over anybody's arrays. No torch."""

from __future__ import annotations

from tapetum.score.operating import operating_point, threshold_for_sensitivity
from tapetum.score.stats import (
    auroc_interval,
    bootstrap_interval,
    macro_auroc_interval,
    mean_interval,
    paired_auroc_difference,
    permutation_p_value,
)
from tapetum.score.stats.delong import delong_interval
from tapetum.score.stats.proportions import wilson_interval

__all__ = [
    "auroc_interval",
    "bootstrap_interval",
    "delong_interval",
    "macro_auroc_interval",
    "mean_interval",
    "operating_point",
    "paired_auroc_difference",
    "permutation_p_value",
    "threshold_for_sensitivity",
    "wilson_interval",
]
