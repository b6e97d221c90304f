"""Seconds and memory of the long-tail table: methods x 3 seeds and intervals of 2,000 draws on 7,007 x 1280 features.

    python benchmarks/longtail.py [METHODS] [SEEDS]

METHODS is how many of `bench/trust/tail_methods.py`, 30 by default. The features are made: seven classes in the shares
of DermaMNIST in 320 directions and noise; 1,003 further rows are tested. In the same run one fit of scikit-learn's
logistic regression, plain and with balanced weights, on the same rows.
"""

from __future__ import annotations

import resource
import sys
import time
import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tapetum.bench.tables.measures import Context
from tapetum.bench.trust.tail_methods import STANDARD
from tapetum.bench.trust.tail_rows import Rows, Tail
from tapetum.bench.trust.tailed import Runs, measure, run_methods, tail_records
from tapetum.core.types import Embeddings
from tapetum.learn.classifying.plan import Pace

COUNTS, TESTED, WIDTH = (4693, 779, 769, 359, 228, 99, 80), 1003, 1280


def made(rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Rows to learn and rows to test, of other patients."""
    mix, centres = rng.normal(0, 0.1, (WIDTH // 4, WIDTH)), rng.normal(0, 0.12, (len(COUNTS), WIDTH))
    share = np.array(COUNTS) / sum(COUNTS)

    def rows(labels: np.ndarray, name: str) -> Rows:
        spread = rng.normal(size=(len(labels), WIDTH // 4)) @ mix + rng.normal(0, 1, (len(labels), WIDTH))
        features = np.maximum(centres[labels] + spread, 0).astype(np.float32)
        ids = tuple(f"{name}{i}" for i in range(len(labels)))
        return Rows(tuple("abcdefg"), Embeddings(ids, ids, features, "made"), labels)

    return rows(np.repeat(np.arange(len(COUNTS)), COUNTS), "a"), rows(rng.choice(len(COUNTS), TESTED, p=share), "b")


def balanced(runs: Runs, test: Rows, method: int) -> float:
    called = runs.logits[runs.of(method)].argmax(axis=2)
    return float(np.mean([[(c[test.labels == k] == k).mean() for k in np.unique(test.labels)] for c in called]))


def main(methods: int, seeds: int) -> None:
    train, test = made(np.random.default_rng(0))
    specs, start, cpu = STANDARD[:methods], time.perf_counter(), time.process_time()
    runs = run_methods(train, test, specs, range(seeds), Pace(offset_rate=30.0), Tail())
    learned = time.perf_counter() - start
    within = Context("longtail", test.embeddings.patient_ids, 0, 2000, "", 1, {}, "made", False)
    records = tail_records(within, measure(runs, test, (), within), test)
    whole, used = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{len(specs)} methods x {seeds} seeds on {len(train.labels)} x {WIDTH}, {torch.get_num_threads()} threads")
    print(f"learning {learned:.0f} s, {len(records)} records of 2,000 draws {whole - learned:.0f} s: {whole:.0f} s")
    print(f"{used:.0f} CPU s, {peak:.2f} GiB at most (limits 300 s on 2 cores, 2 GB)")
    for weight in (None, "balanced"):
        start = time.process_time()
        scale = train.embeddings.features.std(axis=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            peer = LogisticRegression(class_weight=weight, max_iter=200).fit(
                train.embeddings.features / scale, train.labels
            )
        called = peer.predict(test.embeddings.features / scale)
        score = np.mean([(called[test.labels == k] == k).mean() for k in np.unique(test.labels)])
        took = time.process_time() - start
        print(f"scikit-learn, class_weight={weight!s:<9} one fit {took:6.1f} CPU s, balanced accuracy {score:.3f}")
    for spec in ("one_stage", "one_stage(loss='inverse_frequency')", "one_stage(loss='balanced_softmax')"):
        start = time.process_time()
        alone = run_methods(train, test, (spec,), (0,), Pace(offset_rate=30.0), Tail())
        took = time.process_time() - start
        print(f"{spec:<36} one fit {took:6.1f} CPU s, balanced accuracy {balanced(alone, test, 0):.3f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
