"""The one training loop: what happens in what order, readable at once.

A loop knows a module, batches of row numbers and a function that gives one loss per example. Whether a row number
stands for a cached feature or for an image that is decoded and sent through a network is the business of that function.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from tapetum.core.errors import DataError
from tapetum.learn.training.begin import begun
from tapetum.learn.training.checkpoint import Run, Saver, Saving
from tapetum.learn.training.history import History, LoopSettings
from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.training.parallel import ALONE, LossOf, World, whole
from tapetum.learn.training.schedule import batches, learning_rate_at

HELD_OUT = -1  # the epoch that a loss is told for held-out rows: no augmentation
OnStep = Callable[[int, int, float, float], None]
Order = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def run_loop(
    module: nn.Module,
    loss_of: LossOf,
    train: Int[np.ndarray, "n"],
    held: Int[np.ndarray, "m"],
    settings: LoopSettings,
    rng: np.random.Generator,
    *,
    groups: Sequence[ParameterGroup] | None = None,
    order: Order | None = None,
    on_epoch: Callable[[int, History], None] | None = None,
    on_step: OnStep | None = None,
    saving: Saving | None = None,
) -> History:
    """Train the module's parameters that require a gradient; leaves it at the epoch with the best held-out loss.

    A step whose loss or gradient is not finite is not taken: training ends there, and the history names its rows.

    Args:
        module: what is trained.
        settings: how long and how fast.
        loss_of: row numbers and the epoch, −1 for held-out rows → loss per example, in nats, lower is better.
        train: row numbers.
        held: those for stopping; may be empty (then the last epoch stays).
        rng: orders the batches.
        groups: parameters with a pace of their own; together every one that requires a gradient. None = one pace.
        order: training rows and `rng` → those of one epoch, as `batches` will cut them. None = all, mixed.
        on_epoch: called after every epoch.
        on_step: called after every step with its number from 0, the number of all steps, loss and learning rate.
        saving: where the state of the run is kept, so that the same call goes on after a kill.

    Returns:
        The history; both chances are left to the caller, who knows the loss.

    Raises:
        DataError: no training rows. ArtefactError: the folder of `saving` holds a run of other data or settings.
        UsageError: a trainable parameter in no group or in two; bf16 without the hardware, parallel without torchrun.
    """
    if not len(train):
        raise DataError("no rows to train on", "at least one", "held_out=0 if there is one patient only")
    run, call, world, saver = begun(module, loss_of, train, held, settings, rng, groups, saving)
    while run.epoch < settings.epochs and not run.finished:
        if run.order is None:
            run.order = world.same(order(train, run.rng) if order else run.rng.permutation(train))
        _train_epoch(run, call, run.order, settings, world, on_step, saver)
        if len(held):
            _compare(run, call, held, settings.batch, world)
        if on_epoch:
            on_epoch(run.epoch, run.history)
        run.finished = _ends(run.epoch, run.history, settings)
        run.next_epoch()
    _end(run, saver, len(held) > 0)
    world.join(call)
    return run.history


def _end(run: Run, saver: Saver | None, judged: bool) -> None:
    """Keep what was best, or the moving average where nothing could be judged."""
    if saver and run.history.bad_step < 0:
        run.finished = True
        saver.write()
    if run.best is not None:
        run.module.load_state_dict(dict(run.best))
    elif run.average and not judged:
        run.average.keep()
        run.history.averaged = True


def _train_epoch(
    run: Run,
    call: LossOf,
    order: Int[np.ndarray, "n"],
    settings: LoopSettings,
    world: World,
    on_step: OnStep | None,
    saver: Saver | None,
) -> None:
    """What is left of one epoch; a step that is not finite ends it."""
    parts = batches(order, settings.batch)
    steps = settings.epochs * len(parts)
    for rows in parts[run.batch :]:
        rate = learning_rate_at(run.step, steps, settings.learning_rate)
        loss = _step(run, call, rows, rate, settings, world)
        if not math.isfinite(loss):
            run.history.bad_step, run.history.bad_rows = run.step, rows.tolist()
            run.total = loss
            if saver:
                saver.bad_batch()
            break
        if run.average:
            run.average.update(run.step)
        run.step, run.batch, run.total = run.step + 1, run.batch + 1, run.total + loss * len(rows)
        if on_step:
            on_step(run.step - 1, steps, loss, rate)
        if saver:
            saver.after_step()
    run.history.train_loss.append(run.total / len(order))


def _step(
    run: Run, call: LossOf, rows: Int[np.ndarray, "b"], rate: float, settings: LoopSettings, world: World
) -> float:
    """One step; the mean loss, NaN where loss or gradient is not finite, and then nothing moves."""
    for group in run.optimiser.param_groups:
        group["lr"] = rate * group["pace"]
    with _precision(run.module, settings):
        loss = world.mean(call(world.part(rows), run.epoch), len(rows))
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in run.optimiser.param_groups for p in group["params"]]
    world.settle(parameters)
    norm = whole(nn.utils.clip_grad_norm_(parameters, settings.clip_norm))
    # The one place of a step that waits for the device.
    value = world.number(loss)
    if not (math.isfinite(value) and math.isfinite(float(norm))):
        return float("nan")
    run.optimiser.step()
    return value


@torch.no_grad()
def held_out_loss(loss_of: LossOf, held: Int[np.ndarray, "n"], size: int, world: World = ALONE) -> float:
    """Mean loss over fixed batches of held-out rows."""
    losses = torch.cat([loss_of(world.part(rows), HELD_OUT) for rows in batches(held, size)])
    return world.number(world.mean(losses, len(held)))


def _compare(run: Run, call: LossOf, held: Int[np.ndarray, "n"], size: int, world: World) -> None:
    """Judge weights and moving average on held-out rows, and copy what is the best so far."""
    history = run.history
    history.held_loss.append(held_out_loss(call, held, size, world))
    if run.average:
        with run.average.in_place():
            history.average_loss.append(held_out_loss(call, held, size, world))
    known = [loss for loss in (*history.held_loss, *history.average_loss) if math.isfinite(loss)]
    least = min(known, default=float("nan"))
    if history.held_loss[-1] == least:
        history.best_epoch, history.averaged = run.epoch, False
        run.best = copy.deepcopy(run.module.state_dict())
    elif run.average and history.average_loss[-1] == least:
        history.best_epoch, history.averaged = run.epoch, True
        with run.average.in_place():
            run.best = copy.deepcopy(run.module.state_dict())


def _ends(epoch: int, history: History, settings: LoopSettings) -> bool:
    """Whether training ends before its time: something is not finite, or nothing became better for long."""
    waited = bool(history.held_loss and settings.patience) and epoch - history.best_epoch >= settings.patience
    return waited or not math.isfinite(history.train_loss[-1])


def _precision(module: nn.Module, settings: LoopSettings) -> contextlib.AbstractContextManager[Any]:
    if not settings.bf16:
        return contextlib.nullcontext()
    return torch.autocast(next(module.parameters()).device.type, torch.bfloat16)
