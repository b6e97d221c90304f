"""One DeLong interval against the bootstrap loop around scikit-learn that it stands in for, interleaved in one run.

python benchmarks/delong.py [rounds]

Another method, not the same numbers: valid for independent images only, and then its bounds agree with the bootstrap's.
The peer is `roc_auc_score` on 2,000 draws of 10,000 images, run on 40 draws per round and extrapolated linearly. The
second table shows how the time grows with n, and the difference from the definition over all pairs of images.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

from tapetum.score import auroc_interval, delong_interval
from tapetum.score.stats.delong import delong_covariance

IMAGES, DRAWS, PEER_DRAWS, BAR = 10_000, 2_000, 40, 1_000


def images(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random(n) < 0.2).astype(float)
    return np.round(labels + rng.normal(size=n), 2), labels


def peer(scores: np.ndarray, labels: np.ndarray) -> list[float]:
    rng = np.random.default_rng(1)
    rows = (rng.integers(0, len(labels), len(labels)) for _ in range(PEER_DRAWS))
    return [roc_auc_score(labels[r], scores[r]) for r in rows]


def by_pairs(scores: np.ndarray, labels: np.ndarray) -> float:
    """The variance from all pairs, O(n²)."""
    apart = scores[labels == 1][:, None] - scores[labels == 0]
    wins = (apart > 0) + 0.5 * (apart == 0)
    return float(sum(np.var(wins.mean(axis=a), ddof=1) / wins.shape[1 - a] for a in (0, 1)))


def seconds(task: Callable[[], object]) -> float:
    start = time.process_time()
    task()
    return time.process_time() - start


def main(rounds: int) -> int:
    scores, labels = images(IMAGES)
    ours, loop = [], []
    for _ in range(rounds):
        ours.append(seconds(lambda: [delong_interval(scores, labels) for _ in range(20)]) / 20)
        loop.append(seconds(lambda: peer(scores, labels)) * DRAWS / PEER_DRAWS)
    ratio = float(np.median(loop) / np.median(ours))
    print(f"DeLong, n = {IMAGES}; median of {rounds} rounds, CPU time")
    print(
        f"  tapetum {np.median(ours) * 1e3:.2f} ms, scikit-learn loop of {DRAWS} draws {np.median(loop):.1f} s "
        f"(from {PEER_DRAWS} draws): {ratio:.0f} x (bar {BAR})"
    )
    boot = auroc_interval(scores, labels, np.arange(IMAGES), rng=np.random.default_rng(2), draws=DRAWS)
    print(f"  DeLong {delong_interval(scores, labels)}, bootstrap {boot}")
    for n in (1_000, 10_000, 100_000, 1_000_000):
        s, y = images(n)
        took = min(seconds(lambda: delong_interval(s, y)) for _ in range(3))  # noqa: B023
        line = f"  n = {n:>9,}: {took * 1e3:8.2f} ms, {took / (n * np.log2(n)) * 1e9:.1f} ns per n log2 n"
        if n <= 10_000:
            apart = abs(delong_covariance(s[:, None], y)[1][0, 0] - by_pairs(s, y))
            line += f"; difference of the variance from all pairs {apart:.1e}"
        print(line)
    return int(ratio < BAR)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
