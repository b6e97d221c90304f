"""Two networks that choose for each other from which labels of a batch to learn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.doubt import doubt
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of, new_networks, row_mean
from tapetum.learn.classifying.trained import Committee

Rows = Int[Tensor, "m"]


@dataclass(frozen=True)
class Batch:
    """What a rule sees of a batch.

    Attributes:
        first: logits of one network. second: of the other. labels: given. keep: share of labels to learn from, 0..1.
        done: share of the epochs that are over.
    """

    first: Float[Tensor, "b k"]
    second: Float[Tensor, "b k"]
    labels: Int[Tensor, "b"]
    keep: float
    done: float

    def losses(self) -> tuple[Float[Tensor, "b"], Float[Tensor, "b"]]:
        """Cross-entropy of both networks."""
        first, second = (functional.cross_entropy(z, self.labels, reduction="none") for z in (self.first, self.second))
        return first, second


@dataclass(frozen=True)
class Choice:
    """What a rule makes of a batch.

    Attributes:
        losses: of every row, summed over both networks, whose mean is minimised. first: rows that the one network
            learned from. second: rows of the other.
    """

    losses: Float[Tensor, "b"]
    first: Rows
    second: Rows


Rule = Callable[[Batch], Choice]


def smallest(losses: Float[Tensor, "b"], keep: float) -> Rows:
    """Rows of the smallest losses, rounded down, one at least.

    Example:
        >>> smallest(torch.tensor([3.0, 1.0, 2.0, 0.5]), 0.5).tolist()
        [3, 1]
    """
    return torch.argsort(losses.detach(), stable=True)[: max(1, int(keep * len(losses) + 1e-9))]


def apart(first: Float[Tensor, "b k"], second: Float[Tensor, "b k"]) -> Float[Tensor, "b"]:
    """Jensen-Shannon divergence of what two networks say, nats, 0 to log 2."""
    p, q = functional.log_softmax(first, dim=1), functional.log_softmax(second, dim=1)
    mean = torch.logaddexp(p, q) - float(np.log(2))
    return 0.5 * ((p.exp() * (p - mean)).sum(dim=1) + (q.exp() * (q - mean)).sum(dim=1))


def exchanged(
    batch: Batch, by_first: Float[Tensor, "m"], by_second: Float[Tensor, "m"], among: Rows | None = None
) -> Choice:
    """Each network learns, by cross-entropy, from the rows that the other one finds easiest.

    Args:
        batch: of which.
        by_first: how hard one network finds each row.
        by_second: how hard the other finds it.
        among: the rows that these scores stand for; None = all.
    """
    rows = torch.arange(len(batch.labels)) if among is None else among
    for_second, for_first = rows[smallest(by_first, batch.keep)], rows[smallest(by_second, batch.keep)]
    first, second = batch.losses()
    number = len(batch.labels)
    losses = row_mean(first[for_first], for_first, number) + row_mean(second[for_second], for_second, number)
    return Choice(losses, for_first, for_second)


def kept_share(epoch: int, epochs: int, rate: float, ramp: float) -> float:
    """Share of labels to learn from: all at first, `1 - rate` after `ramp` of the epochs.

    Example:
        >>> [round(kept_share(e, 30, 0.4, 0.2), 3) for e in (0, 3, 6, 29)]
        [1.0, 0.8, 0.6, 0.6]
    """
    return 1 - rate * min(1.0, epoch / max(1.0, ramp * epochs))


def learn_pair(
    taught: Taught, pace: Pace, rng: np.random.Generator, rule: Rule, name: str, *, head: str, by: str, ramp: float
) -> Committee:
    """Train two networks by a rule of what each of them learns from; the share of wrong labels is estimated.

    Args:
        taught: the rows.
        pace: how long and how fast.
        rng: of weights, folds and order.
        rule: of each batch.
        name: of the method.
        head: of `nets/heads`, with weights drawn at random, or both networks are the same one.
        by: estimate of how many labels are wrong, `anchors` or `confident`.
        ramp: share of the epochs over which the share of labels kept falls, 0..1.

    Raises:
        UsageError: an option out of range, or labels that are no classes.
    """
    if not 0 <= ramp <= 1:
        raise UsageError(f"ramp={ramp}", "0 to 1")
    rate = doubt(taught, pace, rng, by).rate
    networks = new_networks(taught, head, rng)
    trust = np.zeros(len(taught.labels))

    def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        first, second = (logits_of(n, taught.given(rows, epoch)) for n in networks)
        keep = kept_share(epoch, pace.epochs, rate, ramp)
        choice = rule(Batch(first, second, taught.told(rows), keep, epoch / pace.epochs))
        trust[rows] = (_among(choice.first, len(rows)) + 0.0 + _among(choice.second, len(rows))) / 2
        return choice.losses

    learn_together(taught, networks, losses, pace, rng, name)
    return Committee(networks, trust)


def _among(rows: Rows, number: int) -> Bool[np.ndarray, "b"]:
    found = np.zeros(number, dtype=bool)
    found[rows.numpy()] = True
    return found
