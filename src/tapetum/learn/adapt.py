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
from tapetum.core.types import Embeddings, Split
from tapetum.learn.adapters import Adapter
from tapetum.learn.embed import DEFAULT, embed
from tapetum.learn.model import Model, zero_shot
from tapetum.learn.operate import choose_operating
from tapetum.learn.ridge import patient_folds

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
        cross_fit: learn from the train and val patients together, and choose operating points on logits of patient
            folds that the fit left out; no labelled patient is lost. Otherwise, and with `shots`, val only chooses.
    """

    adapter: str = "linear_probe"
    encoders: str = DEFAULT
    findings: tuple[str, ...] = ()
    shots: int = 0
    sensitivity: float = 0.9
    calibrator: str = "platt"
    seed: int = 0
    threads: int = 0
    cross_fit: bool = True


def adapt(
    archive: Archive,
    config: AdaptConfig = AdaptConfig(),
    *,
    model: Model | None = None,
    embeddings: Embeddings | None = None,
    progress: Progress | None = None,
) -> Model:
    """Fit an adapter on the labels of all patients but the tested; choose operating points on those a fit left out.

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
    rng = np.random.default_rng(config.seed)
    cross_fitted = config.cross_fit and not config.shots
    parts = (Split.TRAIN, Split.VAL) if cross_fitted else (Split.TRAIN,)
    rows, labels = _labelled(archive, emb, findings, parts)
    _refuse_one_class(findings, labels, archive.name)
    if config.shots:
        chosen = draw_shots(labels, rows.patient_ids, config.shots, rng)
        rows, labels = rows.rows([rows.image_ids[i] for i in chosen]), labels[chosen]
    adapter = _fit(config.adapter, rows, labels)
    fitted = Model(
        emb.encoder, model.text_encoder if model else "", archive.pack,
        adapter_spec=config.adapter, adapter=adapter, findings=tuple(findings), towers=model.towers if model else {},
        config={**dataclasses.asdict(config), "archive": archive.name, "config_digest": digest(config)},
        log={"pairs": len(labels), "shots": config.shots},
        parents={"archive": archive.digest, **({"model": model.digest} if model else {})},
    )  # fmt: skip
    if cross_fitted:
        logits, truth = held_out_logits(config.adapter, rows, labels, rng), labels
    else:
        val, truth = _labelled(archive, emb, findings, (Split.VAL,))
        logits = zero_shot(fitted, val, findings).logits if len(truth) else np.empty((0, len(findings)))
    operating = choose_operating(
        tuple(findings), logits, truth, calibrator=config.calibrator, sensitivity=config.sensitivity, truth="labels"
    )
    return dataclasses.replace(fitted, operating=operating)


def held_out_logits(
    adapter: str, rows: Embeddings, labels: Float[np.ndarray, "n k"], rng: np.random.Generator, *, folds: int = 3
) -> Float[np.ndarray, "n k"]:
    """Logits of every image from an adapter that never saw its patient: fitted on the other patient folds.

    Args:
        adapter: spec of a member of `learn/adapters`.
        rows: features with their patients.
        labels: 0, 1, NaN unknown.
        rng: divides the patients into folds.
        folds: number of patient folds.

    Returns:
        Logits, higher = more likely; 0 for a fold whose remainder lacks a class of that finding.
    """
    fold = patient_folds(rows.patient_ids, folds, rng)
    logits = np.zeros(labels.shape)
    for number in range(folds):
        train, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if len(train) and len(out):
            fitted = _fit(adapter, rows.rows([rows.image_ids[i] for i in train]), labels[train])
            logits[out] = np.nan_to_num(fitted(rows.features[out]))
    return logits


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


def _fit(spec: str, rows: Embeddings, labels: Float[np.ndarray, "n k"]) -> Adapter:
    adapter: Adapter = Family("tapetum.learn.adapters").build(spec)
    return adapter.fit(rows.features, labels, np.asarray(rows.patient_ids), rows.blocks)


def _labelled(
    archive: Archive, emb: Embeddings, findings: Sequence[str], splits: Sequence[Split]
) -> tuple[Embeddings, Float[np.ndarray, "n k"]]:
    """Features and labels of the images of some splits that have a label at all."""
    ids = [r.image_id for split in splits for r in archive.in_split(split)]
    labels = archive.labels(findings, image_ids=ids)
    known = np.flatnonzero(~np.isnan(labels).all(axis=1))
    return emb.rows([ids[i] for i in known]), labels[known]


def _refuse_one_class(findings: Sequence[str], labels: Float[np.ndarray, "n k"], name: str) -> None:
    for j, finding in enumerate(findings):
        positives, negatives = int((labels[:, j] == 1).sum()), int((labels[:, j] == 0).sum())
        if not positives or not negatives:
            raise DataError(
                f"{finding!r} has {positives} positive and {negatives} negative training images in {name}",
                "at least one of each", "findings=… without it",
            )  # fmt: skip
