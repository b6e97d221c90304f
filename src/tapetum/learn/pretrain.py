"""From an archive to a model that knows words: no annotation, only the clinic's own reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from tapetum.archive import Archive
from tapetum.core.config import digest
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Embeddings, ImageRecord, Split
from tapetum.knowledge import Pack
from tapetum.learn.aligner.finetune import UNFREEZE, fine_tune
from tapetum.learn.aligner.joint import JointSpace, joint_space
from tapetum.learn.aligner.objective import AlignmentLoss
from tapetum.learn.features.colours import check_archive
from tapetum.learn.features.embed import DEFAULT, Embedder, embed
from tapetum.learn.features.embedder import parse_encoders
from tapetum.learn.features.loader import parse_augmentations
from tapetum.learn.fitting.operate import Operating, choose_operating
from tapetum.learn.model import Model, zero_shot
from tapetum.learn.pairing.pairs import Fitted, Pairs, mentions_any, pack_of, pairs_of
from tapetum.learn.pairing.texts import EncodeText
from tapetum.learn.pairing.tokens import Tokens, tokens_of
from tapetum.learn.pairing.truth import candidates, targets
from tapetum.learn.pairing.words import encode_words
from tapetum.learn.tasks import Task
from tapetum.learn.training.checkpoint import Saving
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.parallel import World
from tapetum.learn.training.runlog import UNWATCHED, Watch
from tapetum.learn.training.together import first_alone, from_first, together

__all__ = ["PretrainConfig", "candidates", "pretrain", "targets"]

Progress = Callable[[int, int], None]
Towers = Mapping[int, Mapping[str, Tensor]]
PARALLEL = ("", "ddp", "fsdp")


@dataclass(frozen=True)
class PretrainConfig:
    """How images and reports are aligned.

    Args:
        encoders: image towers joined by `+`. text_encoder: member of `nets/text`.
        task: member of `learn/tasks`: `ridge` (closed form), `contrastive(loss='clip')`, `hierarchical`, …, or `joint`:
            the space of a published image-text model as it is, with `encoders` and `text_encoder` of one checkpoint.
        text: member of `learn/wording`: which words stand for an image, for example `report`, `eye`, `visible`,
            `findings`, `descriptions(share=0.5)` or `facets`.
        matching: member of `learn/matching`: which texts are no negatives of an image; the task's own if empty.
        sampler: member of `learn/samplers`: which images meet in a batch; the task's own if empty.
        pool: `mean` or `max` = the images of one eye and visit with the same words are one row; empty = each is one.
        prompt_set: `name`, `grades` or `descriptions`: which prompts stand for a finding.
        leave_out: findings whose name, synonyms and finer forms must not stand in any training text; images whose
            report names one are left out, so that detecting it is zero-shot in the strict sense.
        unfreeze: `none`, `last` or `all`: how much of the image towers is trained after the task. fine_tuning_epochs,
            fine_tuning_batch, fine_tuning_rate, fine_tuning_decay, fine_tuning_patience: of that stage, see
            `LoopSettings`; fine_tuning_loss: member of `learn/alignment`.
        augment: of that stage: members of `learn/augment` joined by `+`, for training images only. chunk: images that
            go through the towers at a time, so that a large batch fits; 0 = the whole batch. ema: decay of a moving
            average of the weights, 0 = none. parallel: by the processes that torchrun started, `ddp` = each holds the
            towers, `fsdp` = they are spread over them.
        self_supervision: member of `learn/self_supervision`: the towers are first refined on the training patients'
            images alone; empty = not. self_supervision_epochs, self_supervision_batch, self_supervision_rate,
            self_supervision_unfreeze: of that stage. keep: share of its images that stay, 0..1, the others being said
            again by those; reduce: how these are chosen, `spread`, `information` or `random`.
        check_colours: refuse photographs whose red and blue look swapped, as the pack states them; False = only warn.
        sensitivity: wanted on the validation patients when thresholds are chosen. calibrator: of `score/calibration`.
        seed: of every random choice. threads: 0 = all cores.
    """

    encoders: str = DEFAULT
    text_encoder: str = "minilm"
    task: str = "ridge"
    text: str = "findings"
    matching: str = ""
    sampler: str = ""
    pool: str = ""
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
    fine_tuning_decay: float = 0.1
    fine_tuning_patience: int = 8
    fine_tuning_loss: str = "clip"
    augment: str = ""
    chunk: int = 0
    ema: float = 0.0
    parallel: str = ""
    self_supervision: str = ""
    self_supervision_epochs: int = 10
    self_supervision_batch: int = 64
    self_supervision_rate: float = 1e-4
    self_supervision_unfreeze: str = "all"
    keep: float = 1.0
    reduce: str = "spread"
    check_colours: bool = True


def pretrain(
    archive: Archive,
    config: PretrainConfig = PretrainConfig(),
    *,
    progress: Progress | None = None,
    embeddings: Embeddings | None = None,
    rearrange: Callable[[Pairs], Pairs] | None = None,
    watch: Watch = UNWATCHED,
    saving: Saving | None = None,
) -> Model:
    """Align the training patients' images with their reports; choose operating points on the validation patients.

    Args:
        archive: with reports.
        config: how images and reports are aligned.
        progress: called with images embedded and images in all.
        embeddings: made with `config.encoders`, to save reading them again; not used where towers are refined first.
        rearrange: applied to the training pairs, for negative controls only. It brings a generator of its own, so that
            inner folds and batches stay those of the real run.
        watch: who looks on while something is trained.
        saving: a folder of this run alone, where the state of towers in training is kept: the same call goes on after
            a kill and ends with the same weights. What lies between (features, the task) is done again, or read from
            the archive's cache.

    Returns:
        A model in memory; `save` writes it.

    Raises:
        DataError: too few images with a text, too many with swapped colours, or embeddings of other encoders.
        UsageError: an unknown name in the config, or settings that shut each other out.
        ArtefactError: the folder of `saving` holds a run of other data or settings.
    """
    task = _refused(config)
    check_archive(archive, check=config.check_colours)
    with together(config.parallel) as world:
        rng = np.random.default_rng(config.seed)
        stage = _Stage(archive, config, world, watch, saving)
        towers, told = _self_supervised(stage)
        emb, space = _embedded(stage, towers, embeddings, progress)
        if space is not None:
            task = _task(config, space)
        pairs = _pairs(archive, emb, config, task, towers)
        if rearrange is not None:
            pairs = rearrange(pairs)
        fitted = task.fit(pairs, rng, watch)
        model = Model(
            emb.encoder,
            config.text_encoder,
            archive.pack,
            config.prompt_set,
            aligner=fitted.aligner,
            towers=towers,
            space=space if config.unfreeze == "none" else None,
            config={**dataclasses.asdict(config), "archive": archive.name, "config_digest": digest(config)},
            log={**fitted.log, **told, "alarms": [*told.get("alarms", ()), *fitted.alarms]},
            parents={"archive": archive.digest},
        )
        if config.unfreeze != "none":
            model, emb = _unfrozen(stage, pairs, fitted, model, rng)
        return dataclasses.replace(model, operating=_operating(archive, model, emb, config))


@dataclass(frozen=True)
class _Stage:
    """What all stages of a run share."""

    archive: Archive
    config: PretrainConfig
    world: World
    watch: Watch
    saving: Saving | None

    def saved_in(self, name: str) -> Saving | None:
        """The place of one stage in the run's folder."""
        return self.saving and dataclasses.replace(self.saving, folder=self.saving.folder / name)

    def embed(self, embedder: Embedder, progress: Progress | None = None) -> Embeddings:
        """Features of all images; of several processes the first computes them and the others read them."""
        return first_alone(self.world, lambda: embed(self.archive, embedder, progress=progress))


def _refused(config: PretrainConfig) -> Task:
    """The task, once nothing in the settings stands against another."""
    refused = partial(_refuse, config)
    if config.unfreeze not in UNFREEZE:
        raise UsageError(f"unfreeze={config.unfreeze!r}", " | ".join(UNFREEZE), "unfreeze=none")
    if config.parallel not in PARALLEL:
        raise UsageError(f"parallel={config.parallel!r}", " | ".join(map(repr, PARALLEL)), "parallel=ddp")
    refused(
        config.parallel == "fsdp" and bool(config.chunk), "chunk", "towers that every process holds", "parallel=ddp"
    )
    frozen, joint = config.unfreeze == "none", _is_joint(config)
    refused(not frozen and bool(config.pool), "pool", "features of single images where towers are trained", "pool=")
    for name in ("augment", "chunk", "ema", "parallel"):
        refused(frozen and bool(getattr(config, name)), name, "towers that are trained on reports", "unfreeze=last")
    refused(config.keep != 1 and not config.self_supervision, "keep", "a stage on images alone", "self_supervision=…")
    refused(config.keep == 1 and config.reduce != "spread", "reduce", "fewer images than all", "keep=0.5")
    refused(
        joint and bool(config.leave_out), "leave_out", "a model of which the training texts are known", "task=ridge"
    )
    refused(
        joint and frozen and bool(config.self_supervision), "self_supervision", "towers that still meet", "task=ridge"
    )
    parse_augmentations(config.augment)
    return _task(config)


def _refuse(config: PretrainConfig, when: bool, name: str, expected: str, next_step: str) -> None:
    if when:
        stands = f"{name}={getattr(config, name)!r} with task={config.task} and unfreeze={config.unfreeze}"
        raise UsageError(stands, expected, next_step)


def _self_supervised(stage: _Stage) -> tuple[Towers, dict[str, Any]]:
    """Towers refined on the training patients' images, and what happened; nothing where that was not asked for."""
    config, archive = stage.config, stage.archive
    if not config.self_supervision:
        return {}, {}
    from tapetum.learn.pretext.run import SelfSupervised, SelfSupervisionConfig, self_supervise

    settings = SelfSupervisionConfig(
        config.self_supervision, config.self_supervision_epochs, config.self_supervision_batch,
        config.self_supervision_rate, unfreeze=config.self_supervision_unfreeze, keep=config.keep, reduce=config.reduce,
        text=config.text, seed=config.seed,
    )  # fmt: skip
    ids = [r.image_id for r in _training_records(archive, config)]

    def refine() -> SelfSupervised:
        embedder = Embedder(config.encoders, threads=config.threads, backend="torch")
        return self_supervise(
            archive, embedder, settings, image_ids=ids, saving=stage.saved_in("self_supervision"),
            on_step=stage.watch.stage("self-supervision").on_step,
        )  # fmt: skip

    found = from_first(stage.world, refine)
    return found.states, {"self_supervision": dict(found.log), "alarms": list(found.alarms)}


def _embedded(
    stage: _Stage,
    towers: Towers,
    embeddings: Embeddings | None,
    progress: Progress | None,
) -> tuple[Embeddings, JointSpace | None]:
    """Features of all images, and the space that they share with texts already, where the task takes one."""
    config, space = stage.config, None
    if embeddings is not None and not towers:
        _refuse_other_encoders(embeddings, config.encoders)
        if _is_joint(config):
            space = joint_space(config.encoders, config.text_encoder, embeddings.blocks)
        return embeddings, space and _as_stated(space, config)
    cache = stage.archive.cache / "onnx"
    embedder = Embedder(config.encoders, threads=config.threads, cache=cache, states=towers)
    if _is_joint(config):  # refused before an hour of embedding
        space = joint_space(config.encoders, config.text_encoder, embedder.blocks)
    return stage.embed(embedder, progress), space and _as_stated(space, config)


def _is_joint(config: PretrainConfig) -> bool:
    """Whether the task takes the space of a published model."""
    return "space" in Family("tapetum.learn.tasks").member(Spec.parse(config.task).name).NEEDS  # pyright: ignore[reportFunctionMemberAccess]


def _as_stated(space: JointSpace, config: PretrainConfig) -> JointSpace:
    """The checkpoint's space, with what the task's own options say instead."""
    return dataclasses.replace(space, **Spec.parse(config.task).options)


def _training_records(archive: Archive, config: PretrainConfig) -> list[ImageRecord]:
    """The training patients' images, without those whose report names what is to be left out."""
    pack = pack_of(archive)
    return [r for r in _patients(archive, Split.TRAIN) if not _names(r, pack, config.leave_out)]


def _pairs(archive: Archive, emb: Embeddings, config: PretrainConfig, task: Task, towers: Towers) -> Pairs:
    """The training patients' images with their words; without any where nothing is learned from them."""
    records, encode_text = _training_records(archive, config), partial(encode_words, config.text_encoder)
    if _is_joint(config) and config.unfreeze == "none":
        return _wordless(emb.rows([r.image_id for r in records]), encode_text)
    tokens = _tokens(archive, records, task, config, towers)
    return pairs_of(
        archive, emb, records, text=config.text, encode_text=encode_text, pool=config.pool,
        names="names" in task.NEEDS, groups="groups" in task.NEEDS, tokens=tokens,
    )  # fmt: skip


def _wordless(rows: Embeddings, encode_text: EncodeText) -> Pairs:
    dim = np.asarray(encode_text([""])).shape[1]
    return Pairs(
        rows.features,
        ("",) * len(rows.image_ids),
        np.zeros((len(rows.image_ids), dim)),
        rows.patient_ids,
        rows.image_ids,
    )


def _task(config: PretrainConfig, space: JointSpace | None = None) -> Task:
    """The task, told what counts as a match, which images meet, and which space is there already."""
    family = Family("tapetum.learn.tasks")
    if space is not None:
        return family.build(config.task, columns=space.columns, scale=space.scale, bias=space.bias)
    wanted = {"matching": config.matching, "sampler": config.sampler}
    given = {name: value for name, value in wanted.items() if value}
    known = family.options(Spec.parse(config.task).name)
    for name, value in given.items():
        if name not in known and config.unfreeze == "none":
            raise UsageError(f"{name}={value!r} with the task {config.task!r}", f"a task with {name}", f"{name}=")
    return family.build(config.task, **{name: value for name, value in given.items() if name in known})


def _tokens(
    archive: Archive, records: Sequence[ImageRecord], task: Task, config: PretrainConfig, towers: Towers
) -> Tokens | None:
    """Local features of the training images, where the task asks for them."""
    if "tokens" not in task.NEEDS:
        return None
    embedder = Embedder(config.encoders, threads=config.threads, backend="torch", states=towers)
    return tokens_of(archive, embedder, [r.image_id for r in records])


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
    stage: _Stage, pairs: Pairs, fitted: Fitted, model: Model, rng: np.random.Generator
) -> tuple[Model, Embeddings]:
    config = stage.config
    embedder = Embedder(config.encoders, threads=config.threads, backend="torch", states=model.towers)
    loss = AlignmentLoss(config.fine_tuning_loss, config.matching or "same_text")
    settings = LoopSettings(
        config.fine_tuning_epochs, config.fine_tuning_batch, config.fine_tuning_rate, config.fine_tuning_decay,
        patience=config.fine_tuning_patience, ema=config.ema, parallel=config.parallel,
    )  # fmt: skip
    tuned, states = fine_tune(
        stage.archive, pairs, fitted, embedder,
        unfreeze=config.unfreeze, loss=loss, settings=settings, rng=rng, augment=config.augment,
        sampler=config.sampler or "shuffled", chunk=config.chunk, saving=stage.saved_in("fine_tuning"),
        watch=stage.watch,
    )  # fmt: skip
    log = {**model.log, **tuned.log, "alarms": [*model.log["alarms"], *tuned.alarms]}
    model = dataclasses.replace(model, aligner=tuned.aligner, towers=states, log=log)
    return model, stage.embed(model.embedder(threads=config.threads))


def _refuse_other_encoders(embeddings: Embeddings, encoders: str) -> None:
    wanted = " + ".join(map(str, parse_encoders(encoders)))
    if embeddings.encoder != wanted:
        raise DataError(f"embeddings of {embeddings.encoder}", f"embeddings of {wanted}", f"encoders={wanted}")


def _patients(archive: Archive, split: Split) -> list[ImageRecord]:
    return list(archive.in_split(split))


def _names(record: ImageRecord, pack: Pack | None, findings: Sequence[str]) -> bool:
    if findings and pack is None:
        raise UsageError("leave_out needs a domain pack", "an archive of a known modality", "leave_out=()")
    return bool(findings) and pack is not None and mentions_any(record, pack, findings)
