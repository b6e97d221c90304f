"""From labels to a tuned network: the same loop, with a linear head on the towers' pooled features.

The head starts from a linear probe on the frozen features, so that training begins where the closed form ends; what the
tuner adds is kept only where patients that were held out inside the training set are better predicted by it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Embeddings
from tapetum.learn.features.embed import ImageSource
from tapetum.learn.features.runtime import core_count
from tapetum.learn.training.checkpoint import Saving
from tapetum.learn.training.history import LEFT_CHANCE, History
from tapetum.learn.training.loop import run_loop
from tapetum.learn.training.memory import MemoryEstimate, free_memory
from tapetum.learn.training.out_of_memory import out_of_memory_told
from tapetum.learn.training.runlog import UNWATCHED, Curve, Watch
from tapetum.learn.tuning.attach import trainable
from tapetum.learn.tuning.delta import Delta, taken
from tapetum.learn.tuning.run import STARTS, Goal, TuneConfig, TuningRun
from tapetum.nets import Encoder

HEAD = "logistic()"  # the adapter whose state a trained head has


@dataclass(frozen=True)
class Tuned:
    """A tuned network and its head.

    Attributes:
        deltas: what PEFT tuners learned, by the place of the encoder. towers: whole weights, from the others.
        head: state of the adapter `logistic`, on the tuned towers' pooled features.
        history: of the loop. log: what was chosen and how well it did. alarms: sentences that a person must read.
    """

    deltas: Mapping[int, Delta]
    towers: Mapping[int, Mapping[str, Tensor]]
    head: Mapping[str, np.ndarray]
    history: History
    log: Mapping[str, Any]
    alarms: tuple[str, ...]


def tune(
    archive: ImageSource,
    rows: Embeddings,
    labels: Float[np.ndarray, "n k"],
    config: TuneConfig,
    *,
    findings: Sequence[str] = (),
    states: Mapping[int, Mapping[str, Tensor]] = MappingProxyType({}),
    beside: Path | None = None,
    saving: Saving | None = None,
    watch: Watch = UNWATCHED,
    goal: Goal | None = None,
) -> Tuned:
    """Train what the tuner sets free, and a linear head, on labelled images.

    Args:
        archive: where the pixels come from.
        rows: features of the training images from the frozen towers; they name towers, images and patients.
        labels: 0, 1, NaN unknown (left out of the loss).
        config: how.
        findings: names of the columns, for messages.
        states: weights of towers that were trained before, as in `Model.towers`.
        beside: folder for the batch whose loss is not finite; None = the archive's cache.
        saving: where the state of the run is kept.
        watch: who looks on.
        goal: the loss of some rows' logits in place of the labels' cross-entropy; the head still starts from labels.

    Returns:
        Deltas or towers, and the head.

    Raises:
        DataError: a finding with one class only, or a loss that is not finite (the batch is named and saved).
        UsageError: an option out of range, a tuner that does not fit a tower, or memory ran out.
    """
    _refuse_options(config)
    _refuse_one_class(labels, findings)
    run = TuningRun.prepared(archive, rows, labels, config, states, goal)
    need = run.memory()
    _warn_of_memory(need, config, run.size)
    curve = Curve()
    watch = watch.plus(curve).stage(f"tuning with {config.tuner}")
    with torch_threads(config.threads or core_count()), out_of_memory_told(
        f"{config.tuner} on {rows.encoder} with batch={config.batch} at {run.size} px",
        f"batch={max(1, config.batch // 2)}, encoders=… of a smaller size, or tuner=last(share=0.1)",
    ):  # fmt: skip
        start = run.start_loss()
        before = {name: p.detach().clone() for name, p in run.module.named_parameters() if p.requires_grad}
        history = run_loop(
            run.module, run.loss_of, run.train, run.held, run.settings, np.random.default_rng((config.seed, 1)),
            groups=run.groups, saving=saving, on_step=watch.on_step, on_epoch=watch.on_epoch,
        )  # fmt: skip
    if history.bad_rows:
        _refuse_batch(run, history, beside or archive.cache / "tune", config)
    history.chance, history.held_chance = run.chance(run.train), run.chance(run.held)
    alarms = (*_alarms(history), *_kept(run, before, history, start))
    return _result(run, history, start, need, curve, alarms)


def _result(
    run: TuningRun, history: History, start: float, need: MemoryEstimate, curve: Curve, alarms: tuple[str, ...]
) -> Tuned:
    """What is kept."""
    parts = [(i, cast(Encoder, t), base) for i, t, base in zip(run.places, run.towers, run.bases, strict=True)]
    peft = run.tuner.PEFT
    deltas = {i: taken(tower, run.tuner_spec, *base) for i, tower, base in parts} if peft else {}
    towers = {} if peft else {i: _copied(tower.state_dict()) for i, tower, _ in parts}
    trained = sum(p.numel() for _, tower, _ in parts for p in trainable(tower).values())
    log = {
        **dataclasses.asdict(history), "line": history.line(), "start_loss": start, "pairs": len(run.labels),
        "trained": trained, "head": run.head.weight.numel() + run.head.bias.numel(), "frozen": run.frozen,
        "delta_bytes": sum(d.size for d in deltas.values()), "memory_bytes": need.total,
        "memory": need.line(), "curve": curve.told(), "settings": dataclasses.asdict(run.settings),
    }  # fmt: skip
    return Tuned(deltas, towers, run.head.plain(), history, log, alarms)


def _alarms(history: History) -> list[str]:
    best, chance = min([*history.held_loss, *history.average_loss], default=float("nan")), history.held_chance
    if best > LEFT_CHANCE * chance:
        return [
            f"the held-out loss did not leave chance: best {best:.3f}, base rates alone {chance:.3f}; labels may stand "
            "with the wrong images, or be too few"
        ]
    return []


def _kept(run: TuningRun, before: Mapping[str, Tensor], history: History, start: float) -> list[str]:
    """What was learned is kept where it is better than the start; else an alarm."""
    best = min([*history.held_loss, *history.average_loss], default=-np.inf)
    if best < start:
        return []
    _put_back(run, before, history)
    return [
        f"{run.config.tuner} did not lower the held-out loss (start {start:.4f}, best {best:.4f}): the start is kept; "
        "more images, another learning_rate or another tuner may help"
    ]


def _put_back(run: TuningRun, before: Mapping[str, Tensor], history: History) -> None:
    """What was trained, as it was before the first step."""
    with torch.no_grad():
        for name, parameter in run.module.named_parameters():
            if name in before:
                parameter.copy_(before[name])
    history.best_epoch = -1


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def _refuse_options(config: TuneConfig) -> None:
    if not 0 <= config.held_out <= 0.5:
        raise UsageError(f"held_out={config.held_out}", "a share of the patients, 0 to 0.5", "held_out=0.15")
    if config.start not in STARTS:
        raise UsageError(f"start={config.start!r}", " | ".join(STARTS), "start=probe")
    if not 0 <= config.ema < 1:
        raise UsageError(f"ema={config.ema}", "a decay from 0 (none) to below 1", "ema=0.99")
    if config.epochs < 1 or config.batch < 1 or config.learning_rate < 0 or config.head_rate <= 0:
        raise UsageError(
            f"epochs={config.epochs}, batch={config.batch}, learning_rate={config.learning_rate}, "
            f"head_rate={config.head_rate}",
            "epochs and batch at least 1, learning_rate 0 or more, head_rate above 0",
        )  # fmt: skip


def _refuse_one_class(labels: Float[np.ndarray, "n k"], findings: Sequence[str]) -> None:
    for column in range(labels.shape[1]):
        positives, negatives = int((labels[:, column] == 1).sum()), int((labels[:, column] == 0).sum())
        if not positives or not negatives:
            name = findings[column] if findings else f"finding {column}"
            raise DataError(
                f"{name!r} has {positives} positive and {negatives} negative training images",
                "at least one of each", "findings=… without it",
            )  # fmt: skip


def _refuse_batch(run: TuningRun, history: History, folder: Path, config: TuneConfig) -> None:
    """Name the batch that broke the training, and keep what the network saw of it."""
    rows = np.array(history.bad_rows)
    ids = [run.rows.image_ids[i] for i in rows]
    epoch = len(history.train_loss) - 1
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "bad_batch.npz"
    arrays = {f"input_{i}": loader(rows, epoch).numpy() for i, loader in enumerate(run.loaders)}
    arrays |= {"image_ids": np.array(ids), "labels": run.labels[rows], "epoch": np.array(epoch)}
    np.savez(file, allow_pickle=False, **arrays)
    raise DataError(
        f"loss or gradient is not finite at step {history.bad_step} (epoch {epoch + 1}); the batch of {len(ids)} "
        f"images ({', '.join(i[:12] for i in ids[:4])} …) is saved to {file}",
        "finite numbers; look at these images and labels",
        f"learning_rate={run.settings.learning_rate / 10:g}, or leave the images out",
    )


def _warn_of_memory(need: MemoryEstimate, config: TuneConfig, size: int) -> None:
    free = free_memory()
    if free and need.total - need.weights > free:  # the weights are there already
        warnings.warn(
            f"{config.tuner} with batch={config.batch} at {size} px needs about {need.line()}; {free / 1e9:.2f} GB are "
            "free: lower batch or size, or take another tuner",
            RuntimeWarning, stacklevel=3,
        )  # fmt: skip


@contextlib.contextmanager
def torch_threads(threads: int) -> Generator[None]:
    """Use so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
