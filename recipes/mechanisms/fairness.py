"""Planted shortcuts and a planted harm: found where they are, not claimed where they are not, on the phantom.

python recipes/mechanisms/fairness.py

Sizes were chosen on a clinic of seed 101; the seeds below were measured once.
"""

from __future__ import annotations

import csv
import dataclasses
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench import BenchConfig, Results, run_bench
from tapetum.bench.demo import LABELLED, add_truth, enough
from tapetum.bench.groups import groups_of
from tapetum.bench.tables.measures import Context
from tapetum.bench.trial import Scored
from tapetum.bench.trust.acquisition import ACQUISITION, BORDER, DEVICE, MISSING
from tapetum.bench.trust.subgrouped import Compared, compare_groups
from tapetum.core.store import atomic_write
from tapetum.phantom import ClinicConfig, make_clinic
from tapetum.score.subgroups import Resampling, subgroup_aurocs

SEEDS, PATIENTS, SIZE, ENCODER = (1, 2), 240, 64, "efficientnet_lite(size=96)"
MARKED, UNGRADED, STRENGTH = "dot_blot_haemorrhage", "drusen", 0.9
HOW = Resampling(draws=100, exchanges=500, half_width=0.25)
FEW = Resampling(draws=20, exchanges=250, half_width=0.5)
REPLICATIONS, SCORE_PATIENTS = 100, 300
PROTOCOL = "fairness(exchanges=0, half_width=0.25)"


def clinic(folder: Path, seed: int, *, planted: bool) -> Archive:
    """A clinic with a second column of labels, a grade that some images lack.

    Planted: a bright corner that comes with `MARKED`, and a grade that images with `UNGRADED` lack; each in 19 of 20
    images. Otherwise there is no corner, and three in ten images lack the grade whatever they show.
    """
    shortcut = STRENGTH if planted else 0.0
    make_clinic(folder / "clinic", ClinicConfig(PATIENTS, size=SIZE, seed=seed, shortcut=shortcut,
                                                shortcut_finding=MARKED))  # fmt: skip
    table, rng = add_truth(folder / "clinic"), np.random.default_rng([seed, 1])
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        ill = UNGRADED in row["truth"].split(";")
        lacks = (0.5 + (0.5 if ill else -0.5) * STRENGTH) if planted else 0.3
        row["grade"] = "" if rng.random() < lacks else "graded"
    text = "\n".join([",".join(rows[0]), *(",".join(f'"{v.replace(chr(34), "")}"' for v in r.values()) for r in rows)])
    atomic_write(table, text + "\n")
    names = {name for row in rows for name in row["truth"].split(";") if name}
    settings = IngestConfig(
        name="phantom clinic", labels="truth+grade", label_map=",".join(f"truth:{n}={n}" for n in sorted(names)),
        pack="fundus", table=LABELLED, fractions=(0.5, 0.1, 0.4),
    )  # fmt: skip
    ingest([folder / "clinic"], folder / "clinic.tap", settings)
    return open_archive(folder / "clinic.tap")


def audited(archive: Archive) -> Results:
    """The protocol on every finding that is frequent enough."""
    findings = tuple(f for f in enough(archive) if ":" not in f)
    config = BenchConfig(encoders=ENCODER, threads=1, draws=HOW.draws, findings=findings, copies="keep")
    return run_bench(PROTOCOL, archive, config)


def claims(results: Results) -> list[str]:
    """Warnings of shortcuts."""
    return [w for w in results.warnings if "A model can learn this" in w]


def shortcuts(clean: Sequence[Results], planted: Sequence[Results]) -> list[str]:
    """Two tables: what was planted, what was claimed where nothing was."""
    lines = ["| planted | told by | AUROC of the probe, clinic by clinic | of the features | warned of |",
             "|---|---|---|---|---|"]  # fmt: skip
    for finding, kind, word in ((MARKED, BORDER, "border"), (UNGRADED, MISSING, "filled in")):
        probe = [r.find(finding, "auroc_score", kind).interval.estimate for r in planted]
        whole = [r.scored[0].row for r in planted]
        features = [r.find(finding, "auroc_score", w).interval.estimate for r, w in zip(planted, whole, strict=True)]
        warned = sum(any(w.startswith(f"{finding}:") and word in w for w in claims(r)) for r in planted)
        said = (", ".join(f"{v:.3f}" for v in values) for values in (probe, features))
        lines.append(f"| {finding} | {kind} | {' | '.join(said)} | {warned} of {len(planted)} clinics |")
    asked = [x for r in clean for x in r.records
             if x.metric == "explained_share" and x.row in (BORDER, ACQUISITION, MISSING, DEVICE)]  # fmt: skip
    false = [w for r in clean for w in claims(r)]
    above = sum(
        r.find(x.finding, "auroc_score", x.row).interval.low > 0.5
        for r in clean for x in r.records if x.metric == "explained_share"
    )  # fmt: skip
    lines += ["", f"Nothing planted: {len(false)} warnings in {len(asked)} looks (findings × probes of {len(clean)} "
              f"clinics); in {above} of these the lower bound of the probe's own interval lies above 0.5."]  # fmt: skip
    return lines + [f"* {w}" for w in false]


def harmed(main: Scored, women: np.ndarray, rng: np.random.Generator) -> Scored:
    """The same scores, those of women drowned in noise of twice their standard deviation."""
    p = main.predictions
    noise = np.where(women[:, None], rng.normal(size=p.logits.shape) * 2 * p.logits.std(axis=0), 0.0)
    return dataclasses.replace(main, predictions=dataclasses.replace(p, logits=p.logits + noise))


def groups_table(clean: Sequence[Results]) -> list[str]:
    """How often a gap is called none of chance, with the scores as they are and with harm to women."""
    counts = {"as they are": dict[str, list[float]](), "harm to women": dict[str, list[float]]()}
    right = 0
    for number, results in enumerate(clean):
        main, trial = results.scored[0], results.trial
        assert trial is not None
        groups = groups_of(trial.test_records)
        within = Context("fairness", main.predictions.patient_ids, 0, HOW.draws, "", 0, {}, "", phantom=True)
        women = groups["sex"]["F"]
        for name, scored in (
            ("as they are", main),
            ("harm to women", harmed(main, women, np.random.default_rng(number))),
        ):
            # Attribute by attribute: with 500 exchanges, p cannot fall below 0.002 times the number of comparisons.
            found: list[Compared] = []
            for attribute, masks in groups.items():
                found += compare_groups(scored, {attribute: masks}, within, HOW)
            for one in found:
                if one.ranked.gap.worst:
                    counts[name].setdefault(one.attribute, []).append(one.holm)
                    right += name != "as they are" and one.attribute == "sex" and one.ranked.gap.worst == "F"
    lines = ["| scores | attribute | comparisons | p < 0.05, Holm within clinic and attribute |", "|---|---|---|---|"]
    for name, of in counts.items():
        lines += [f"| {name} | {a} | {len(p)} | {sum(v < 0.05 for v in p)} |" for a, p in of.items()]
    total = len(counts["harm to women"]["sex"])
    return [*lines, "", f"With harm, women are the worst group in {right} of {total} comparisons by sex."]


def simulated(groups: int, harm: float, seed: int) -> tuple[float, float, float, bool]:
    """Gap, gap by chance, p, and whether the interval holds the true gap: two eyes a patient, groups of equal size."""
    rng = np.random.default_rng([seed, groups, round(harm * 100)])
    who = np.repeat(np.arange(SCORE_PATIENTS), 2)
    group = np.repeat(rng.permutation(SCORE_PATIENTS) % groups, 2)
    truth = np.repeat(rng.random(SCORE_PATIENTS) < 0.4, 2).astype(np.float64)
    shift = truth * np.where(group == 0, 1.35 - harm, 1.35)  # AUROC 0.83, and 0.68 with harm 0.7
    scores = shift + np.sqrt(0.5) * (np.repeat(rng.normal(size=SCORE_PATIENTS), 2) + rng.normal(size=len(who)))
    masks = {str(g): group == g for g in range(groups)}
    found = subgroup_aurocs(scores, truth, masks, who, rng=rng, resampling=FEW).gap
    return found.interval.estimate, found.chance, found.p_value, found.worst == "0"


def replicated() -> list[str]:
    """The gap of equal groups, and how often p speaks."""
    lines = [
        f"| groups | harm to one | mean gap | gap by chance | p < 0.05 in {REPLICATIONS} | the harmed one is worst |",
        "|---|---|---|---|---|---|",
    ]
    for groups, harm in ((2, 0.0), (4, 0.0), (8, 0.0), (2, 0.7), (4, 0.7), (8, 0.7)):
        rows = np.array([simulated(groups, harm, seed) for seed in range(REPLICATIONS)])
        gap, chance, _, worst = rows.mean(axis=0)
        share = f"{worst:.2f}" if harm else ""
        lines.append(f"| {groups} | {harm:g} | {gap:.3f} | {chance:.3f} | {(rows[:, 2] < 0.05).mean():.3f} | {share} |")
    return lines


def main() -> None:
    """Measure and print the section."""
    start = time.process_time()
    found: dict[bool, list[Results]] = {False: [], True: []}
    for planted, of in found.items():
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                of.append(audited(clinic(Path(folder), seed + 10 * planted, planted=planted)))
    page = [
        "### Planted shortcuts and a planted harm", "",
        f"PHANTOM. Clinics of {PATIENTS} patients. Planted: a bright corner that comes with {MARKED}, and a grade that "
        f"images with {UNGRADED} lack, each in 19 of 20 images. `{ENCODER}`, logistic regression.", "",
        *shortcuts(found[False], found[True]), "",
        "Groups of the clean clinics, all findings; the harm is noise on the scores of women.", "",
        *groups_table(found[False]), "",
        f"Made-up scores of {SCORE_PATIENTS} patients with two eyes, AUROC 0.83; with harm, 0.68 in one group.", "",
        *replicated(), "",
        f"{time.process_time() - start:.0f} s of one core: `python recipes/mechanisms/fairness.py`.",
    ]  # fmt: skip
    print("\n".join(page))


if __name__ == "__main__":
    main()
