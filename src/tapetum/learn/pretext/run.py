"""Refining image towers on an archive's own images: the one loop, a task of `learn/self_supervision`, no labels."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.archive import Archive
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Split
from tapetum.learn.features.embed import Embedder, embed
from tapetum.learn.features.loader import Loader
from tapetum.learn.pretext.objective import Pretext
from tapetum.learn.pretext.redundancy import less_redundant
from tapetum.learn.pretext.vocabulary import Words, words_of
from tapetum.learn.training.checkpoint import Saving
from tapetum.learn.training.history import LEFT_CHANCE, History, LoopSettings
from tapetum.learn.training.loop import OnStep, run_loop
from tapetum.learn.training.memory import MemoryEstimate, activation_bytes, memory_estimate, refuse_too_large
from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.training.out_of_memory import out_of_memory_told
from tapetum.learn.training.runlog import Curve
from tapetum.nets import Encoder

FAMILY = "tapetum.learn.self_supervision"
UNFREEZE = ("last", "all")
COLLAPSED = 0.1  # of a spread of 1, or of what the features had before
_SAMPLE = 64  # images that features are compared on before and after
_SIMPLER = "a smaller batch, unfreeze=last, or a smaller network"


@dataclass(frozen=True)
class SelfSupervisionConfig:
    """How towers are refined without labels.

    Args:
        objective: member of `learn/self_supervision`: `simclr`, `moco`, `dino`, `mae`, `gradient_masked`, or
            `knowledge_masked`, which alone reads words.
        epochs: passes over the images. batch: images per step; contrast needs many.
        learning_rate: peak for the tower. head_rate: peak for the fresh heads.
        weight_decay, clip_norm, ema: see `LoopSettings`.
        unfreeze: `last` = the last quarter of the tower's parameter tensors, `all` = every one.
        augment: specs of `learn/augment` joined by `+`; `own` = those of the objective, empty = none.
        keep: share of the images that are trained on, 0..1; below 1 `reduce` chooses them by the features of the towers
            as they are at first.
        reduce: see `less_redundant`.
        text: member of `learn/wording`, for objectives that read words.
        seed: of every random choice.
    """

    objective: str = "simclr"
    epochs: int = 10
    batch: int = 64
    learning_rate: float = 1e-4
    head_rate: float = 1e-3
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.0
    unfreeze: str = "all"
    augment: str = "own"
    keep: float = 1.0
    reduce: str = "spread"
    text: str = "findings"
    seed: int = 0


@dataclass(frozen=True)
class SelfSupervised:
    """Refined towers.

    Attributes:
        states: weights of each tower by its place, as `Model.towers` and `Embedder(states=…)` take them.
        log: per place what happened: losses, spread of the embeddings per epoch, features before and after.
        alarms: sentences that a person must read.
    """

    states: Mapping[int, Mapping[str, Tensor]]
    log: Mapping[str, Any]
    alarms: tuple[str, ...]


def self_supervise(
    archive: Archive,
    encoders: str | Embedder,
    config: SelfSupervisionConfig = SelfSupervisionConfig(),
    *,
    image_ids: Sequence[str] | None = None,
    saving: Saving | None = None,
    on_step: OnStep | None = None,
) -> SelfSupervised:
    """Refine each tower by a task that its images set themselves.

    Args:
        archive: whose pixels are decoded once and kept as squares. Its reports are read by `knowledge_masked` alone,
            its labels by none.
        encoders: specs joined by `+`, or towers with weights of their own, which are left as they are.
        config: how.
        image_ids: what to train on; None = the images of the training patients.
        saving: where the state of the run is kept, so that the same call goes on after a kill; one folder per tower.
        on_step: called after every step with its number, the number of all steps of all towers, loss and rate.

    Returns:
        The states, and what happened.

    Raises:
        UsageError: an unknown name or option, an encoder that the task cannot mask, or more memory than there is.
        DataError: fewer than two images, or a task with words and none in the reports.
        ArtefactError: the folder of `saving` holds a run of other data or settings.
    """
    if config.unfreeze not in UNFREEZE:
        raise UsageError(f"unfreeze={config.unfreeze!r}", " | ".join(UNFREEZE), "unfreeze=all")
    if min(config.epochs, config.batch) < 1 or not min(config.learning_rate, config.head_rate) > 0:
        raise UsageError(f"{config}", "epochs and batch of at least 1, rates above 0", "epochs=10 batch=64")
    objective = Family(FAMILY).build(config.objective)
    embedder = Embedder(encoders, backend="torch") if isinstance(encoders, str) else encoders
    ids = tuple(image_ids) if image_ids is not None else tuple(r.image_id for r in archive.in_split(Split.TRAIN))
    if config.keep != 1:
        rows = embed(archive, embedder, image_ids=ids).features
        chosen = less_redundant(rows, keep=config.keep, rule=config.reduce, rng=np.random.default_rng(config.seed))
        ids = tuple(ids[i] for i in chosen)
    if len(ids) < 2:
        raise DataError(f"{len(ids)} images to train on", "at least 2", "image_ids=… or another split")
    words = _words(archive, ids, config.text) if "words" in objective.NEEDS else None
    augment = objective.AUGMENT if config.augment == "own" else config.augment
    states: dict[int, Mapping[str, Tensor]] = {}
    log: dict[str, Any] = {}
    alarms: list[str] = []
    count = len(embedder.runners)
    for place, (runner, prepare, name) in enumerate(
        zip(embedder.runners, embedder.preprocess, embedder.names, strict=True)
    ):
        generator = torch.Generator().manual_seed(config.seed + place)
        task = objective.on(_free(runner.encoder, config.unfreeze), generator, words)
        loader = Loader(archive, prepare, ids, augment=augment, seed=config.seed)
        run, curve = _Tower(task, loader, objective.VIEWS, config), Curve()
        history = run.train(_for(saving, archive, config, augment, ids, place), curve, _offset(on_step, place, count))
        states[place] = {k: v.detach().clone().contiguous() for k, v in task.tower.state_dict().items()}
        told = {**run.told(history), "curve": curve.told()}
        log[str(place)] = {"encoder": name, "objective": config.objective, **told}
        alarms += [f"{name}: {sentence}" for sentence in run.alarms(history)]
    return SelfSupervised(states, log, tuple(alarms))


class _Watched(nn.Module):
    """A task with what it says of itself per epoch, which a checkpoint keeps."""

    told: Tensor

    def __init__(self, task: Pretext, epochs: int) -> None:
        super().__init__()
        self.task = task
        self.register_buffer("told", torch.zeros(epochs, 3, dtype=torch.float64))  # sums of spread and chance, steps

    def after(self, step: int, steps: int) -> None:
        """After a step that was taken."""
        self.task.settle(step, steps)
        epoch = step * len(self.told) // steps
        self.told[epoch] += torch.tensor([self.task.spread, self.task.chance, 1.0], dtype=torch.float64)

    def spread(self) -> list[float]:
        """The mean of each epoch that was reached; empty for tasks that cannot collapse to one point."""
        return [float(row[0] / row[2]) for row in self.told if row[2] and not row[0].isnan()]

    def chance(self) -> float:
        """The mean of the last epoch that was reached; NaN where none was."""
        means = [float(row[1] / row[2]) for row in self.told if row[2]]
        return means[-1] if means else math.nan


class _Tower:
    """One tower's run."""

    def __init__(self, task: Pretext, loader: Loader, views: int, config: SelfSupervisionConfig) -> None:
        self.task, self.loader, self.views, self.config = task, loader, views, config
        self.module = _Watched(task, config.epochs)
        self.rows = np.arange(len(loader.image_ids))
        self.settings = LoopSettings(
            config.epochs, config.batch, config.learning_rate, config.weight_decay, config.clip_norm, 0, config.ema
        )
        first = self._features()
        task.start(first)
        self.before = self.after = _rms_deviation(first)
        self.memory = self._memory()

    def train(self, saving: Saving | None, curve: Curve, on_step: OnStep | None) -> History:
        """Run the loop, which draws the curve; the task is left as it was trained."""
        config = self.config
        refuse_too_large(self.memory)

        def after(step: int, steps: int, loss: float, rate: float) -> None:
            self.module.after(step, steps)
            curve.step(step, steps, loss, rate)
            if on_step:
                on_step(step, steps, loss, rate)

        what = f"{config.objective} with a batch of {config.batch}"
        with out_of_memory_told(what, _SIMPLER):
            history = run_loop(
                self.module, self.loss_of, self.rows, self.rows[:0], self.settings, np.random.default_rng(config.seed),
                groups=self._groups(), on_step=after, saving=saving,
            )  # fmt: skip
        self.after = _rms_deviation(self._features())
        history.chance = self.module.chance()
        return history

    def loss_of(self, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        """Of these rows, each in as many views as the task takes."""
        views = tuple(_channels_last(self.loader(rows, epoch, view=view)) for view in range(self.views))
        return self.task.loss(views, rows, epoch)

    def told(self, history: History) -> dict[str, Any]:
        """What happened, for the log."""
        told = {
            **dataclasses.asdict(history), "line": history.line(), "images": len(self.rows),
            "spread": self.module.spread(), "features_std": {"before": self.before, "after": self.after},
            "memory": self.memory.line(), "settings": dataclasses.asdict(self.settings),
        }  # fmt: skip
        if history.bad_rows:
            told["bad_images"] = [self.loader.image_ids[row] for row in history.bad_rows]
        return told

    def alarms(self, history: History) -> list[str]:
        """Not finite, never left chance, or all images alike."""
        chance, history.chance = history.chance, math.nan  # the sentence on chance there speaks of pairs
        found = list(history.alarms())
        history.chance = chance
        finite = [loss for loss in history.train_loss if math.isfinite(loss)]
        if finite and finite[-1] > LEFT_CHANCE * chance:
            found.append(
                f"the loss of {self.config.objective} did not leave chance: last {finite[-1]:.3f}, chance "
                f"{chance:.3f}; the epochs may be too few or the rates too low"
            )
        spread, after = self.module.spread(), self.after
        if spread and spread[-1] < COLLAPSED:
            found.append(
                f"the embeddings of {self.config.objective} collapsed: spread {spread[-1]:.3f} in the last epoch, "
                f"below {COLLAPSED}; lower head_rate, or a larger batch"
            )
        if after < COLLAPSED * self.before:
            found.append(
                f"the features collapsed: their standard deviation fell from {self.before:.3g} to {after:.3g}, below "
                f"{COLLAPSED} of what it was; keep the tower as it was, or lower learning_rate"
            )
        return found

    @torch.no_grad()
    def _features(self) -> Float[Tensor, "n d"]:
        """Of some images, as they are, spread over all rows."""
        some = np.unique(np.linspace(0, len(self.rows) - 1, _SAMPLE).astype(int))
        return self.task.encoder(_channels_last(self.loader(self.rows[some])))

    def _groups(self) -> list[ParameterGroup]:
        tower = [p for p in self.task.tower.parameters() if p.requires_grad]
        own = {id(p) for p in tower}
        heads = [p for p in self.task.parameters() if p.requires_grad and id(p) not in own]
        return [ParameterGroup(tower), ParameterGroup(heads, rate=self.config.head_rate / self.config.learning_rate)]

    def _memory(self) -> MemoryEstimate:
        """What a step will take, judged by one image."""
        one = activation_bytes(lambda: self.loss_of(self.rows[:1], 0))
        batch = min(self.config.batch, len(self.rows))
        inputs = 4 * 3 * self.loader.preprocess.size**2 * self.views
        return memory_estimate(
            self.module, batch * inputs, activations=batch * one, average=self.config.ema > 0, held_out=False
        )


def _channels_last(images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
    return images.contiguous(memory_format=torch.channels_last)


def _rms_deviation(features: Float[Tensor, "n d"]) -> float:
    """Root mean square over the columns of the standard deviation over the images."""
    return float(features.double().var(0, correction=0).mean().sqrt())


def _free(encoder: Encoder, unfreeze: str) -> Encoder:
    """A copy of the tower with gradients on, in evaluation mode: batch statistics of a few images mislead."""
    copied = copy.deepcopy(encoder)
    # Channels last: convolutions then take three quarters of the time on a CPU.
    module = cast(nn.Module, copied).eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    parameters = list(module.parameters())
    first = 0 if unfreeze == "all" else len(parameters) * 3 // 4
    for i, parameter in enumerate(parameters):
        parameter.requires_grad_(i >= first)
    return copied


def _words(archive: Archive, ids: Sequence[str], text: str) -> Words:
    """What stands for each image in words, numbered."""
    from tapetum.learn.pairing.pairs import pack_of
    from tapetum.learn.pairing.texts import first_text, wording_of

    pack, wording = pack_of(archive), wording_of(text)
    words = words_of([first_text(wording(archive.record(i), pack)) for i in ids])
    if not words.vocabulary:
        raise DataError(f"no image of {archive.name} has a text (text={text})", "reports", "objective=mae, or text=…")
    return words


def _for(
    saving: Saving | None, archive: Archive, config: SelfSupervisionConfig, augment: str, ids: Sequence[str], place: int
) -> Saving | None:
    """A run goes on only with the same images, changed in the same way, and the same task."""
    if saving is None:
        return None
    images = hashlib.sha256("\0".join(ids).encode()).hexdigest()[:16]
    data = f"{archive.digest} {images} {config} {augment}"
    return dataclasses.replace(saving, folder=saving.folder / f"tower-{place}", data=f"{saving.data} {data}".strip())


def _offset(on_step: OnStep | None, place: int, count: int) -> OnStep | None:
    """Steps counted over all towers."""
    if on_step is None:
        return None
    return lambda step, steps, loss, rate: on_step(place * steps + step, count * steps, loss, rate)
