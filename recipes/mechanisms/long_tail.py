"""Drawn eyes with an exponential tail of signs, of several steepnesses: what lifts the rare ones, and what that costs.

python recipes/mechanisms/long_tail.py          measure
python recipes/mechanisms/long_tail.py choose   the pace, on a clinic that is never measured

Eyes are drawn and seen by the default tower, so that which sign is rare, and where it lies, is known. Weight decay was
chosen on clinic 1; all else is the default of `bench longtail`, and each method's of its file.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from grounds.classes import seen
from grounds.told import told, verdict

from tapetum.bench.tables.measures import Context
from tapetum.bench.trust.tail_rows import Rows, Tail
from tapetum.bench.trust.tailed import Runs, measure, run_methods, tail_records
from tapetum.core.types import Embeddings, Interval
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.fitting.components import Components
from tapetum.score.imbalance import exponential_counts

SIGNS = (
    "chorioretinal_atrophy", "choroidal_naevus", "cotton_wool_spot", "flame_haemorrhage", "hard_exudate", "laser_scar",
    "myelinated_nerve_fibres",
)  # fmt: skip
# From the commonest to the rarest, in an order drawn once: it says nothing of how hard a sign is to see.
CLASSES = ("no sign", *np.random.default_rng(0).permutation(SIGNS).tolist())
CHOSEN, MEASURED, SIDE, COLUMNS, RUNS = 1, (2, 3), 64, 128, 2
LARGEST, EVEN, TESTED = 500, 200, 60  # eyes of the commonest class, of each class where all are alike, tested of each
RATIOS = (10, 30, 100)
PACE = Pace(batch=64, offset_rate=30.0)
METHODS = (
    "one_stage()", "one_stage(sampler='class_balanced')", "one_stage(sampler='square_root')", "flex_rs()",
    "one_stage(loss='inverse_frequency')", "one_stage(loss='focal')", "one_stage(loss='balanced_softmax')",
    "post_hoc()", "one_stage(head='cosine(scale=30.0)', loss='ldam(scale=30.0)')",
    "one_stage(loss='balanced_softmax', mixing='mixup')", "one_stage(head='hidden')",
    "one_stage(head='hidden', loss='balanced_softmax')", "rsg()", "rsg(loss='balanced_softmax')", "crt()",
    "tau_norm()", "bbn()", "sade()", "nearest_mean()",
)  # fmt: skip


@functools.cache
def clinic(seed: int) -> tuple[Rows, Rows]:
    """Eyes to learn from, thinned later, and eyes of others to test, every class as often; drawn and seen once."""
    tail = exponential_counts(LARGEST, min(RATIOS), len(CLASSES))
    rng = np.random.default_rng(seed)
    pool = rng.permutation(np.repeat(np.arange(len(CLASSES)), np.maximum(tail, EVEN)))
    asked = rng.permutation(np.repeat(np.arange(len(CLASSES)), TESTED))
    train, test = seen(pool, CLASSES, SIDE, 2 * seed), seen(asked, CLASSES, SIDE, 2 * seed + 1)
    view = Components.fit(train.embeddings.features, COLUMNS, rng, train.embeddings.blocks)
    return _seen_by(train, view), _seen_by(test, view)


def _seen_by(rows: Rows, view: Components) -> Rows:
    of = rows.embeddings
    return dataclasses.replace(rows, embeddings=Embeddings(of.image_ids, of.patient_ids, view(of.features), of.encoder))


def runs_of(seeds: Sequence[int], methods: Sequence[str], pace: Pace, ratio: float) -> tuple[Runs, Rows]:
    """All methods on all clinics, tested eyes side by side; ratio 0 has all classes alike."""
    logits: list[np.ndarray] = []
    tested: list[Rows] = []
    counts = np.zeros(len(CLASSES))
    for seed in seeds:
        train, test = clinic(seed)
        tail = Tail(ratio, LARGEST) if ratio else Tail(1.0, EVEN)
        runs = run_methods(train, test, methods, range(RUNS), pace, tail)
        logits.append(runs.logits)
        tested.append(test)
        counts = runs.counts
    of = [t.embeddings for t in tested]
    ids, who = (tuple(x for e in of for x in getattr(e, name)) for name in ("image_ids", "patient_ids"))
    rows = Embeddings(ids, who, np.concatenate([e.features for e in of]), of[0].encoder)
    labels = np.concatenate([t.labels for t in tested])
    return Runs(tuple(methods), tuple(range(RUNS)), counts, np.concatenate(logits, axis=1)), Rows(CLASSES, rows, labels)


def measured(ratio: float, methods: Sequence[str]) -> dict[tuple[str, str], Interval]:
    """Macro measures of every method."""
    runs, test = runs_of(MEASURED, methods, PACE, ratio)
    within = Context("longtail", test.embeddings.patient_ids, 0, 2000, "", 1, {}, "phantom eyes", True)
    records = tail_records(within, measure(runs, test, (), within), test)
    return {(r.row, r.metric): r.interval for r in records if r.finding == "macro"}


def choose() -> str:
    """Mean balanced accuracy of four methods at each weight decay, on the clinic of choice."""
    some = (METHODS[0], METHODS[1], METHODS[6], METHODS[10])
    lines: list[str] = []
    for decay in (0.1, 1.0, 10.0):
        found: list[float] = []
        for ratio in (10, 100):
            runs, test = runs_of((CHOSEN,), some, dataclasses.replace(PACE, weight_decay=decay), ratio)
            called = runs.logits.argmax(axis=2)
            found += [float(np.mean([(run[test.labels == c] == c).mean() for c in range(8)])) for run in called]
        lines.append(f"weight decay {decay:g}: {np.mean(found):.3f}\n")
    return "".join(lines)


def measure_all() -> str:
    """The section of the page on mechanisms: a table in Markdown."""
    start = time.process_time()
    lines, gains = list[str](), dict[str, list[Interval]]()
    alike = measured(0, METHODS[:1])[METHODS[0], "balanced_accuracy_score"]
    for ratio in RATIOS:
        of = measured(ratio, METHODS)
        for method in METHODS:
            gain, tail = (of.get((method, f"{m}_difference")) for m in ("balanced_accuracy", "tail_recall"))
            last = f"{told(gain)} | {told(tail)}" if gain and tail else " | "
            head = of[method, "head_recall_score"].estimate
            lines.append(f"| {ratio} | `{method}` | {of[method, 'balanced_accuracy_score']} | {head:.3f} | {last} |")
            if tail:
                gains.setdefault(method, []).append(tail)
    said = [f"`{m}` {', '.join(verdict(g) for g in found)}" for m, found in gains.items()]
    took = time.process_time() - start
    counts = "; ".join(f"1:{r} {', '.join(map(str, exponential_counts(LARGEST, r, len(CLASSES))))}" for r in RATIOS)
    eyes = " and ".join(map(str, MEASURED))
    return "\n".join([
        "### Long tails", "",
        f"PHANTOM: drawn eyes of {SIDE} px seen by `efficientnet_lite(size={SIDE})`, {COLUMNS} components. Classes, "
        f"the commonest first: {', '.join(CLASSES)}; eyes to learn from, {counts}. Two clinics (seeds {eyes}), "
        f"{TESTED} eyes of each class and clinic are tested; {RUNS} runs each, every one with a draw of eyes of its "
        f"own. Weight decay {PACE.weight_decay:g} was chosen on clinic {CHOSEN}; batch {PACE.batch}, else the defaults "
        "of `bench longtail`. 95 % intervals over patients and runs; differences are paired. "
        f"Cross-entropy that learns from {EVEN} eyes of every class, so without a tail: {alike}.", "",
        "| ratio | method | balanced accuracy | head recall | − cross-entropy | tail recall − cross-entropy |",
        "|---|---|---|---|---|---|", *lines, "",
        f"Tail recall at ratios {', '.join(map(str, RATIOS))}: {'; '.join(said)}.", "",
        f"{took:.0f} s of one core: `python recipes/mechanisms/long_tail.py`.",
    ])  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write((choose() if sys.argv[1:] == ["choose"] else measure_all()) + "\n")
