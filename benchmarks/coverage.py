"""How often the 95 % intervals of an AUROC hold the truth, on made-up patients with two eyes each.

python benchmarks/coverage.py [replications]

Every replication makes new patients: three in ten are ill, an ill patient's eye is affected with chance 0.75, and a
patient's two eyes share 60 % of the variance of their scores. The truth is the AUROC between eyes of different
patients, known in closed form. At 200 patients the bootstrap over patients must cover between 93 and 97 %; at 30 the
share is printed and asserts nothing. An interval without bounds counts as a miss and is counted apart. DeLong's, which
takes every eye for a patient, is there to show the price of that.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
from scipy import special

from tapetum.core.types import Interval
from tapetum.score import delong_interval
from tapetum.score.stats.bounds import drawn_interval
from tapetum.score.stats.clustered import obuchowski_interval
from tapetum.score.stats.intervals import macro_draws

SEED, DRAWS, SHARED, LOW, HIGH = 20_260, 2_000, 0.6, 0.93, 0.97
CHECKED = ("bootstrap, percentile", "bootstrap, BCa")


def clinic(patients: int, area: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    who = np.repeat(np.arange(patients), 2)
    labels = ((rng.random(patients) < 0.3)[who] & (rng.random(2 * patients) < 0.75)).astype(float)
    noise = np.sqrt(SHARED) * rng.normal(size=patients)[who] + np.sqrt(1 - SHARED) * rng.normal(size=2 * patients)
    return np.sqrt(2) * special.ndtri(area) * labels + noise, labels, who


def intervals(scores: np.ndarray, labels: np.ndarray, who: np.ndarray, rng: np.random.Generator) -> Iterator[Interval]:
    macro = macro_draws([scores[:, None]], labels[:, None], who, rng=rng, draws=DRAWS, bounds="bca")
    assert macro.left_out is not None
    estimate, drawn = float(macro.estimates[0]), macro.drawn[:, 0]
    yield drawn_interval(estimate, drawn, who, level=0.95)
    yield drawn_interval(estimate, drawn, who, level=0.95, jackknives=[macro.left_out[:, 0]])
    yield obuchowski_interval(scores, labels, who)
    yield delong_interval(scores, labels)


def main(replications: int) -> int:
    start, failed = time.process_time(), False
    names = (*CHECKED, "Obuchowski", "DeLong")
    print(f"Coverage of 95 % intervals, two eyes per patient, {replications} replications, {DRAWS} draws of patients")
    print(f"  {'patients':>8}  {'AUROC':>5}  {'method':<22} {'covers':>7} {'below':>6} {'above':>6} {'none':>6} width")
    for patients in (200, 30):
        for area in (0.75, 0.90):
            rng = np.random.default_rng([SEED, patients, round(100 * area)])
            found = [list(intervals(*clinic(patients, area, rng), rng)) for _ in range(replications)]
            for i, name in enumerate(names):
                low, high = np.array([(row[i].low, row[i].high) for row in found]).T
                held, missing = float(((low <= area) & (area <= high)).mean()), float(np.isnan(low).mean())
                under, over = float((high < area).mean()), float((low > area).mean())
                width = float(np.nanmean(high - low))
                failed |= patients == 200 and name in CHECKED and not LOW <= held <= HIGH
                print(
                    f"  {patients:>8}  {area:>5.2f}  {name:<22} {held:>7.1%} {under:>6.1%} {over:>6.1%} "
                    f"{missing:>6.1%} {width:.3f}"
                )
    print("  below, above: the whole interval lies there; none: no bounds, a miss")
    print(f"  one standard error of a share near 95 %: {(0.95 * 0.05 / replications) ** 0.5:.1%}")
    print(f"  {time.process_time() - start:.0f} CPU s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
