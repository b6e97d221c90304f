"""MixStyle: in its first blocks a tower sees one image in the style of another, while it learns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.domain_parts import partners_elsewhere
from tapetum.learn.classifying.domain_weights import refuse_frozen, refuse_one_domain
from tapetum.learn.classifying.maps import changing, first_blocks, with_mixed_style
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Inputs, Taught
from tapetum.learn.classifying.train import new_network, train
from tapetum.learn.classifying.trained import Network
from tapetum.learn.training.loop import HELD_OUT

__all__ = ["MixStyle"]


@dataclass(frozen=True)
class MixStyle(Plan):
    """Mean and deviation of the channels of a map are mixed with those of another image; the label stays.

    Args:
        alpha: of the beta distribution of the share of the own style; above 0.
        probability: that a block mixes a batch, 0..1; 0 = cross-entropy alone.
        mix: `random`: with any image of the batch; `crossdomain`: with one of another domain.
        levels: of the first so many sizes of map, the last block.
        others: see `Plan`.

    Source: Zhou et al., ICLR 2021, arXiv 2104.02008. Differs: blocks are found by the size of their maps, whatever the
    tower; for `crossdomain` every image has a partner of its own from another domain, each of them as likely.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("pictures",)
    alpha: float = 0.1
    probability: float = 0.5
    mix: str = "random"
    levels: int = 2

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        refuse_frozen(taught, "mix_style")
        if self.mix not in ("random", "crossdomain") or self.alpha <= 0 or not 0 <= self.probability <= 1:
            found = f"mix={self.mix!r}, alpha={self.alpha}, probability={self.probability}"
            raise UsageError(found, "random or crossdomain, above 0, and 0 to 1")
        if self.mix == "crossdomain":
            refuse_one_domain(taught, "mix_style with mix='crossdomain'")
        # a generator beside the other one: weights and order are those of plain cross-entropy
        mixer = _Mixer(self, taught, rng.spawn(1)[0])
        network = new_network(taught, self.head, rng)
        assert network.tower is not None
        blocks = first_blocks(network.tower, taught.given(np.arange(1), HELD_OUT), self.levels)
        changed = None if taught.changed is None else mixer.changed
        watched = dataclasses.replace(taught, inputs=mixer.watched(taught.given), changed=changed)
        with changing(network.tower, [block for block, _ in blocks], mixer):
            return train(watched, self, pace, rng, start=network)


class _Mixer:
    """Mixes the maps of the batch that was given last."""

    def __init__(self, how: MixStyle, taught: Taught, rng: np.random.Generator) -> None:
        self.how, self.taught, self.rng = how, taught, rng
        self.domains = torch.zeros(0, dtype=torch.int64)

    def watched(self, inputs: Inputs) -> Inputs:
        """The same inputs; whose they are is kept in mind."""

        def given(rows: Int[np.ndarray, "b"], epoch: int) -> Tensor:
            self.domains = torch.from_numpy(self.taught.domains[rows])
            return inputs(rows, epoch)

        return given

    def changed(self, augment: str) -> Inputs:
        """Inputs that are changed further, watched as well."""
        assert self.taught.changed is not None
        return self.watched(self.taught.changed(augment))

    def __call__(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        if self.rng.random() >= self.how.probability:
            return maps
        across = self.how.mix == "crossdomain"
        partner = partners_elsewhere(self.domains, self.rng) if across else self.rng.permutation(len(maps))
        share = torch.from_numpy(self.rng.beta(self.how.alpha, self.how.alpha, len(maps))).to(maps.dtype)
        return with_mixed_style(maps, torch.from_numpy(partner), share, fixed=True)
