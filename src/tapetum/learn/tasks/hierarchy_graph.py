"""Alignment along the tree of findings, whose names see their neighbours, by gradient on cached features."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.starting import Start
from tapetum.learn.granular.tree_graph import Given, Nodes, fold, need_tree
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.runlog import UNWATCHED, Watch
from tapetum.nets.graph import TreeAttention

__all__ = ["HierarchyGraph"]


@dataclass(frozen=True)
class HierarchyGraph:
    """As `hierarchical`, with a graph network over the tree between the names of the findings and the loss.

    A node is a name in the common space and the mean of its training images there. What the network makes of the names
    is written into the text map by the smallest change that does it, so that an aligner remains and any words can be
    asked.

    Args:
        layers, heads: of the network, each at least 1.
        images: weight of a node's mean image beside its name.
        start: `ridge` = the closed form, refined; `random`, as in `hierarchical`.
        finest, sampler, dim, power, shrinkage, held_out, epochs, batch, learning_rate, weight_decay: as in
            `hierarchical`.

    Source: after Xia et al. (HGCLIP), COLING 2025, arXiv 2311.14064: graph attention over class texts and class
    prototypes, cross-entropy at every level. Differs: no prompts and no attention of local features are learned; one
    graph for both kinds of feature; all heads count; stops on inner patients, never on tested ones; what was learned
    ends in a linear map.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("names",)

    layers: int = 2
    heads: int = 4
    images: float = 1.0
    finest: float = 2.0
    sampler: str = "shuffled"
    start: str = "ridge"
    dim: int = 256
    power: float = 0.5
    shrinkage: float = 0.1
    held_out: float = 0.1
    epochs: int = 60
    batch: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.5

    def fit(self, pairs: Pairs, rng: np.random.Generator, watch: Watch = UNWATCHED) -> Fitted:
        """Train; the log holds both losses per epoch, what chance is, and how well the text map holds the names.

        Raises:
            UsageError: pairs without a tree of findings.
        """
        tree, _, names = need_tree(pairs)
        aligner = Start(self.start, self.dim, self.power, self.shrinkage).aligner(pairs, rng)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        network = TreeAttention(
            torch.from_numpy(tree.parent), int(aligner.image_weight.shape[1]), layers=self.layers, heads=self.heads,
            generator=generator,
        )  # fmt: skip
        nodes = Nodes(pairs, network, finest=self.finest, images=self.images)
        settings = LoopSettings(self.epochs, self.batch, self.learning_rate, self.weight_decay)
        fitted = train_aligner(
            aligner, pairs, Given(nodes), settings, rng, held_out=self.held_out, sampler=self.sampler, watch=watch
        )
        with torch.no_grad():
            become = nodes.become(aligner)
        kept = fold(aligner, torch.from_numpy(names.astype(np.float32)), become)
        log = {**fitted.log, "names_kept": float(kept.mean()), "names_kept_least": float(kept.min())}
        return dataclasses.replace(fitted, log=log)
