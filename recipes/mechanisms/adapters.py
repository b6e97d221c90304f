"""Few-shot adapters on the phantom: what words add to a few labels, and what happens where the words are wrong.

python recipes/mechanisms/adapters.py

Half of the training patients teach the aligner by their reports; the shots come from the other half, whose reports
nobody read; the validation and test patients are tested, on the phantom's truth. Nothing is chosen on any of them.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench.demo import LABELLED, add_truth, enough
from tapetum.core.registry import Family
from tapetum.core.types import Embeddings, Split
from tapetum.learn import PretrainConfig, embed, pretrain
from tapetum.learn.fitting.anchors import Anchors, anchors_of
from tapetum.learn.fitting.shots import draw_shots
from tapetum.phantom import ClinicConfig, make_clinic
from tapetum.score.stats import paired_runs_difference, runs_auroc_interval

ENCODER = "efficientnet_lite(size=224)"
PATIENTS, DRAWS, SEED = 130, 5, 0
SHOTS = (1, 4, 16)
WITHOUT_WORDS = ("linear_probe", "lda")
WITH_WORDS = (
    "zs_lp", "clap", "clap(outer=5)", "task_res", "tip_adapter", "tip_adapter(finetune=True)", "clip_adapter",
    "lp_plus_plus", "lp_plus_plus(steps=0)", "cross_modal",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Ground:
    """What the adapters are given: features and common-space rows of the pool and of the tested, and the words."""

    pool: Embeddings
    pool_rows: np.ndarray
    labels: np.ndarray
    tested: Embeddings
    tested_rows: np.ndarray
    truth: np.ndarray
    anchors: Anchors


def ground(folder: Path) -> Ground:
    """A phantom clinic, embedded, and an aligner that read the reports of half its training patients."""
    make_clinic(folder / "clinic", ClinicConfig(patients=PATIENTS, seed=SEED))
    add_truth(folder / "clinic")
    settings = IngestConfig(name="phantom clinic", labels="truth", pack="fundus", table=LABELLED)
    ingest([folder / "clinic"], folder / "clinic.tap", settings)
    archive = open_archive(folder / "clinic.tap")
    emb, findings = embed(archive, ENCODER, threads=1), enough(archive)
    patients = sorted({r.patient_id for r in archive.in_split(Split.TRAIN)})
    unread = set(np.random.default_rng(SEED).permutation(patients)[: len(patients) // 2].tolist())
    teaching = tuple(
        dataclasses.replace(r, split=Split.NONE) if r.split == Split.TRAIN and r.patient_id in unread else r
        for r in archive.records
    )
    model = pretrain(
        dataclasses.replace(archive, records=teaching),
        PretrainConfig(encoders=ENCODER, text="findings", task="ridge(shrinkage=0.1)", threads=1), embeddings=emb,
    )  # fmt: skip
    pool, labels = _part(archive, emb, findings, [r.image_id for r in archive.records if r.patient_id in unread])
    held = [r.image_id for split in (Split.VAL, Split.TEST) for r in archive.in_split(split)]
    tested, truth = _part(archive, emb, findings, held)
    rows = [model.encode_image(part.features) for part in (pool, tested)]
    return Ground(pool, rows[0], labels, tested, rows[1], truth, anchors_of(model, findings, rows[0]))


def _part(archive: Archive, emb: Embeddings, findings: tuple[str, ...], ids: list[str]) -> tuple[Embeddings, Any]:
    return emb.rows(ids), archive.labels(findings, image_ids=ids)


def logits(at: Ground, spec: str, shots: int, anchors: Anchors) -> np.ndarray:
    """Scores of the tested images, draw by draw; draw i is the same images for every adapter."""
    found: list[np.ndarray] = []
    for draw in range(DRAWS):
        rows = draw_shots(at.labels, at.pool.patient_ids, shots, np.random.default_rng(draw))
        adapter = Family("tapetum.learn.adapters").build(spec)
        words = bool(adapter.NEEDS)
        support, query = (at.pool_rows, at.tested_rows) if words else (at.pool.features, at.tested.features)
        groups, blocks = np.asarray(at.pool.patient_ids)[rows], None if words else at.pool.blocks
        found.append(adapter.fit(support[rows], at.labels[rows], groups, blocks, anchors)(query))
    return np.stack(found)


def measure() -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        at = ground(Path(folder))
    made = time.monotonic() - start
    who = np.asarray(at.tested.patient_ids)

    def apart(a: np.ndarray, b: np.ndarray) -> str:
        found = paired_runs_difference(a, b, at.truth, who, rng=np.random.default_rng(SEED), draws=300).interval
        return f"{found.estimate:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"

    def level(a: np.ndarray) -> str:
        return str(runs_auroc_interval(a, at.truth, who, rng=np.random.default_rng(SEED), draws=300))

    lines = [
        "### Few-shot adapters: words and a few labels", "",
        f"PHANTOM. {len(set(at.pool.patient_ids))} patients to draw shots from, {len(set(who))} others tested "
        f"({len(who)} images), {at.truth.shape[1]} findings; the words come from an aligner that read the reports of "
        f"{_read(at)} patients more. Macro AUROC over {DRAWS} draws of shots, the same for every adapter; 95 % "
        "intervals over patients and draws; no validation set, every option at its default.", "",
    ]  # fmt: skip
    for shots in SHOTS:
        zero, probe = (logits(at, spec, shots, at.anchors) for spec in ("zero_shot", "linear_probe"))
        lines += [
            f"{shots} shot{'s' if shots > 1 else ''} with and without each finding:", "",
            "| adapter | macro AUROC | − zero-shot | − linear probe |", "|---|---|---|---|",
            f"| zero_shot | {level(zero)} | | {apart(zero, probe)} |",
        ]  # fmt: skip
        kept: dict[str, np.ndarray] = {}
        for spec in (*WITHOUT_WORDS, *WITH_WORDS):
            found = kept[spec] = logits(at, spec, shots, at.anchors)
            against = "" if spec == "linear_probe" else apart(found, probe)
            lines.append(f"| {spec} | {level(found)} | {apart(found, zero)} | {against} |")
        lines += [
            "",
            f"Held to the words against only started there, clap − zs_lp: {apart(kept['clap'], kept['zs_lp'])}.",
            "",
        ]
    lines += _misled(at, apart, level)
    lines += [
        "", f"{time.monotonic() - start:.0f} s, of which {made:.0f} s make, embed and align the clinic: "
        "`python recipes/mechanisms/adapters.py`.",
    ]  # fmt: skip
    return "\n".join(lines)


def _read(at: Ground) -> int:
    """Patients whose reports taught the aligner: all but the pool and the tested."""
    return PATIENTS - len(set(at.pool.patient_ids)) - len(set(at.tested.patient_ids))


def _misled(at: Ground, apart: Any, level: Any) -> list[str]:
    """Negative control: each finding gets the words of the next one."""
    order, shots = np.roll(np.arange(at.truth.shape[1]), 1), SHOTS[-1]
    wrong = Anchors(at.anchors.weight[:, order], at.anchors.bias[order])
    zero, probe = (logits(at, spec, shots, wrong) for spec in ("zero_shot", "linear_probe"))
    lines = [
        f"Negative control: each finding under the words of another, {shots} shots:", "",
        "| adapter | macro AUROC | − those wrong words alone | − linear probe |", "|---|---|---|---|",
        f"| zero_shot | {level(zero)} | | {apart(zero, probe)} |",
    ]  # fmt: skip
    for spec in WITH_WORDS:
        found = logits(at, spec, shots, wrong)
        lines.append(f"| {spec} | {level(found)} | {apart(found, zero)} | {apart(found, probe)} |")
    return lines


if __name__ == "__main__":
    sys.stdout.write(measure() + "\n")
