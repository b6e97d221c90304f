"""A large model teaches a small one: the student learns from the teacher's probabilities and from the labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch

from tapetum.archive import Archive
from tapetum.core.config import digest
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Embeddings, Split
from tapetum.learn.distilling.goal import SoftAndHard
from tapetum.learn.distilling.told import Told, told_by
from tapetum.learn.features.embed import embed
from tapetum.learn.fitting.operate import Operating, choose_operating
from tapetum.learn.model import Model, zero_shot
from tapetum.learn.pretrain import targets
from tapetum.learn.training.runlog import UNWATCHED, Watch
from tapetum.learn.tuning.run import tune_config
from tapetum.learn.tuning.tune import HEAD, tune

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class DistilConfig:
    """How a student is taught.

    Args:
        encoders: the student's image towers joined by `+`.
        findings: columns to learn; all that the teacher can be asked if empty.
        soft: share of the loss that is the teacher's, 0..1; the rest is the labels' (else the reports').
        temperature: softens teacher and student alike, above 0. focal: exponent on how wrong the student is, 0 = none.
        tuner: member of `learn/tuners`: what is trained inside the student's towers. tuning: options of `TuneConfig`,
            as in `"epochs=10, batch=8"`.
        ema: decay per step of a moving average of the weights, kept where it is better; 0 = none.
        sensitivity: wanted on the validation patients when thresholds are chosen. calibrator: of `score/calibration`.
        seed: of every random choice. threads: 0 = all cores.
    """

    encoders: str = "efficientnet_lite(size=160)"
    findings: tuple[str, ...] = ()
    soft: float = 0.7
    temperature: float = 2.0
    focal: float = 0.0
    tuner: str = "full"
    tuning: str = ""
    ema: float = 0.99
    sensitivity: float = 0.9
    calibrator: str = "platt"
    seed: int = 0
    threads: int = 0


def distil(
    archive: Archive,
    teacher: Model,
    config: DistilConfig = DistilConfig(),
    *,
    embeddings: Embeddings | None = None,
    progress: Progress | None = None,
    watch: Watch = UNWATCHED,
) -> Model:
    """Train a student on the training patients; patients held out among them decide when to stop.

    Args:
        archive: with labels or reports.
        teacher: with an adapter or an aligner; it is asked for the findings of the training images once.
        config: how the student is taught.
        embeddings: of the teacher's towers, to save reading them again.
        progress: called with images embedded and images in all.
        watch: who looks on while the student trains.

    Returns:
        A model in memory with trained towers (or a delta) and a linear head. Its operating points are chosen on the
        validation patients.

    Raises:
        UsageError: an option out of range, or findings that the teacher does not know.
        DataError: no training images, or a finding with one class only.

    Source: after KD-OCT (ConvNeXt V2 teacher, EfficientNet-B2 student, soft and hard targets, focal loss, averaged
    weights). Differs: re-created from its summary; any encoders and findings; an exponential average in the place of
    SWA, chosen on inner patients.
    """
    _refuse_options(config)
    records = list(archive.in_split(Split.TRAIN))
    if not records:
        raise DataError(f"{archive.name} has no training images", "patients in the split train", "tapetum ingest …")
    ids = [r.image_id for r in records]
    cache = archive.cache / "onnx"
    if embeddings is None:
        embedder = teacher.embedder(threads=config.threads, cache=cache)
        embeddings = embed(archive, embedder, image_ids=ids, progress=progress)
    told = told_by(teacher, embeddings.rows(ids), archive, records, config.findings)
    rows = embed(archive, config.encoders, threads=config.threads, image_ids=ids, progress=progress)
    settings = tune_config(config.tuner, config.tuning, seed=config.seed, threads=config.threads, ema=config.ema)
    soft, hard = (torch.from_numpy(values).float() for values in (told.soft, told.hard))
    goal = SoftAndHard(soft, hard, config.soft, config.temperature, config.focal)
    tuned = tune(archive, rows, told.hard, settings, findings=told.findings, watch=watch, goal=goal)
    student = Model(
        rows.encoder, "", teacher.pack, teacher.prompt_set, adapter_spec=HEAD,
        adapter=Family("tapetum.learn.adapters").build(HEAD).restore(tuned.head), findings=told.findings,
        towers=tuned.towers, deltas=tuned.deltas,
        config={**dataclasses.asdict(config), "archive": archive.name, "config_digest": digest(config)},
        log={**tuned.log, **_about(teacher, told), "alarms": [*tuned.alarms, *told.left_out]},
        parents={"archive": archive.digest, "teacher": teacher.digest},
    )  # fmt: skip
    return dataclasses.replace(student, operating=_operating(archive, student, config))


def _operating(archive: Archive, student: Model, config: DistilConfig) -> Operating | None:
    """Chosen on the validation patients, on the truth that the student was taught with."""
    records = list(archive.in_split(Split.VAL))
    if not records:
        return None
    embedder = student.embedder(threads=config.threads, cache=archive.cache / "onnx")
    rows = embed(archive, embedder, image_ids=[r.image_id for r in records])
    labels, truth = targets(archive, records, student.findings)
    logits = zero_shot(student, rows, student.findings).logits
    return choose_operating(
        student.findings, logits, labels, calibrator=config.calibrator, sensitivity=config.sensitivity, truth=truth
    )


def _about(teacher: Model, told: Told) -> dict[str, object]:
    return {
        "teacher": teacher.encoders, "teacher_adapter": teacher.adapter_spec, "hard_targets": told.truth,
        "left_out": list(told.left_out),
    }  # fmt: skip


def _refuse_options(config: DistilConfig) -> None:
    if not 0 <= config.soft <= 1 or config.temperature <= 0 or config.focal < 0:
        raise UsageError(
            f"soft={config.soft:g}, temperature={config.temperature:g}, focal={config.focal:g}",
            "soft 0..1, temperature above 0, focal 0 or more", "soft=0.7 temperature=2 focal=0",
        )  # fmt: skip
