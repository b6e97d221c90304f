"""The one training loop: what happens in what order, readable at once.

A loop knows a module, batches of row numbers and a function that gives one loss per example. Whether a row number stands for a
cached feature or for an image that is decoded and sent through a network is the business of that function.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast.

    Args:
        epochs: passes over the training rows. batch: rows per step.
        learning_rate: the peak of a linear warm-up (5 % of the steps) and cosine decay. weight_decay: AdamW's, decoupled.
        clip_norm: largest gradient norm. patience: epochs without a better held-out loss before stopping, 0 = never stop.
    """

    epochs: int = 40
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    patience: int = 8


@dataclass
class History:
    """Mean losses per epoch, in nats per example, and the epoch that was kept."""

    train_loss: list[float] = field(default_factory=list[float])
    held_loss: list[float] = field(default_factory=list[float])
    chance: float = float("nan")
    best_epoch: int = -1

    def alarms(self) -> tuple[str, ...]:
        """A sentence where the loss is not finite or never left chance."""
        if not self.train_loss or not math.isfinite(self.train_loss[-1]):
            return (f"the loss is not finite after {len(self.train_loss)} epochs: lower learning_rate",)
        if math.isfinite(self.chance) and min(self.train_loss) > 0.98 * self.chance:
            return (
                f"the loss did not leave chance: best {min(self.train_loss):.3f}, chance {self.chance:.3f}; "
                "image and text may be paired wrongly, or learning_rate is too low",
            )
        return ()

    def line(self) -> str:
        """One line for a person: where the loss began, where chance is, where it ended."""
        held = f", held-out {min(self.held_loss):.3f} at epoch {self.best_epoch + 1}" if self.held_loss else ""
        return (
            f"loss {self.train_loss[0]:.3f} → {self.train_loss[-1]:.3f} in {len(self.train_loss)} epochs{held}; "
            f"chance {self.chance:.3f}"
        )


LossOf = Callable[[np.ndarray], Float[Tensor, "b"]]


def batches(rows: np.ndarray, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The rows in a fresh order; a last batch under half the size is left out, since its loss is another quantity."""
    order = rng.permutation(rows)
    for start in range(0, len(order), size):
        block = order[start : start + size]
        if len(block) * 2 >= min(size, len(order)):
            yield block


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
    train: np.ndarray,
    held: np.ndarray,
    settings: LoopSettings,
    rng: np.random.Generator,
    *,
    on_epoch: Callable[[int, History], None] | None = None,
) -> History:
    """Train the module's parameters that require a gradient; leaves it at the epoch with the best held-out loss.

    Args:
        loss_of: row numbers → loss per example, in nats, lower is better.
        train, held: row numbers; `held` may be empty (then the last epoch stays).
        rng: orders the batches.

    Returns:
        The history; `chance` is left to the caller, who knows the loss.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    decayed = [p for p in parameters if p.ndim > 1]
    plain = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.learning_rate)
    steps = settings.epochs * max(1, math.ceil(len(train) / settings.batch))
    history, best, step = History(), None, 0
    for epoch in range(settings.epochs):
        total, seen = 0.0, 0
        for rows in batches(train, settings.batch, rng):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate_at(step, steps, settings.learning_rate)
            optimiser.zero_grad(set_to_none=True)
            loss = loss_of(rows)
            loss.mean().backward()
            nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimiser.step()
            total, seen, step = total + float(loss.detach().sum()), seen + len(rows), step + 1
        history.train_loss.append(total / max(1, seen))
        if len(held):
            history.held_loss.append(held_out_loss(loss_of, held, settings.batch))
            if history.held_loss[-1] <= min(history.held_loss):
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
def held_out_loss(loss_of: LossOf, held: np.ndarray, size: int) -> float:
    """Mean loss over fixed batches of held-out rows."""
    losses = [loss_of(held[start : start + size]) for start in range(0, len(held), size)]
    return float(torch.cat(losses).mean())
