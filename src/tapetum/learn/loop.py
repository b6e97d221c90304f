"""The one training loop: what happens in what order, readable at once.

A loop knows a module, batches of row numbers and a function that gives one loss per example. Whether a row number
stands for a cached feature or for an image that is decoded and sent through a network is the business of that function.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import DataError


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast.

    Args:
        epochs: passes over the training rows. batch: rows per step, at most (see `batches`).
        learning_rate: the peak of a linear warm-up (5 % of the steps) and cosine decay.
        weight_decay: AdamW's, decoupled; of matrices only, not of offsets. clip_norm: largest gradient norm.
        patience: epochs without a better held-out loss before stopping, 0 = never stop.
    """

    epochs: int = 40
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    patience: int = 8


@dataclass
class History:
    """Mean losses per epoch, in nats per example, and the epoch that was kept.

    Attributes:
        chance, held_chance: the loss of a model that knows nothing, on training and on held-out batches; NaN if untold.
        best_epoch: the one kept, from 0; -1 where nothing was held out.
    """

    train_loss: list[float] = field(default_factory=list[float])
    held_loss: list[float] = field(default_factory=list[float])
    chance: float = float("nan")
    held_chance: float = float("nan")
    best_epoch: int = -1

    def alarms(self) -> tuple[str, ...]:
        """A sentence where the loss is not finite or never left chance.

        Judged on held-out patients where there are any: with more features than images, the training loss leaves chance
        on labels that mean nothing.
        """
        found: list[str] = []
        if not all(math.isfinite(loss) for loss in self.train_loss) or not self.train_loss:
            found.append(f"the loss is not finite after {len(self.train_loss)} epochs: lower learning_rate")
        finite = [loss for loss in self.held_loss or self.train_loss if math.isfinite(loss)]
        chance, whose = (self.held_chance, "held-out ") if self.held_loss else (self.chance, "")
        if finite and math.isfinite(chance) and min(finite) > LEFT_CHANCE * chance:
            found.append(
                f"the {whose}loss did not leave chance: best {min(finite):.3f}, chance {chance:.3f}; "
                "image and text may be paired wrongly, the pairs too few, or learning_rate too low"
            )
        return tuple(found)

    def line(self) -> str:
        """One line for a person: where the loss began, where it ended, and where chance is."""
        if not self.train_loss:
            return "nothing was trained"
        first, last = self.train_loss[0], self.train_loss[-1]
        text = f"loss {first:.3f} → {last:.3f} in {len(self.train_loss)} epochs (chance {self.chance:.3f})"
        if self.best_epoch >= 0:
            best, epoch = self.held_loss[self.best_epoch], self.best_epoch + 1
            text += f", held-out {best:.3f} at epoch {epoch} (chance {self.held_chance:.3f})"
        return text


LEFT_CHANCE = 0.98
LossOf = Callable[[np.ndarray], Float[Tensor, "b"]]


def batches(rows: Int[np.ndarray, "n"], size: int) -> list[Int[np.ndarray, "b"]]:
    """Every row once, in as few batches of at most `size` rows as will do, equal in size up to one row.

    Equal, since a contrastive loss grows with the batch: the mean over unequal ones could not be compared with chance.

    Example:
        >>> [len(b) for b in batches(np.arange(10), 4)]
        [4, 3, 3]
    """
    return np.array_split(rows, math.ceil(len(rows) / size)) if len(rows) else []


def learning_rate_at(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 5 % of the steps, then half a cosine to 0.

    Example:
        >>> [round(learning_rate_at(s, 100, 1.0), 2) for s in (0, 4, 52, 99)]
        [0.2, 1.0, 0.51, 0.0]
    """
    warm = max(1, steps // 20)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def run_loop(
    module: nn.Module,
    loss_of: LossOf,
    train: Int[np.ndarray, "n"],
    held: Int[np.ndarray, "m"],
    settings: LoopSettings,
    rng: np.random.Generator,
    *,
    on_epoch: Callable[[int, History], None] | None = None,
) -> History:
    """Train the module's parameters that require a gradient; leaves it at the epoch with the best held-out loss.

    A step whose loss or gradient is not finite is not taken: training ends there, and the history says so.

    Args:
        module: what is trained.
        settings: how long and how fast.
        loss_of: row numbers → loss per example, in nats, lower is better.
        train: row numbers.
        held: those for stopping; may be empty (then the last epoch stays).
        rng: orders the batches.
        on_epoch: called after every epoch.

    Returns:
        The history; both chances are left to the caller, who knows the loss.

    Raises:
        DataError: no training rows.
    """
    if not len(train):
        raise DataError("no rows to train on", "at least one", "held_out=0 if there is one patient only")
    parameters = [p for p in module.parameters() if p.requires_grad]
    optimiser = _optimiser(parameters, settings)
    steps = settings.epochs * len(batches(train, settings.batch))
    history, best, step = History(), None, 0
    for epoch in range(settings.epochs):
        total = 0.0
        for rows in batches(rng.permutation(train), settings.batch):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(step, steps, settings.learning_rate)
            loss = _step(optimiser, parameters, loss_of(rows), settings.clip_norm)
            total, step = total + loss * len(rows), step + 1
            if not math.isfinite(loss):
                break
        history.train_loss.append(total / len(train))
        if len(held):
            history.held_loss.append(held_out_loss(loss_of, held, settings.batch))
            known = [loss for loss in history.held_loss if math.isfinite(loss)]
            if known and history.held_loss[-1] == min(known):
                history.best_epoch, best = epoch, copy.deepcopy(module.state_dict())
        if on_epoch:
            on_epoch(epoch, history)
        if not math.isfinite(history.train_loss[-1]):
            break
        if len(held) and settings.patience and epoch - history.best_epoch >= settings.patience:
            break
    if best is not None:
        module.load_state_dict(best)
    return history


@torch.no_grad()
def held_out_loss(loss_of: LossOf, held: Int[np.ndarray, "n"], size: int) -> float:
    """Mean loss over fixed batches of held-out rows."""
    return float(torch.cat([loss_of(rows) for rows in batches(held, size)]).mean())


def _optimiser(parameters: list[nn.Parameter], settings: LoopSettings) -> torch.optim.Optimizer:
    """AdamW that decays matrices only: scales and offsets have no size to keep small."""
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate)


def _step(optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], losses: Tensor, clip_norm: float) -> float:
    """One step; the mean loss, NaN where loss or gradient is not finite, and then nothing moves."""
    loss = losses.mean()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, clip_norm)
    if not (math.isfinite(float(loss.detach())) and math.isfinite(float(norm))):
        return float("nan")
    optimiser.step()
    return float(loss.detach())
