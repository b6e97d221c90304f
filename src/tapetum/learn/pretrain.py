"""From an archive to a model that knows words: no annotation, only the clinic's own reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive
from tapetum.core.config import digest
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Embeddings, ImageRecord, Split
from tapetum.knowledge import Pack
from tapetum.learn.embed import DEFAULT, Embedder, embed
from tapetum.learn.embedder import parse_encoders
from tapetum.learn.finetune import UNFREEZE, fine_tune
from tapetum.learn.gradient import AlignmentLoss
from tapetum.learn.loop import LoopSettings
from tapetum.learn.model import Model, zero_shot
from tapetum.learn.operate import Operating, choose_operating
from tapetum.learn.pairs import Fitted, Pairs, mentions_any, pack_of, pairs_of, report_labels
from tapetum.learn.words import encode_words

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PretrainConfig:
    """How images and reports are aligned.

    Args:
        encoders: image towers joined by `+`. text_encoder: member of `nets/text`.
        task: member of `learn/tasks`: `ridge` (closed form) or `contrastive(loss='clip')`.
        text: `report`, `eye` or `findings`: which words stand for an image (see `image_text`).
        prompt_set: `name`, `grades` or `descriptions`: which prompts stand for a finding.
        leave_out: findings whose name, synonyms and finer forms must not stand in any training text; images whose
            report names one are left out, so that detecting it is zero-shot in the strict sense.
        unfreeze: `none`, `last` or `all`: how much of the image towers is trained after the task. fine_tuning_epochs,
            fine_tuning_batch, fine_tuning_rate: of that second stage.
        sensitivity: wanted on the validation patients when thresholds are chosen. calibrator: of `score/calibration`.
        seed: of every random choice. threads: 0 = all cores.
    """

    encoders: str = DEFAULT
    text_encoder: str = "minilm"
    task: str = "ridge"
    text: str = "findings"
    prompt_set: str = "grades"
    leave_out: tuple[str, ...] = ()
    unfreeze: str = "none"
    fine_tuning_epochs: int = 3
    fine_tuning_batch: int = 16
    fine_tuning_rate: float = 1e-4
    sensitivity: float = 0.9
    calibrator: str = "platt"
    seed: int = 0
    threads: int = 0


def pretrain(
    archive: Archive,
    config: PretrainConfig = PretrainConfig(),
    *,
    progress: Progress | None = None,
    embeddings: Embeddings | None = None,
    rearrange: Callable[[Pairs], Pairs] | None = None,
) -> Model:
    """Align the training patients' images with their reports; choose operating points on the validation patients.

    Args:
        archive: with reports.
        config: how images and reports are aligned.
        progress: called with images embedded and images in all.
        embeddings: made with `config.encoders`, to save reading them again.
        rearrange: applied to the training pairs, for negative controls only. It brings a generator of its own, so that
            inner folds and batches stay those of the real run.

    Returns:
        A model in memory; `save` writes it.

    Raises:
        DataError: too few images with a text, or embeddings of other encoders.
        UsageError: an unknown name in the config.
    """
    if config.unfreeze not in UNFREEZE:
        raise UsageError(f"unfreeze={config.unfreeze!r}", " | ".join(UNFREEZE), "unfreeze=none")
    rng = np.random.default_rng(config.seed)
    pack = pack_of(archive)
    emb = embeddings
    if emb is None:
        emb = embed(archive, config.encoders, threads=config.threads, progress=progress)
    _refuse_other_encoders(emb, config.encoders)
    encode_text = partial(encode_words, config.text_encoder)
    records = [r for r in _patients(archive, Split.TRAIN) if not _names(r, pack, config.leave_out)]
    pairs = pairs_of(archive, emb, records, text=config.text, encode_text=encode_text)
    if rearrange is not None:
        pairs = rearrange(pairs)
    fitted = Family("tapetum.learn.tasks").build(config.task).fit(pairs, rng)
    model = Model(
        emb.encoder,
        config.text_encoder,
        archive.pack,
        config.prompt_set,
        aligner=fitted.aligner,
        config={**dataclasses.asdict(config), "archive": archive.name, "config_digest": digest(config)},
        log={**fitted.log, "alarms": list(fitted.alarms)},
        parents={"archive": archive.digest},
    )
    if config.unfreeze != "none":
        model, emb = _unfrozen(archive, pairs, fitted, model, config, rng)
    return dataclasses.replace(model, operating=_operating(archive, model, emb, config))


def targets(
    archive: Archive, records: Sequence[ImageRecord], findings: Sequence[str]
) -> tuple[Float[np.ndarray, "n k"], str]:
    """Truth for validation and test: the clinic's labels where they speak of the findings, else what reports affirm.

    Args:
        archive: decides for all its records alike which of the two it is.
        records: the rows.
        findings: the columns.

    Returns:
        Labels 0, 1, NaN; and `labels` or `reports`.

    Raises:
        DataError: neither labels nor a pack to read reports with.
    """
    pack = pack_of(archive)
    if archive.label_names and (pack is None or _spoken_of(archive, findings)):
        return archive.labels(findings, image_ids=[r.image_id for r in records]), "labels"
    if pack is None:
        raise DataError(
            f"{archive.name} has no labels and no domain pack", "labels, or reports of a known modality",
            "tapetum ingest … --labels COLUMN",
        )  # fmt: skip
    return report_labels(records, pack, findings), "reports"


def candidates(archive: Archive) -> tuple[str, ...]:
    """Findings worth asking for: what the labels name and the pack knows, else every disease and sign of the pack."""
    pack = pack_of(archive)
    if pack is None:
        return archive.label_names
    named = tuple(name for name in archive.label_names if name in pack.findings)
    return named or tuple(f.id for f in pack.findings.values() if f.level in ("disease", "grade", "sign"))


def _operating(archive: Archive, model: Model, emb: Embeddings, config: PretrainConfig) -> Operating | None:
    records = _patients(archive, Split.VAL)
    findings = candidates(archive) if archive.pack else ()
    if not records or not findings:
        return None
    labels, truth = targets(archive, records, findings)
    logits = zero_shot(model, emb.rows([r.image_id for r in records]), findings).logits
    return choose_operating(
        findings, logits, labels, calibrator=config.calibrator, sensitivity=config.sensitivity, truth=truth
    )


def _unfrozen(
    archive: Archive,
    pairs: Pairs,
    fitted: Fitted,
    model: Model,
    config: PretrainConfig,
    rng: np.random.Generator,
) -> tuple[Model, Embeddings]:
    embedder = Embedder(config.encoders, threads=config.threads, backend="torch")
    settings = LoopSettings(config.fine_tuning_epochs, config.fine_tuning_batch, config.fine_tuning_rate)
    tuned, states = fine_tune(
        archive, pairs, fitted, embedder,
        unfreeze=config.unfreeze, loss=AlignmentLoss("clip", 0.95), settings=settings, rng=rng,
    )  # fmt: skip
    log = {**tuned.log, "alarms": [*model.log["alarms"], *tuned.alarms]}
    model = dataclasses.replace(model, aligner=tuned.aligner, towers=states, log=log)
    return model, embed(archive, model.embedder(threads=config.threads))


def _refuse_other_encoders(embeddings: Embeddings, encoders: str) -> None:
    wanted = " + ".join(map(str, parse_encoders(encoders)))
    if embeddings.encoder != wanted:
        raise DataError(f"embeddings of {embeddings.encoder}", f"embeddings of {wanted}", f"encoders={wanted}")


def _spoken_of(archive: Archive, findings: Sequence[str]) -> bool:
    return bool((~np.isnan(archive.labels(findings, image_ids=[r.image_id for r in archive.records]))).any())


def _patients(archive: Archive, split: Split) -> list[ImageRecord]:
    return list(archive.in_split(split))


def _names(record: ImageRecord, pack: Pack | None, findings: Sequence[str]) -> bool:
    if findings and pack is None:
        raise UsageError("leave_out needs a domain pack", "an archive of a known modality", "leave_out=()")
    return bool(findings) and pack is not None and mentions_any(record, pack, findings)
