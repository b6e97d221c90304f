"""A reader study of two treatments, five readers and 1,000 cases, analysed and planned anew; CPU time.

python benchmarks/mrmc.py [rounds]

By the jackknife over cases, by the jackknife over patients with two images each, and in closed form. The bar is on the
slowest of them. There is no peer in Python to hold it against.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from tapetum.score.stats.mrmc import mrmc_auroc
from tapetum.score.stats.mrmc_power import cases_for_power

READERS, CASES, BAR = 5, 1_000, 2.0


def study() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random(CASES) < 0.3).astype(float)
    patients = np.repeat(np.arange(CASES // 2), 2)
    skill = 1.2 + 0.2 * np.arange(2)[:, None] + 0.2 * rng.normal(size=READERS) + 0.05 * rng.normal(size=(2, READERS))
    seen = 0.5 * rng.normal(size=CASES // 2)[patients] + 0.5 * rng.normal(size=CASES)
    seen = seen + 0.4 * rng.normal(size=(2, 1, CASES))
    ratings = skill[:, :, None] * labels + seen + rng.normal(size=(2, READERS, CASES))
    return np.round(ratings, 1), labels, patients


def main(rounds: int) -> int:
    ratings, labels, patients = study()
    ways = {
        "jackknife, cases": {"covariance": "jackknife"},
        "jackknife, patients": {"covariance": "jackknife", "clusters": patients},
        "closed form, cases": {"covariance": "closed form"},
        "closed form, patients": {"covariance": "closed form", "clusters": patients},
    }
    slowest = 0.0
    print(f"2 treatments x {READERS} readers x {CASES} cases; median of {rounds} rounds, CPU time")
    for name, options in ways.items():
        took = []
        for _ in range(rounds):
            start = time.process_time()
            found = mrmc_auroc(ratings, labels, **options)
            needed = cases_for_power(found.variances, readers=8, difference=0.03)
            took.append(time.process_time() - start)
        slowest = max(slowest, float(np.median(took)))
        print(
            f"  {name:<22} {np.median(took):.3f} s: difference {found.differences[0, 1]}, F {found.statistic:.3f}, "
            f"df {found.freedom[1]:.2f}; for 80 % power at 0.03 with 8 readers {needed} cases"
        )
    print(f"  slowest {slowest:.3f} s (bar {BAR} s)")
    return int(slowest > BAR)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
