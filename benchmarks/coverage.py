"""How often the 95 % intervals of an AUROC hold the truth, on made-up patients with two eyes each.

python benchmarks/coverage.py [replications]

Every replication makes new patients: three in ten are ill, an ill patient's eye is affected with chance 0.75, and a
patient's two eyes share 60 % of the variance of their scores. The truth is the AUROC between eyes of different
patients, known in closed form. At 200 patients the bootstrap over patients must cover between 93 and 97 % (first
table); at 30, and in the other tables, the share is printed and asserts nothing. An interval without bounds counts as a
miss and is counted apart. DeLong's, which takes every eye for a patient, is there to show the price of that.

The second table is of the difference of two methods whose errors are related, the third of the mean of several runs
that differ by luck of training; there the truth is the mean of all runs that could be.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
from scipy import special

from tapetum.core.types import Interval
from tapetum.score import delong_interval
from tapetum.score.stats import runs_auroc_interval
from tapetum.score.stats.bounds import drawn_interval
from tapetum.score.stats.clustered import obuchowski_interval, obuchowski_paired
from tapetum.score.stats.delong import delong_paired
from tapetum.score.stats.intervals import macro_draws
from tapetum.score.stats.runs import auroc_run_variances

SEED, DRAWS, SHARED, LOW, HIGH = 20_260, 2_000, 0.6, 0.93, 0.97
BOTH = ("bootstrap, percentile", "bootstrap, BCa")
Found = Iterator[tuple[str, Interval]]


def patients_eyes(patients: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    who = np.repeat(np.arange(patients), 2)
    labels = ((rng.random(patients) < 0.3)[who] & (rng.random(2 * patients) < 0.75)).astype(float)
    noise = np.sqrt(SHARED) * rng.normal(size=patients)[who] + np.sqrt(1 - SHARED) * rng.normal(size=2 * patients)
    return labels, noise, who


def one_method(patients: int, area: float, rng: np.random.Generator) -> Found:
    labels, noise, who = patients_eyes(patients, rng)
    scores = np.sqrt(2) * special.ndtri(area) * labels + noise
    macro = macro_draws([scores[:, None]], labels[:, None], who, rng=rng, draws=DRAWS, bounds="bca")
    assert macro.left_out is not None
    estimate, drawn = float(macro.estimates[0]), macro.drawn[:, 0]
    yield BOTH[0], drawn_interval(estimate, drawn, who, level=0.95)
    yield BOTH[1], drawn_interval(estimate, drawn, who, level=0.95, jackknives=[macro.left_out[:, 0]])
    yield "Obuchowski", obuchowski_interval(scores, labels, who)
    yield "DeLong", delong_interval(scores, labels)


def two_methods(patients: int, area: float, rng: np.random.Generator) -> Found:
    """The first at `area + 0.05`, the second at `area`; half of the noise is common to both."""
    labels, noise, who = patients_eyes(patients, rng)
    own = [patients_eyes(patients, rng)[1] for _ in range(2)]
    a, b = (
        np.sqrt(2) * special.ndtri(x) * labels + np.sqrt(0.5) * (noise + n)
        for x, n in zip((area + 0.05, area), own, strict=True)
    )
    macro = macro_draws([a[:, None], b[:, None]], labels[:, None], who, rng=rng, draws=DRAWS, bounds="bca")
    assert macro.left_out is not None
    estimate, drawn = float(np.subtract(*macro.estimates)), macro.drawn[:, 0] - macro.drawn[:, 1]
    left_out = macro.left_out[:, 0] - macro.left_out[:, 1]
    yield BOTH[0], drawn_interval(estimate, drawn, who, level=0.95)
    yield BOTH[1], drawn_interval(estimate, drawn, who, level=0.95, jackknives=[left_out])
    yield "Obuchowski", obuchowski_paired(a, b, labels, who).interval
    yield "DeLong", delong_paired(a, b, labels).interval


def several_runs(runs: int, area: float, rng: np.random.Generator) -> Found:
    """200 patients; a run's effect has a standard deviation of 0.2 and a third of its noise is its own."""
    labels, noise, who = patients_eyes(200, rng)
    effect = np.sqrt(2 + 0.2**2) * special.ndtri(area) + 0.2 * rng.normal(size=(runs, 1))
    own = np.stack([patients_eyes(200, rng)[1] for _ in range(runs)])
    scores = (effect * labels + np.sqrt(2 / 3) * noise + np.sqrt(1 / 3) * own)[:, :, None]
    truth = labels[:, None]
    yield "runs x patients, split", auroc_run_variances(scores, truth, who).mean
    yield "runs x patients, drawn", runs_auroc_interval(scores, truth, who, rng=rng, draws=DRAWS)
    macro = macro_draws(list(scores), truth, who, rng=rng, draws=DRAWS)
    yield (
        "patients only, drawn",
        drawn_interval(float(macro.estimates.mean()), macro.drawn.mean(axis=1), who, level=0.95),
    )


def table(
    title: str, column: str, make: Callable[..., Found], rows: tuple[int, ...], truths: dict[float, float], reps: int
) -> dict[tuple[int, float, str], float]:
    """Print one line per setting and method; return the coverage of each."""
    covered: dict[tuple[int, float, str], float] = {}
    print(f"\n{title}")
    print(f"  {column:>8}  {'AUROC':>5}  {'method':<23} {'covers':>7} {'below':>6} {'above':>6} {'none':>6} width")
    for row in rows:
        for area, truth in truths.items():
            rng = np.random.default_rng([SEED, row, round(100 * area)])
            found = [list(make(row, area, rng)) for _ in range(reps)]
            for i, (name, _) in enumerate(found[0]):
                low, high = np.array([(each[i][1].low, each[i][1].high) for each in found]).T
                covered[row, area, name] = float(((low <= truth) & (truth <= high)).mean())
                print(
                    f"  {row:>8}  {area:>5.2f}  {name:<23} {covered[row, area, name]:>7.1%} "
                    f"{(high < truth).mean():>6.1%} {(low > truth).mean():>6.1%} {np.isnan(low).mean():>6.1%} "
                    f"{np.nanmean(high - low):.3f}"
                )
    return covered


def main(replications: int) -> int:
    start = time.process_time()
    print(f"Coverage of 95 % intervals, two eyes per patient, {replications} replications, {DRAWS} draws of patients")
    same = {0.75: 0.75, 0.90: 0.90}
    covered = table("One AUROC", "patients", one_method, (200, 30), same, replications)
    apart = "AUROC of one method minus that of another, 0.05 better"
    table(apart, "patients", two_methods, (200, 30), {0.75: 0.05, 0.90: 0.05}, replications)
    table("Mean AUROC of several runs, 200 patients", "runs", several_runs, (3, 5), {0.75: 0.75}, replications)
    print("\n  below, above: the whole interval lies there; none: no bounds, a miss")
    print(f"  one standard error of a share near 95 %: {(0.95 * 0.05 / replications) ** 0.5:.1%}")
    print(f"  {time.process_time() - start:.0f} CPU s")
    return int(any(not LOW <= covered[200, area, name] <= HIGH for area in same for name in BOTH))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000))
