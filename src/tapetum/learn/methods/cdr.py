"""CDR: only the weights that matter most follow the gradient, the others decay; what they would learn is noise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.doubt import doubt
from tapetum.learn.classifying.pair import kept_share
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network

__all__ = ["CDR"]


@dataclass(frozen=True)
class CDR:
    """In every step the weights with the largest |gradient × weight| learn, as many as labels are thought to be right.

    Args:
        head: of `nets/heads`. by: estimate of the share of wrong labels, `anchors` or `confident`. ramp: share of the
            epochs over which the share of critical weights falls to that of the labels.

    Source: Xia et al., ICLR 2021 (robust early-learning). Differs: the rate is estimated; one limit
    per matrix instead of one for all; AdamW, whose momentum moves a weight a while after it stopped to matter; no early
    stopping on noisy validation labels.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    by: str = "anchors"
    ramp: float = 0.2

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        if not 0 <= self.ramp <= 1:
            raise UsageError(f"ramp={self.ramp}", "0 to 1")
        rate = doubt(taught, pace, rng, self.by).rate
        network, now = new_network(taught, self.head, rng), 0

        def before(epoch: int) -> None:
            nonlocal now
            now = epoch

        def hook(parameter: nn.Parameter) -> Callable[[Tensor], Tensor]:
            return lambda slope: critical(slope, parameter.detach(), kept_share(now, pace.epochs, rate, self.ramp))

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            logits = logits_of(network, taught.given(rows, epoch))
            return functional.cross_entropy(logits, taught.told(rows), reduction="none")

        parts = [p for m in (network.tower, network.head) if m for p in m.parameters() if p.ndim > 1]
        hooks = [p.register_hook(hook(p)) for p in parts if p.requires_grad]
        learn_together(taught, [network], losses, pace, rng, "cdr", before=before)
        for one in hooks:
            one.remove()
        return network


def critical(slope: Tensor, weight: Tensor, keep: float) -> Tensor:
    """The gradient of the weights that matter most, times their share; 0 for the others.

    Args:
        slope: the gradient.
        weight: of the same shape.
        keep: share of the weights that learn, 0..1.
    """
    matters = (slope * weight).abs().flatten()
    number = max(1, int(keep * len(matters) + 1e-9))
    least = torch.topk(matters, number).values[-1]
    return torch.where((slope * weight).abs() >= least, slope * keep, torch.zeros_like(slope))
