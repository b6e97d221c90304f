"""How a classifier is taught: what varies between methods, and the pace that all of them share."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, Spec
from tapetum.learn.training.history import LoopSettings

LOSSES = Family("tapetum.learn.losses")


@dataclass(frozen=True)
class Pace:
    """How long and how fast; equal for all methods of a table, so that none was tuned with another budget.

    Args:
        epochs: passes over the training rows. batch: rows per step. learning_rate: peak. weight_decay: of matrices.
        offset_rate: multiplies the learning rate of what is added to units and logits. Features are standardised, so
            that offsets alone can say how common a class is: they have farther to go than weights.
    """

    epochs: int = 30
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    offset_rate: float = 1.0

    def settings(self, ema: float = 0.0) -> LoopSettings:
        """For the loop: no early stopping, the last epoch stays."""
        return LoopSettings(
            self.epochs, self.batch, self.learning_rate, self.weight_decay, clip_norm=10.0, patience=0, ema=ema
        )


@dataclass(frozen=True)
class Plan:
    """One stage of training, put together from members of families; `""` leaves a part out.

    Args:
        loss: of `learn/losses`. late_loss: takes its place after `late` of the epochs.
        sampler: of `learn/rebalancing`: the rows of an epoch. late_sampler: takes its place after `late`.
        late: share of the epochs, 0..1.
        augment: of `learn/augment`, joined by `+`: changes of pictures, after those that all methods have.
        mixing: of `learn/mixing`: rows that are blended with others.
        compactness: of `learn/compactness`: how rows of a class lie together, added to the loss.
        invariance: of `learn/invariance`: how domains differ, added to the loss after `penalty_from` of the epochs.
        head: of `nets/heads`.
        ema: decay per step of a moving average of the weights, which is what is kept; 0 = the last weights.
        sharpness: radius of sharpness-aware minimisation, 0 = none.
    """

    loss: str = "cross_entropy"
    late_loss: str = ""
    sampler: str = ""
    late_sampler: str = ""
    late: float = 0.8
    augment: str = ""
    mixing: str = ""
    compactness: str = ""
    invariance: str = ""
    penalty_from: float = 0.0
    head: str = "linear"
    ema: float = 0.0
    sharpness: float = 0.0

    def loss_at(self, share: float) -> str:
        """The loss after this share of the epochs."""
        return self.late_loss if self.late_loss and share >= self.late else self.loss

    def sampler_at(self, share: float) -> str:
        """The sampler after this share of the epochs."""
        return self.late_sampler if self.late_sampler and share >= self.late else self.sampler

    def refuse_labels(self, exclusive: bool) -> None:
        """A loss takes classes or findings, never both.

        Raises:
            UsageError: one of the losses takes the other kind of labels, or an unknown name.
        """
        for spec in filter(None, (self.loss, self.late_loss)):
            member = LOSSES.member(Spec.parse(spec).name)
            if ("b k" not in str(inspect.signature(member).parameters["labels"].annotation)) != exclusive:
                found, wanted = ("one class each", "findings") if exclusive else ("findings", "one class each")
                raise UsageError(f"{spec} on labels that are {found}", f"a loss of {wanted.replace('findings', found)}")
