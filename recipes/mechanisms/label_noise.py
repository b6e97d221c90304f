"""Wrong labels planted on the phantom: which methods resist, whom they trust, and what happens to rare classes.

python recipes/mechanisms/label_noise.py

Rendered eyes of five classes, 44 to 4 % of those taught. How long DISC learns all labels was chosen on another clinic
(seed 1, of 0.1 and 0.3); all else stands at the methods' defaults. DivideMix was run again with the penalty of the
original, which it lacked at first; the clinic of choice spoke for it. All was measured again when offsets were given
the pace of `bench longtail`, against which the clinic of choice did not speak.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from grounds.classes import CLASSES, SHARES, features
from grounds.told import told

from tapetum.bench.tables.measures import MACRO, Context
from tapetum.bench.trust.label_noise import AS_GIVEN, at_rates
from tapetum.bench.trust.robustness import Features, Version, run_version, tested_records, trusted_records
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Record
from tapetum.learn.classifying.plan import Pace
from tapetum.score.stats import auroc_interval

MEASURED, TAUGHT, TESTED, SIDE, COLUMNS, SEEDS, DRAWS = 2, 600, 300, 64, 128, (0, 1, 2), 500
PACE = Pace(epochs=20, batch=64, offset_rate=30.0)
FIRST = "one_stage(head='hidden')"
METHODS = tuple(
    str(Spec.parse(m))
    for m in (
        FIRST, "one_stage(head='hidden', loss='cross_entropy(smoothing=0.1)')",
        "one_stage(head='hidden', loss='symmetric_cross_entropy')",
        "one_stage(head='hidden', loss='generalised_cross_entropy')",
        "one_stage(head='hidden', loss='balanced_softmax')", "forward_correction", "backward_correction", "t_revision",
        "vol_min_net", "cdr", "co_teaching", "co_teaching_plus", "co_dis", "jo_cor", "disc", "divide_mix",
        "class_balanced_selection", "class_balanced_selection(tau=0.0)", "down_weighted", "left_out",
    )
)  # fmt: skip
PLANTED = [*at_rates(["symmetric"], [0.4]), *at_rates(["pair", "instance"], [0.3])]
JUDGES = ("self_confidence", "normalized_margin", "confident_learning", "loss_mixture", "class_rank")


def within(of: Sequence[str]) -> Context:
    """For intervals over patients of the clinic."""
    return Context("robust", tuple(of), MEASURED, DRAWS, "nothing chosen here", 1, {}, "phantom eyes", True)


def table(records: Sequence[Record], trusted: Sequence[Record], version: str) -> list[str]:
    """One line per method: how good, against cross-entropy on the same labels, and whom it trusted."""
    of = {(r.row, r.finding, r.metric): r.interval for r in (*records, *trusted)}
    lines = [
        "| method | balanced accuracy | − cross-entropy | AUROC | recall of rare classes | trusted: right | of the "
        "right ones, trusted: common, rare |", "|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for method in METHODS:
        row = f"{method} on {version}"
        apart = of.get((row, MACRO, "balanced_accuracy_difference"))
        right = of.get((row, MACRO, "trusted_precision_score"))
        shares = [of.get((row, unit, "trusted_recall_score")) for unit in ("head", "tail")]
        cells = [
            str(of[row, MACRO, "balanced_accuracy_score"]), told(apart) if apart else "",
            f"{of[row, MACRO, 'auroc_score'].estimate:.3f}", str(of[row, MACRO, "tail_recall_score"]),
            f"{right.estimate:.3f}" if right else "", ", ".join(f"{s.estimate:.2f}" for s in shares if s),
        ]  # fmt: skip
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return lines


def judged(at: Features, version: Version) -> str:
    """How well judges of labels find the flips, and how many they say there are."""
    who, found = at.train.embeddings.patient_ids, list[str]()
    for name in JUDGES:
        judge = Family("tapetum.score.noise").build(name)
        made = version.planted[0]
        doubt = 1 - judge(version.held_out[0], made.labels)
        area = auroc_interval(doubt, made.flipped, who, rng=np.random.default_rng(MEASURED), draws=DRAWS)
        found.append(f"`{name}` {area}")
    said = ", ".join(f"{by} {100 * rates.mean():.1f} %" for by, rates in version.rates.items())
    planted = 100 * float(np.mean([p.rate for p in version.planted]))
    return f"Planted {planted:.1f} %, estimated: {said}. Flips found, AUROC: {', '.join(found)}."


def measure() -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    torch.set_num_threads(1)
    start, used = time.monotonic(), time.process_time()
    at = features(TAUGHT, TESTED, SIDE, MEASURED, COLUMNS)
    inside, outside = within(at.train.embeddings.patient_ids), within(at.test.embeddings.patient_ids)
    shares = ", ".join(f"{c} {100 * s:.0f} %" for c, s in zip(CLASSES, SHARES, strict=True))
    lines = [
        "### Training under wrong labels", "",
        f"PHANTOM, {SIDE} px, `{at.train.embeddings.encoder}`, {COLUMNS} components. {TAUGHT} patients teach "
        f"({len(at.train.labels)} eyes: {shares}), {TESTED} others are tested, classes alike and labels right. "
        f"{PACE.epochs} epochs, batch {PACE.batch}; {len(SEEDS)} seeds of flips and training; 95 % intervals over "
        "patients and seeds. No method is told kind or rate. Common and rare: the upper and the lowest third of the "
        "logarithm of a class's images. Trusted: labels that a method learned from at its end.", "",
    ]  # fmt: skip
    for maker in (AS_GIVEN, *PLANTED):
        version = run_version(at, maker, METHODS, SEEDS, PACE)
        records = tested_records(outside, at, version, ordinal=False)
        lines += [f"**{maker}**", "", *table(records, trusted_records(inside, at, version), maker), ""]
        if maker == AS_GIVEN:
            said = ", ".join(f"{by} {100 * rates.mean():.1f} %" for by, rates in version.rates.items())
            lines += [f"Nothing is wrong here; estimated: {said}.", ""]
        else:
            lines += [judged(at, version), ""]
    took = f"{time.monotonic() - start:.0f} s in all ({time.process_time() - used:.0f} s of one core)"
    return "\n".join([*lines, f"{took}; `python recipes/mechanisms/label_noise.py`", ""])


if __name__ == "__main__":
    sys.stdout.write(measure())
