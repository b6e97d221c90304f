"""What a training run was told to do and what it says of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

LEFT_CHANCE = 0.98


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast.

    Args:
        epochs: passes over the training rows. batch: rows per step, at most (see `batches`).
        learning_rate: the peak of a linear warm-up (5 % of the steps) and cosine decay.
        weight_decay: AdamW's, decoupled; of matrices only, not of offsets. clip_norm: largest gradient norm.
        patience: epochs without a better held-out loss before stopping, 0 = never stop.
        ema: decay per step of a moving average of the weights, 0..1; 0 = none. The average is kept where it is better
            on held-out rows, and where nothing is held out.
        parallel: `""` = one process, `ddp`, `fsdp` or `after` = those that `torchrun` started (`training/parallel.py`).
        bf16: compute in bfloat16 where torch says that the hardware has it; refused elsewhere.
    """

    epochs: int = 40
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    patience: int = 8
    ema: float = 0.0
    parallel: str = ""
    bf16: bool = False


@dataclass
class History:
    """Mean losses per epoch, in nats per example, and the epoch that was kept.

    Attributes:
        chance, held_chance: the loss of a model that knows nothing, on training and on held-out batches; NaN if untold.
        best_epoch: the one kept, from 0; -1 where nothing was held out.
        average_loss: held-out losses of the moving average, where there is one. averaged: it is what was kept.
        bad_step: the step, from 0, whose loss or gradient was not finite; -1 = none. bad_rows: its row numbers.
    """

    train_loss: list[float] = field(default_factory=list[float])
    held_loss: list[float] = field(default_factory=list[float])
    chance: float = float("nan")
    held_chance: float = float("nan")
    best_epoch: int = -1
    average_loss: list[float] = field(default_factory=list[float])
    averaged: bool = False
    bad_step: int = -1
    bad_rows: list[int] = field(default_factory=list[int])

    def alarms(self) -> tuple[str, ...]:
        """A sentence where the loss is not finite or never left chance.

        Judged on held-out patients where there are any: with more features than images, the training loss leaves chance
        on labels that mean nothing.
        """
        found: list[str] = []
        if not all(math.isfinite(loss) for loss in self.train_loss) or not self.train_loss:
            where = f": step {self.bad_step}, rows {_few(self.bad_rows)}" if self.bad_step >= 0 else ""
            found.append(f"the loss is not finite after {len(self.train_loss)} epochs{where}: lower learning_rate")
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
            kept = self.average_loss if self.averaged else self.held_loss
            best, epoch = kept[self.best_epoch], self.best_epoch + 1
            text += f", held-out {best:.3f} at epoch {epoch} (chance {self.held_chance:.3f})"
        return text + (", moving average kept" if self.averaged else "")


def _few(rows: list[int]) -> str:
    return ", ".join(map(str, rows[:8])) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
