"""How sure: intervals and tests that know that two eyes of a patient are not two patients.

The bootstrap over patients stands here; beside it lie `delong` and `clustered` (variances in closed form), `runs`
(seeds and patients), `mrmc` (readers and cases), `mcnemar`, `permutation`, `ranks`, `multiple`, `proportions`,
`net_benefit` and `sample_size`.
"""

from __future__ import annotations

from tapetum.score.stats.bounds import Clusters, PairedDifference
from tapetum.score.stats.intervals import (
    auroc_interval,
    bootstrap_interval,
    macro_auroc_interval,
    mean_interval,
    paired_auroc_difference,
)
from tapetum.score.stats.permutation import permutation_p_value
from tapetum.score.stats.runs import paired_runs_difference, runs_auroc_interval

__all__ = [
    "Clusters",
    "PairedDifference",
    "auroc_interval",
    "bootstrap_interval",
    "macro_auroc_interval",
    "mean_interval",
    "paired_auroc_difference",
    "paired_runs_difference",
    "permutation_p_value",
    "runs_auroc_interval",
]
