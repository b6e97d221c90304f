"""A handful of labels on frozen features: fit an adapter, calibrate it, choose its thresholds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive
from tapetum.core.config import digest
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Embeddings, Split
from tapetum.learn.adapters import Adapter
from tapetum.learn.features.colours import check_archive
from tapetum.learn.features.embed import DEFAULT, embed
from tapetum.learn.fitting.anchors import Anchors, anchors_of
from tapetum.learn.fitting.operate import choose_operating
from tapetum.learn.fitting.ridge import patient_folds
from tapetum.learn.fitting.shots import draw_shots
from tapetum.learn.model import Model, zero_shot
from tapetum.learn.training.checkpoint import Saving
from tapetum.learn.training.runlog import UNWATCHED, Watch
from tapetum.learn.tuning.run import tune_config
from tapetum.learn.tuning.tune import HEAD, tune

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
        tuner: member of `learn/tuners`: trains inside the towers, with a linear head in the place of `adapter`; val
            only chooses then. tuning: options of `TuneConfig`, as in `"epochs=10, batch=8"`.
        check_colours: refuse photographs whose red and blue look swapped, as the pack states them; False = only warn.
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
    tuner: str = ""
    tuning: str = ""
    check_colours: bool = True


def adapt(
    archive: Archive,
    config: AdaptConfig = AdaptConfig(),
    *,
    model: Model | None = None,
    embeddings: Embeddings | None = None,
    progress: Progress | None = None,
    watch: Watch = UNWATCHED,
    saving: Saving | None = None,
) -> Model:
    """Fit an adapter on the labels of all patients but the tested; choose operating points on those a fit left out.

    Args:
        archive: with labels.
        config: how the adapter is fitted.
        model: its image towers are used; its aligner, too, by an adapter that knows the findings by their words.
        embeddings: made with the same towers, to save reading them again.
        progress: called with images embedded and images in all.
        watch: who looks on while a tuner trains.
        saving: a folder of this run alone, where a tuner's state is kept: the same call goes on after a kill.

    Returns:
        A model in memory whose findings are the label names asked for.

    Raises:
        UsageError: an adapter that starts from the words of the findings, and no model with an aligner.
        DataError: the archive has no labels, too many images have swapped colours, or a finding has no positive or no
            negative training image.
    """
    findings = _asked(archive, config)
    words = None if config.tuner else _words_model(config.adapter, model)
    check_archive(archive, model.pack if model else "", check=config.check_colours)
    source = model.embedder(threads=config.threads, cache=archive.cache / "onnx") if model else config.encoders
    emb = embeddings if embeddings is not None else embed(archive, source, threads=config.threads, progress=progress)
    rng = np.random.default_rng(config.seed)
    cross_fitted = config.cross_fit and not config.shots and not config.tuner
    rows, labels = _labelled(archive, emb, findings, (Split.TRAIN, Split.VAL) if cross_fitted else (Split.TRAIN,))
    _refuse_one_class(findings, labels, archive.name)
    rows, anchors = (rows, None) if words is None else _in_words(words, rows, findings, config.adapter)
    rows, labels = _drawn(rows, labels, config.shots, rng) if config.shots else (rows, labels)
    adapter = None if config.tuner else _fit(config.adapter, rows, labels, anchors)
    fitted = Model(
        emb.encoder, model.text_encoder if model else "", words.pack if words else archive.pack,
        words.prompt_set if words else Model.prompt_set, words.aligner if words else None,
        adapter_spec=config.adapter, adapter=adapter, findings=findings, towers=model.towers if model else {},
        deltas=model.deltas if model else {},
        config={**dataclasses.asdict(config), "archive": archive.name, "config_digest": digest(config)},
        log={"pairs": len(labels), "patients": len(set(rows.patient_ids)), "shots": config.shots},
        parents={"archive": archive.digest, **({"model": model.digest} if model else {})},
    )  # fmt: skip
    fitted, emb = _tuned(archive, fitted, rows, labels, config, watch, saving) if config.tuner else (fitted, emb)
    if cross_fitted:
        logits, truth = held_out_logits(config.adapter, rows, labels, rng, anchors=anchors), labels
    else:
        val, truth = _labelled(archive, emb, findings, (Split.VAL,))
        logits = zero_shot(fitted, val, findings).logits if len(truth) else np.empty((0, len(findings)))
    operating = choose_operating(
        findings, logits, truth, calibrator=config.calibrator, sensitivity=config.sensitivity, truth="labels"
    )
    return dataclasses.replace(fitted, operating=operating)


def _asked(archive: Archive, config: AdaptConfig) -> tuple[str, ...]:
    """The findings to learn."""
    findings = config.findings or archive.label_names
    if not findings:
        raise DataError(f"{archive.name} has no labels", "labels to learn from", "tapetum ingest … --labels COLUMN")
    return tuple(findings)


def _drawn(
    rows: Embeddings, labels: Float[np.ndarray, "n k"], shots: int, rng: np.random.Generator
) -> tuple[Embeddings, Float[np.ndarray, "m k"]]:
    """A few images of each finding."""
    chosen = draw_shots(labels, rows.patient_ids, shots, rng)
    return rows.rows([rows.image_ids[i] for i in chosen]), labels[chosen]


def _tuned(
    archive: Archive,
    model: Model,
    rows: Embeddings,
    labels: Float[np.ndarray, "n k"],
    config: AdaptConfig,
    watch: Watch,
    saving: Saving | None,
) -> tuple[Model, Embeddings]:
    """The model with tuned towers and their head, and the validation images through them."""
    if model.deltas:
        raise UsageError("the model is tuned already", "a model without deltas, or plain encoders", "encoders=…")
    settings = tune_config(config.tuner, config.tuning, seed=config.seed, threads=config.threads)
    if saving is not None:  # a run goes on only with the same images and settings
        saving = dataclasses.replace(saving, data=f"{archive.digest} {rows.encoder} {digest(settings)}")
    tuned = tune(
        archive, rows, labels, settings, findings=model.findings, states=model.towers, watch=watch, saving=saving
    )
    model = dataclasses.replace(
        model, adapter_spec=HEAD, adapter=Family("tapetum.learn.adapters").build(HEAD).restore(tuned.head),
        towers={**model.towers, **tuned.towers}, deltas=tuned.deltas,
        log={**model.log, **tuned.log, "alarms": list(tuned.alarms)},
    )  # fmt: skip
    embedder = model.embedder(threads=config.threads, cache=archive.cache / "onnx")
    return model, embed(archive, embedder, image_ids=[r.image_id for r in archive.in_split(Split.VAL)])


def held_out_logits(
    adapter: str,
    rows: Embeddings,
    labels: Float[np.ndarray, "n k"],
    rng: np.random.Generator,
    *,
    folds: int = 3,
    anchors: Anchors | None = None,
) -> Float[np.ndarray, "n k"]:
    """Logits of every image from an adapter that never saw its patient: fitted on the other patient folds.

    Args:
        adapter: spec of a member of `learn/adapters`.
        rows: features with their patients; in the common space for an adapter that needs anchors.
        labels: 0, 1, NaN unknown.
        rng: divides the patients into folds.
        folds: number of patient folds.
        anchors: the zero-shot head, for an adapter that needs it.

    Returns:
        Logits, higher = more likely; 0 for a fold whose remainder lacks a class of that finding.
    """
    fold = patient_folds(rows.patient_ids, folds, rng)
    logits = np.zeros(labels.shape)
    for number in range(folds):
        train, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if len(train) and len(out):
            fitted = _fit(adapter, rows.rows([rows.image_ids[i] for i in train]), labels[train], anchors)
            logits[out] = np.nan_to_num(fitted(rows.features[out]))
    return logits


def unseen_logits(
    archive: Archive, model: Model, embeddings: Embeddings
) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "n k"], tuple[str, ...]]:
    """Logits of labelled images whose patients the model did not learn from.

    Those of validation patients; where the model is an adapter that learned from this archive's train and val patients
    together (`cross_fit`), those of patient folds that a fit of the same adapter left out.

    Args:
        archive: with labels of the model's findings.
        model: an adapter.
        embeddings: made with the model's towers.

    Returns:
        Logits, labels (1, 0, NaN) and the patient of each image.

    Raises:
        DataError: the archive names none of these patients a label.
    """
    told = model.config
    own = model.parents.get("archive") == archive.digest
    if own and told.get("cross_fit") and not told.get("shots") and not told.get("tuner"):
        rows, labels = _labelled(archive, embeddings, model.findings, (Split.TRAIN, Split.VAL))
        words = _words_model(model.adapter_spec, model)
        rows, anchors = (rows, None) if words is None else _in_words(words, rows, model.findings, model.adapter_spec)
        rng = np.random.default_rng(told.get("seed", 0))
        return held_out_logits(model.adapter_spec, rows, labels, rng, anchors=anchors), labels, rows.patient_ids
    rows, labels = _labelled(archive, embeddings, model.findings, (Split.VAL,))
    if not len(labels):
        raise DataError(
            f"no validation image of {archive.name} has a label", "labels", "tapetum ingest … --labels COLUMN"
        )
    return zero_shot(model, rows, model.findings).logits, labels, rows.patient_ids


def _words_model(spec: str, model: Model | None) -> Model | None:
    """The model whose words the adapter starts from; None for an adapter that takes no notice of words."""
    adapter: Adapter = Family("tapetum.learn.adapters").build(spec)
    if "anchors" not in adapter.NEEDS:
        return None
    name = Spec.parse(spec).name
    if model is None or model.aligner is None:
        raise UsageError(
            f"{name} starts from the words of the findings, and there is "
            f"{'no model' if model is None else 'no aligner in the model'} that knows words",
            "a model that joins images and words",
            f"tapetum pretrain ARCHIVE --out MODEL, then tapetum adapt ARCHIVE --model MODEL adapter={name}",
        )
    return model


def _in_words(model: Model, rows: Embeddings, findings: Sequence[str], spec: str) -> tuple[Embeddings, Anchors]:
    """The rows in the common space, and the zero-shot head in it, scaled on those rows without their labels."""
    aligned = model.encode_image(rows.features)
    adapter: Adapter = Family("tapetum.learn.adapters").build(spec)
    anchors = anchors_of(model, findings, aligned, concepts="concepts" in adapter.NEEDS)
    return dataclasses.replace(rows, features=aligned, blocks={}), anchors


def _fit(spec: str, rows: Embeddings, labels: Float[np.ndarray, "n k"], anchors: Anchors | None) -> Adapter:
    adapter: Adapter = Family("tapetum.learn.adapters").build(spec)
    return adapter.fit(rows.features, labels, np.asarray(rows.patient_ids), rows.blocks, anchors)


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
