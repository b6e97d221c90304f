"""AUROC bootstrap against a loop around scikit-learn, the same draws, interleaved in one run.

python benchmarks/auroc_bootstrap.py [rounds]

Ours: 2,000 draws of patients for 10,000 images, two per patient, drawing included. The peer: `roc_auc_score` on the
images of each draw, drawing not included; it runs on 40 draws per round and is extrapolated linearly to 2,000. CPU
time, since both are single-threaded and a busy machine would blur the clock; the median of the rounds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from tapetum.score import auroc_interval
from tapetum.score.stats.draws import auroc_draws, cluster_weights

IMAGES, DRAWS, PEER_DRAWS, BAR = 10_000, 2_000, 40, 60


def clinic(ties: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    patients = rng.permutation(np.repeat(np.arange(IMAGES // 2), 2))
    labels = (rng.random(IMAGES) < 0.2).astype(float)
    scores = labels + rng.normal(size=IMAGES)
    return (np.round(scores, 2) if ties else scores), labels, patients


def peer(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    rows = (np.repeat(np.arange(IMAGES), draw) for draw in weights)
    return np.array([roc_auc_score(labels[r], scores[r]) for r in rows])


def seconds(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return time.process_time() - start


def main(rounds: int) -> int:
    print(
        f"AUROC bootstrap, n = {IMAGES}, {DRAWS} draws of {IMAGES // 2} patients; median of {rounds} rounds, CPU time"
    )
    failed = False
    for ties in (True, False):
        scores, labels, patients = clinic(ties)
        first = next(cluster_weights(patients, PEER_DRAWS, np.random.default_rng(1)))
        apart = np.abs(auroc_draws(scores, labels, first) - peer(scores, labels, first)).max()
        ours, loop = [], []
        for i in range(rounds):
            rng = np.random.default_rng(i)
            ours.append(seconds(lambda: auroc_interval(scores, labels, patients, rng=rng, draws=DRAWS)))  # noqa: B023
            loop.append(seconds(lambda: peer(scores, labels, first)) * DRAWS / PEER_DRAWS)  # noqa: B023
        ratio = float(np.median(loop) / np.median(ours))
        failed |= ratio < BAR or apart > 1e-12
        name = "ties" if ties else "no ties"
        times = f"tapetum {np.median(ours):.3f} s, scikit-learn loop {np.median(loop):.1f} s (from {PEER_DRAWS} draws)"
        print(f"  {name}: {times}: {ratio:.0f} x (bar {BAR}); same draws differ by at most {apart:.1e}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
