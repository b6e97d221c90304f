"""Concept bottlenecks and disentangling losses under a planted shortcut, on the phantom.

python recipes/mechanisms/concepts.py

A tint comes with one finding in 9 of 10 training images. Tested where it still does, and in a clinic in which it means
nothing. The finding and the kind of shortcut (one that the linear probe falls for), `sparse` and the weights of the
losses were chosen on seed 101; SEEDS were measured once.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.demo import LABELLED, add_truth
from tapetum.bench.protocols.concepts import RANDOM, SHUFFLED
from tapetum.core.types import Split
from tapetum.learn import Model, PretrainConfig, embed, pretrain
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.phantom import ClinicConfig, make_clinic
from tapetum.score.metrics.auroc_score import auroc_score

SEEDS, PATIENTS, SIZE, ENCODER = (1, 2), 120, 64, "efficientnet_lite(size=96)"
MARKED, KIND, STRENGTH, CHANCE = "diabetic_retinopathy", "cast", 0.8, 1e-6  # 0 would leave the tint out altogether
PROTOCOL = "concepts(controls=2)"
SPEC, PROBE = "concepts()", "linear_probe()"
PACE = Pace(epochs=30, batch=64, learning_rate=3e-3, weight_decay=0.1)
HEAD = "hidden(units=32)"
LOSSES = {
    "hidden layer": "",
    "hidden layer, hsic": "hsic(weight=10, within='class')",
    "hidden layer, distance_correlation": "distance_correlation(weight=1, within='class')",
}
SAME, TURNED, NEVER = "tint as learned", "tint means nothing", "nothing planted"
Scores = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Clinics:
    """Learned with the tint; learned without; tested where the tint means nothing; and the tint of each image."""

    marked: Archive
    clean: Archive
    elsewhere: Archive
    tint: Mapping[str, int]


def clinic(folder: Path, seed: int, shortcut: float) -> tuple[Archive, dict[str, int]]:
    """One clinic, half of whose patients are learned on, and which images have the tint."""
    planted = {"shortcut": shortcut, "shortcut_finding": MARKED, "shortcut_kind": KIND}
    make_clinic(folder / "clinic", ClinicConfig(PATIENTS, size=SIZE, seed=seed, **planted))
    add_truth(folder / "clinic")
    settings = IngestConfig(
        name=f"phantom clinic {seed}", labels="truth", pack="fundus", table=LABELLED, fractions=(0.5, 0.1, 0.4)
    )
    ingest([folder / "clinic"], folder / "clinic.tap", settings)
    archive = open_archive(folder / "clinic.tap")
    with (folder / "clinic" / "truth" / "findings.csv").open(encoding="utf-8", newline="") as stream:
        marker = {Path(row["file"]).name: int(row["marker"] != "none") for row in csv.DictReader(stream)}
    return archive, {r.image_id: marker[Path(r.source).name] for r in archive.records}


def clinics(folder: Path, seed: int) -> Clinics:
    """All three, of other patients."""
    strengths = (STRENGTH, CHANCE, CHANCE)
    made = [clinic(folder / str(i), 10 * seed + i, s) for i, s in enumerate(strengths)]
    return Clinics(made[0][0], made[1][0], made[2][0], {k: v for _, found in made for k, v in found.items()})


def words_of(archive: Archive) -> Model:
    """An aligner that read the archive's reports."""
    config = PretrainConfig(encoders=ENCODER, text="findings", task="ridge(shrinkage=0.1)", threads=1)
    return pretrain(archive, config, embeddings=embed(archive, ENCODER, threads=1))


def bottlenecks(at: Clinics) -> Scores:
    """AUROC of the marked finding: the probe, and bottlenecks whose words come from either clinic."""
    found: Scores = {}
    config = BenchConfig(encoders=ENCODER, threads=1, draws=20, findings=(MARKED,), copies="keep")
    own, foreign = words_of(at.marked), words_of(at.clean)
    runs = (
        (SAME, at.marked, None, own, "words of the same reports"),
        (SAME, at.marked, None, foreign, "words of the clean clinic"),
        (TURNED, at.marked, at.elsewhere, own, "words of the same reports"),
        (TURNED, at.marked, at.elsewhere, foreign, "words of the clean clinic"),
        (NEVER, at.clean, at.elsewhere, foreign, "words of the clean clinic"),
    )
    for place, learned, tested, model, words in runs:
        results = run_bench(PROTOCOL, learned, config, test=tested, model=model)
        for row in (PROBE, SPEC, SHUFFLED, RANDOM):
            name = "linear probe" if row == PROBE else f"{row.removesuffix('()')}, {words}"
            value = results.find("macro", "auroc_score", row).interval.estimate
            found.setdefault(name, {})[place] = value
    return found


def part(archive: Archive, split: Split | None) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Images, features and labels of a split, or of all."""
    ids = [r.image_id for r in (archive.records if split is None else archive.in_split(split))]
    return ids, embed(archive, ENCODER, threads=1).rows(ids).features, archive.labels([MARKED], image_ids=ids)[:, 0]


def disentangled(at: Clinics, seed: int) -> Scores:
    """AUROC of the marked finding by a hidden layer, with and without a loss that forbids it to know the tint."""
    found: Scores = {}
    for archive, places in ((at.marked, (SAME, TURNED)), (at.clean, (NEVER,))):
        ids, features, labels = part(archive, Split.TRAIN)
        shape = Standardiser.fit(features, 0.5)
        tint = np.array([at.tint[i] for i in ids])
        wide = np.sqrt(features.shape[1])  # back to unit variance per column
        taught = Taught(shape(features) * wide, labels.astype(np.int64), 2, np.asarray(ids), tint)
        for name, loss in LOSSES.items():
            network = train(taught, Plan(head=HEAD, invariance=loss), PACE, np.random.default_rng(seed))
            for place in places:
                _, rows, truth = part(at.marked, Split.TEST) if place == SAME else part(at.elsewhere, None)
                with torch.no_grad():
                    embedded = network.head.embed(torch.from_numpy((shape(rows) * wide).astype(np.float32)))
                    logits = network.head.classify(embedded).numpy()
                found.setdefault(name, {})[place] = auroc_score(logits[:, 1] - logits[:, 0], truth.astype(int))
    return found


def measured(seed: int) -> Scores:
    """All rows for one seed."""
    with tempfile.TemporaryDirectory() as folder:
        at = clinics(Path(folder), seed)
        return bottlenecks(at) | disentangled(at, seed)


def main(seeds: tuple[int, ...]) -> None:
    """Measure and print the section."""
    start = time.process_time()
    found: list[Scores] = []
    for seed in seeds:
        found.append(measured(seed))
        print(seed, found[-1], file=sys.stderr, flush=True)
    lines = [
        "### Concept bottlenecks and disentangling losses under a shortcut", "",
        f"PHANTOM. {len(seeds)} times three clinics of {PATIENTS} patients. A tint comes with {MARKED} in 9 "
        f"of 10 images of the clinic that is learned on. AUROC of {MARKED}, clinic by clinic; `{ENCODER}`. The losses "
        "are told which images have the tint, the bottlenecks are not.", "",
        f"| learned by | {SAME} | {TURNED} | {NEVER} |", "|---|---|---|---|",
    ]  # fmt: skip
    for name in found[0]:
        cells = [", ".join(f"{f[name][p]:.3f}" if p in f[name] else "" for f in found).strip(", ")
                 for p in (SAME, TURNED, NEVER)]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    probe = "linear probe"
    for name in found[0]:
        if name != probe:
            apart = [f[name][TURNED] - f[probe][TURNED] for f in found]
            lines += ["", f"{name} − {probe}, where the tint means nothing: {', '.join(f'{a:+.3f}' for a in apart)}."]
    lines += ["", f"{time.process_time() - start:.0f} s of one core: `python recipes/mechanisms/concepts.py`."]
    print("\n".join(lines))


if __name__ == "__main__":
    main(tuple(int(s) for s in sys.argv[1:]) or SEEDS)
