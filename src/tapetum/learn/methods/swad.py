"""SWAD: the mean of all weights along the way, from where the loss settles to where it rises again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.learn.fitting.ridge import patient_folds

__all__ = ["Swad"]

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Swad:
    """One stage; patients that it holds out itself say from when to when the weights are averaged.

    Args:
        settled: judgements after the best one so far that do not better it: there averaging begins, at the best.
        patience: judgements in a row above `tolerance` times the mean loss of the first ones averaged: there it ends.
        tolerance: above 1.
        folds: one of so many patient folds is held out, at least 2.
        loss: of `learn/losses`. head: of `nets/heads`.

    Source: Cha et al., NeurIPS 2021, arXiv 2102.08604, algorithm 1. Differs: the loss is judged once an epoch, the
    weights averaged at every step; AdamW with a falling rate.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()
    settled: int = 3
    patience: int = 6
    tolerance: float = 1.3
    folds: int = 5
    loss: str = "cross_entropy"
    head: str = "linear"

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        Plan(self.loss).refuse_labels(taught.exclusive)
        if self.settled < 1 or self.patience < 1 or self.tolerance <= 1 or self.folds < 2:
            found = f"settled={self.settled}, patience={self.patience}, tolerance={self.tolerance}, folds={self.folds}"
            raise UsageError(found, "1, 1, above 1, and 2 at least")
        fold = patient_folds(taught.groups, self.folds, rng)
        held = np.flatnonzero(fold == 0)
        part = taught.only(np.flatnonzero(fold != 0)) if len(set(fold.tolist())) > 1 else taught
        network = new_network(part, self.head, rng)
        loss: Callable[..., Any] = Family("tapetum.learn.losses").build(self.loss)
        counts = torch.from_numpy(part.counts).float()
        path = _Path(network)

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            path.step()
            return loss(logits_of(network, part.given(rows, epoch)), part.told(rows), counts)

        def judged() -> float:
            logits = torch.from_numpy(network(taught.given(held, 0))).float()
            return float(loss(logits, taught.told(held), counts).mean())

        learn_together(part, [network], losses, pace, rng, "swad", before=lambda e: path.segment(judged) if e else None)
        path.step()
        path.segment(judged)
        first, last = window(path.losses, self.settled, self.patience, self.tolerance)
        path.keep(first, last)
        return network


def window(losses: Sequence[float], settled: int, patience: int, tolerance: float) -> tuple[int, int]:
    """The first judgement averaged, and the one after the last.

    Args:
        losses: on held-out patients, one per judgement.
        settled: judgements that must not better the first one averaged.
        patience: judgements in a row above the threshold that end it, and over which the threshold is taken.
        tolerance: threshold over the mean of the first `settled` losses averaged.

    Example:
        >>> window([5, 3, 1, 2, 2, 9, 9, 9], settled=2, patience=2, tolerance=1.5)
        (2, 5)
    """
    best, waited, first = 0, 0, None
    for i, value in enumerate(losses):
        if i == 0 or value < losses[best]:
            best, waited = i, 0
        else:
            waited += 1
        if waited == settled:
            first = best
            break
    first = best if first is None else first
    limit = tolerance * float(np.mean(losses[first : first + settled]))
    for i in range(first, len(losses) - patience + 1):
        if min(losses[i : i + patience]) > limit:
            return first, max(i, first + 1)
    return first, len(losses)


class _Path:
    """Mean weights of every epoch, and the loss at its end."""

    def __init__(self, network: Network) -> None:
        self.modules = [m for m in (network.tower, network.head) if m is not None]
        self.means: list[tuple[Weights, int]] = []
        self.losses: list[float] = []
        self.total: Weights = {}
        self.steps = 0

    def step(self) -> None:
        """Add the weights as they are."""
        with torch.no_grad():
            for name, value in self._named():
                self.total[name] = self.total[name] + value if name in self.total else value.clone()
        self.steps += 1

    def segment(self, judged: Callable[[], float]) -> None:
        """End an epoch."""
        self.means.append((self.total, self.steps))
        self.total, self.steps = {}, 0
        self.losses.append(judged())

    def keep(self, first: int, last: int) -> None:
        """Write the mean of some epochs into the network."""
        chosen = self.means[first:last]
        steps = sum(n for _, n in chosen)
        with torch.no_grad():
            for name, value in self._named():
                value.copy_(sum((total[name] for total, _ in chosen), torch.zeros_like(value)) / steps)
        for module in self.modules:
            module.eval()

    def _named(self) -> list[tuple[str, Tensor]]:
        return [(f"{i}.{name}", p) for i, m in enumerate(self.modules) for name, p in m.named_parameters()]
