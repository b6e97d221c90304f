"""A planted long tail of several steepnesses: which methods lift the rare classes, and what that costs the common ones.

python recipes/mechanisms/long_tail.py

Rows are computed, not images: eight classes around known centres, so that the best possible classifier is known.
Nothing was chosen: every method has the pace that `bench longtail` has by default, and the setting of its file.
"""

from __future__ import annotations

import sys
import time

import numpy as np
import torch
from grounds.told import told, verdict

from tapetum.bench.tables.measures import Context
from tapetum.bench.trust.tailed import Rows, Tail, measure, run_methods, tail_records
from tapetum.core.types import Embeddings, Interval
from tapetum.learn.classifying.plan import Pace

CLASSES, WIDTH, POOL, TESTED, SEED, RUNS = 8, 64, 1500, 150, 71, 3
RATIOS = (10, 50, 200)
METHODS = (
    "one_stage()", "one_stage(sampler='class_balanced')", "one_stage(sampler='square_root')",
    "one_stage(loss='effective_number')", "one_stage(loss='focal')", "one_stage(loss='balanced_softmax')",
    "post_hoc()", "one_stage(head='cosine(scale=30.0)', loss='ldam(scale=30.0)')",
    "one_stage(loss='balanced_softmax', mixing='mixup')", "crt()", "tau_norm()", "bbn()", "sade()", "nearest_mean()",
)  # fmt: skip


def rows(centres: np.ndarray, each: int, name: str, rng: np.random.Generator) -> Rows:
    """As many rows of every class, each of a patient of its own."""
    labels = np.repeat(np.arange(CLASSES), each)
    features = (centres[labels] + rng.normal(size=(len(labels), WIDTH))).astype(np.float32)
    ids = tuple(f"{name}{i}" for i in range(len(labels)))
    return Rows(tuple(f"class {c}" for c in range(CLASSES)), Embeddings(ids, ids, features, "computed"), labels)


def measure_all() -> str:
    """The section of the page on mechanisms: a table in Markdown."""
    start, rng = time.process_time(), np.random.default_rng(SEED)
    centres = 0.36 * rng.normal(size=(CLASSES, WIDTH))
    pool, test = rows(centres, POOL, "a", rng), rows(centres, TESTED, "b", rng)
    apart = ((test.embeddings.features[:, None] - centres) ** 2).sum(axis=2)
    best = (apart.argmin(axis=1) == test.labels).mean()
    lines, gains = list[str](), dict[str, list[Interval]]()
    for ratio in RATIOS:
        runs = run_methods(pool, test, METHODS, range(SEED, SEED + RUNS), Pace(offset_rate=30.0), Tail(ratio))
        within = Context("longtail", test.embeddings.patient_ids, SEED, 2000, "", 1, {}, "computed", True)
        records = tail_records(within, measure(runs, test, (), within), test)
        of = {(r.row, r.metric): r.interval for r in records if r.finding == "macro"}
        for method in METHODS:
            main = of[method, "balanced_accuracy_score"]
            gain = of.get((method, "balanced_accuracy_difference"))
            tail = of.get((method, "tail_recall_difference"))
            last = f"{told(gain)} | {told(tail)}" if gain and tail else " | "
            head = of[method, "head_recall_score"].estimate
            lines.append(f"| {ratio} | `{method}` | {main} | {head:.3f} | {last} |")
            if tail:
                gains.setdefault(method, []).append(tail)
    said = [f"`{m}` {', '.join(verdict(g) for g in found)}" for m, found in gains.items()]
    took = time.process_time() - start
    return "\n".join([
        "### Long tails", "",
        f"PHANTOM: computed rows, {CLASSES} classes around known centres, thinned from {POOL} rows of the commonest "
        "class so that the rarest has a tenth, a fiftieth and a two-hundredth of them. "
        f"{TESTED} rows of each class are tested; the best possible classifier, which knows the centres, is right in "
        f"{best:.3f} of them. The default pace of `bench longtail`, {RUNS} runs, each with a draw of rows of its own; "
        "95 % intervals over "
        "tested rows and runs; differences are paired.", "",
        "| ratio | method | balanced accuracy | head recall | − cross-entropy | tail recall − cross-entropy |",
        "|---|---|---|---|---|---|", *lines, "",
        f"Tail recall at ratios {', '.join(map(str, RATIOS))}: {'; '.join(said)}.", "",
        f"{took:.0f} s of one core: `python recipes/mechanisms/long_tail.py`.",
    ])  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(measure_all() + "\n")
