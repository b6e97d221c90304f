"""The names of findings after they have seen their neighbours in the tree, and the map that keeps what they learned."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from tapetum.core.errors import UsageError
from tapetum.learn.aligner.objective import LevelLoss, Objective, level_cross_entropy
from tapetum.learn.pairing.pairs import Pairs
from tapetum.learn.pairing.tree import Tree
from tapetum.nets import Aligner
from tapetum.nets.graph import TreeAttention

_RIDGE = 1e-3  # of the fold, as a share of the mean squared length of a name


@dataclass(frozen=True)
class Given:
    """An objective that knows its pairs already, so that it can be asked again after training."""

    objective: Objective = field(repr=False)

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The objective, whatever the pairs."""
        del pairs, rng
        return self.objective


class Nodes:
    """`LevelLoss` on names that a graph network has changed; it knows after training what they have become.

    Args:
        pairs: with a tree and the features of its names.
        network: trained with the aligner.
        finest: as of `LevelLoss`.
        images: weight of a node's mean training image beside its name, at least 0.

    Raises:
        UsageError: finest not above 0, images below 0, pairs without a tree or without the features of its names.
    """

    def __init__(self, pairs: Pairs, network: TreeAttention, *, finest: float, images: float) -> None:
        LevelLoss(finest)
        if not images >= 0:
            raise UsageError(f"images={images}", "a weight of at least 0", "images=1")
        tree, labels, names = need_tree(pairs)
        self.network, self.finest, self.images = network, finest, images
        self.features = torch.from_numpy(np.asarray(pairs.features, dtype=np.float32))
        self.labels = torch.from_numpy(labels.astype(np.float32))
        self.names = torch.from_numpy(names.astype(np.float32))
        self.depth = torch.from_numpy(tree.depth)
        self.module: nn.Module | None = network
        self.taught = torch.arange(len(labels))

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        """Loss per row in nats."""
        del epoch
        scale = aligner.logit_log_scale.exp().clamp(max=100.0)
        labels = self.labels[torch.from_numpy(rows)]
        return level_cross_entropy(scale * image @ self.become(aligner).T, labels, self.depth, finest=self.finest)

    def taught_by(self, rows: Int[np.ndarray, "n"]) -> None:
        """Held-out images are in no node's mean."""
        self.taught = torch.from_numpy(rows)

    def offset(self, rows: Int[np.ndarray, "b"]) -> Float[Tensor, ""]:
        """Nothing to start from."""
        del rows
        return torch.zeros(())

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        """The loss where all names are alike to every image."""
        labels = self.labels[torch.from_numpy(rows)]
        return float(level_cross_entropy(torch.zeros_like(labels), labels, self.depth, finest=self.finest).mean())

    def become(self, aligner: Aligner) -> Float[Tensor, "k e"]:
        """The names at unit length, after the network."""
        names = aligner.encode_text(self.names)
        if not self.images:
            return normalize(self.network(names), dim=1)
        labels = self.labels[self.taught]
        share = labels / labels.sum(0).clamp_min(1)
        seen = share.T @ aligner.standardise(self.features[self.taught]) @ aligner.image_weight + aligner.image_bias
        # a node without images has nothing but its name
        seen = normalize(seen, dim=1) * (labels.sum(0) > 0)[:, None]
        change = self.network(names + self.images * seen) - self.images * seen
        return normalize(change, dim=1)


def need_tree(pairs: Pairs) -> tuple[Tree, np.ndarray, np.ndarray]:
    """Tree, labels and the features of the names.

    Raises:
        UsageError: one of them is lacking.
    """
    if pairs.tree is None or pairs.labels is None or pairs.names is None:
        raise UsageError("pairs without a tree of findings", "an archive with a domain pack", "task=contrastive")
    return pairs.tree, pairs.labels, pairs.names


@torch.no_grad()
def fold(
    aligner: Aligner, names: Float[Tensor, "k t"], become: Float[Tensor, "k e"], *, ridge: float = _RIDGE
) -> Float[Tensor, "k"]:
    """Change the text map, in place and as little as possible, so that names go where the network has put them.

    Args:
        aligner: its `text_weight` is changed.
        names: text features.
        become: unit vectors, where they shall go; each keeps the length that it had.
        ridge: how much a name may miss its place to keep the change small, as a share of the mean squared length.

    Returns:
        Cosine of each name with where it should go, afterwards.
    """
    given = (names - aligner.text_mean).double()
    before = given @ aligner.text_weight.double()
    wanted = become.double() * before.norm(dim=1, keepdim=True)
    gram = given @ given.T
    floor = ridge * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    change = given.T @ torch.linalg.solve(gram + floor, wanted - before)
    aligner.text_weight += change.to(aligner.text_weight.dtype)
    after = (names - aligner.text_mean) @ aligner.text_weight
    return (normalize(after, dim=1) * become).sum(1)
