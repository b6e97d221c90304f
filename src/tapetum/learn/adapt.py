"""A handful of labels on frozen features: fit an adapter, calibrate it, choose its thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive
from tapetum.core.config import digest
from tapetum.core.errors import DataError
from tapetum.core.registry import Family
from tapetum.core.types import Embeddings, ImageRecord, Split
from tapetum.learn.embed import DEFAULT, embed
from tapetum.learn.model import Model, zero_shot
from tapetum.learn.operate import choose_operating

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class AdaptConfig:
    """How an adapter is fitted.

    Args:
        adapter: member of `learn/adapters`. encoders: image towers joined by `+`; a model given to `adapt` wins.
        findings: columns to learn; every label name of the archive if empty.
        shots: training images with, and as many without, each finding, drawn patient by patient; 0 = all.
        sensitivity: wanted on the validation patients when thresholds are chosen. calibrator: of `score/calibration`.
        seed: of the draw. threads: 0 = all cores.
    """

    adapter: str = "linear_probe"
    encoders: str = DEFAULT
    findings: tuple[str, ...] = ()
    shots: int = 0
    sensitivity: float = 0.9
    calibrator: str = "platt"
    seed: int = 0
    threads: int = 0


def adapt(
    archive: Archive,
    config: AdaptConfig = AdaptConfig(),
    *,
    model: Model | None = None,
    embeddings: Embeddings | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit an adapter on the training patients' labels; choose operating points on the validation patients.

    Args:
        archive: with labels.
        config: how the adapter is fitted.
        model: its image towers are used.
        embeddings: made with the same towers, to save reading them again.
        progress: called with images embedded and images in all.

    Returns:
        A model in memory whose findings are the label names asked for.

    Raises:
        DataError: the archive has no labels, or a finding has no positive or no negative training image.
    """
    findings = config.findings or archive.label_names
    if not findings:
        raise DataError(f"{archive.name} has no labels", "labels to learn from", "tapetum ingest … --labels COLUMN")
    encoders = model.encoders if model else config.encoders
    source = model.embedder(threads=config.threads, cache=archive.cache / "onnx") if model else encoders
    emb = embeddings if embeddings is not None else embed(archive, source, threads=config.threads, progress=progress)
    train = _labelled(archive, archive.in_split(Split.TRAIN), findings)
    labels = archive.labels(findings, image_ids=[r.image_id for r in train])
    _refuse_one_class(findings, labels, archive.name)
    rows = emb.rows([r.image_id for r in train])
    if config.shots:
        chosen = draw_shots(labels, rows.patient_ids, config.shots, np.random.default_rng(config.seed))
        rows, labels = rows.rows([rows.image_ids[i] for i in chosen]), labels[chosen]
    adapter = Family("tapetum.learn.adapters").build(config.adapter)
    adapter.fit(rows.features, labels, np.asarray(rows.patient_ids))
    fitted = Model(
        emb.encoder, model.text_encoder if model else "", archive.pack,
        adapter_spec=config.adapter, adapter=adapter, findings=tuple(findings), towers=model.towers if model else {},
        config={**dataclasses.asdict(config), "archive": archive.name, "config_digest": digest(config)},
        log={"pairs": len(labels), "shots": config.shots},
        parents={"archive": archive.digest, **({"model": model.digest} if model else {})},
    )  # fmt: skip
    val = _labelled(archive, archive.in_split(Split.VAL), findings)
    if not val:
        return fitted
    logits = zero_shot(fitted, emb.rows([r.image_id for r in val]), findings).logits
    truth = archive.labels(findings, image_ids=[r.image_id for r in val])
    operating = choose_operating(
        tuple(findings), logits, truth, calibrator=config.calibrator, sensitivity=config.sensitivity, truth="labels"
    )
    return dataclasses.replace(fitted, operating=operating)


def draw_shots(
    labels: Float[np.ndarray, "n k"], patients: Sequence[str], shots: int, rng: np.random.Generator
) -> np.ndarray:
    """Row numbers with `shots` images with and `shots` without each finding, as far as there are so many.

    An image drawn for one finding counts for the others, too, so a common finding may get more. A second image of a
    patient is taken only when no other patient has one.
    """
    order, names = rng.permutation(len(labels)), np.asarray(patients)
    chosen: list[int] = []
    for column in range(labels.shape[1]):
        for value in (1, 0):
            have = sum(labels[i, column] == value for i in chosen)
            for _ in range(shots - have):
                left = [int(i) for i in order if labels[i, column] == value and i not in chosen]
                seen = set(names[chosen])
                fresh = [i for i in left if names[i] not in seen]
                chosen += (fresh or left)[:1]
    return np.array(sorted(chosen), dtype=np.intp)


def _labelled(archive: Archive, records: Sequence[ImageRecord], findings: Sequence[str]) -> list[ImageRecord]:
    known = archive.labels(findings, image_ids=[r.image_id for r in records])
    return [r for r, row in zip(records, known, strict=True) if not np.isnan(row).all()]


def _refuse_one_class(findings: Sequence[str], labels: Float[np.ndarray, "n k"], name: str) -> None:
    for j, finding in enumerate(findings):
        positives, negatives = int((labels[:, j] == 1).sum()), int((labels[:, j] == 0).sum())
        if not positives or not negatives:
            raise DataError(
                f"{finding!r} has {positives} positive and {negatives} negative training images in {name}",
                "at least one of each", "findings=… without it",
            )  # fmt: skip
