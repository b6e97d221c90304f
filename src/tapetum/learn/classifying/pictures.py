"""Rows that are pictures: a tower that learns with the head, instead of features that stay as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.core.types import Embeddings
from tapetum.learn.classifying.taught import Inputs, Taught
from tapetum.learn.features.embed import ImageSource
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.features.loader import Loader
from tapetum.learn.features.preprocess import Preprocess
from tapetum.learn.training.loop import HELD_OUT
from tapetum.nets import Encoder

AUGMENT = "geometric() + photometric(strength=0.3)"
MODES = ("frozen", "finetune")  # what learns: a head on features that stay, or the tower, too
MOST = 4e9  # bytes of tested pictures at once


class Tower(nn.Module):
    """An encoder whose pooled features are standardised as those of the frozen one were on the rows taught.

    Its batch norms keep the statistics that they came with: batches of a few pictures of one kind would spoil them.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, encoder: Encoder, mean: Float[np.ndarray, "d"], scale: Float[np.ndarray, "d"]) -> None:
        super().__init__()
        if not isinstance(encoder, nn.Module):
            raise TypeError(f"{type(encoder).__name__} is no module")
        self.encoder = encoder
        self.register_buffer("mean", torch.from_numpy(mean.astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy(scale.astype(np.float32)))

    def forward(self, pictures: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """Standardised features, about unit variance per column before anything is learned."""
        return (self.encoder(pictures) - self.mean) / self.scale

    def train(self, mode: bool = True) -> Self:
        """Training mode for all but batch norms."""
        super().train(mode)
        for part in self.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):  # pyright: ignore[reportPrivateUsage]
                part.eval()
        return self


@dataclass(frozen=True)
class Pictures:
    """The pictures of an archive, or of several, as one encoder wants them.

    Args:
        archive: where they come from; of several, which share no image, each keeps its own in its cache.
        encoder: spec of one image tower.
        augment: specs of `learn/augment` joined by `+`, for the rows taught; `""` = none.
        seed: of the augmentation.
        state: weights with which the tower begins; None = those of the encoder.
    """

    archive: ImageSource | Sequence[ImageSource]
    encoder: str
    augment: str = AUGMENT
    seed: int = 0
    state: Mapping[str, Tensor] | None = None

    def taught(
        self, rows: Embeddings, labels: Int[np.ndarray, "n"], classes: int, domains: Int[np.ndarray, "n"] | None = None
    ) -> Taught:
        """Rows to teach, with a tower that learns from where the frozen one stands.

        Args:
            rows: features of the frozen tower, row by row of the labels.
            labels: classes 0..k-1.
            classes: how many.
            domains: number of the domain of each row; None = all of one.

        Raises:
            UsageError: several towers.
        """
        embedder = self.embedder()
        mean, deviation = rows.features.mean(axis=0), rows.features.std(axis=0)
        tower = Tower(embedder.runners[0].encoder, mean, np.where(deviation > 1e-6, deviation, 1.0))
        where = np.zeros(len(labels), dtype=np.int64) if domains is None else domains
        features = ((rows.features - mean) / np.where(deviation > 1e-6, deviation, 1.0)).astype(np.float32)

        def changed(augment: str) -> Inputs:
            return self._loaded(
                embedder.preprocess[0], rows.image_ids, " + ".join(filter(None, (self.augment, augment)))
            )

        return Taught(
            features, labels, classes, np.asarray(rows.patient_ids), where, changed(""), tower, changed=changed
        )

    def asked(self, image_ids: Sequence[str]) -> Float[Tensor, "n 3 s s"]:
        """Pictures to be tested, as they are.

        Raises:
            UsageError: several towers, or more pictures than memory should hold at once.
        """
        preprocess = self.embedder().preprocess[0]
        need = len(image_ids) * 3 * preprocess.size**2 * 4
        if need > MOST:
            raise UsageError(
                f"{len(image_ids)} pictures at {preprocess.size} px need {need / 1e9:.1f} GB",
                f"at most {MOST / 1e9:.0f} GB",
                "encoders=… of a smaller size, or frozen features",
            )  # fmt: skip
        return self._loaded(preprocess, image_ids, "")(np.arange(len(image_ids)), HELD_OUT)

    def _loaded(self, preprocess: Preprocess, image_ids: Sequence[str], augment: str) -> Inputs:
        archives = self.archive if isinstance(self.archive, Sequence) else (self.archive,)
        owner = {record.image_id: a for a, archive in enumerate(archives) for record in archive.records}
        of = np.array([owner.get(i, 0) for i in image_ids], dtype=np.int64)
        place, loaders = np.zeros(len(of), dtype=np.int64), list[Loader]()
        for a, archive in enumerate(archives):
            own = np.flatnonzero(of == a)
            place[own] = np.arange(len(own))
            loaders.append(
                Loader(archive, preprocess, [image_ids[i] for i in own.tolist()], augment=augment, seed=self.seed)
            )

        def inputs(rows: Int[np.ndarray, "b"], epoch: int) -> Tensor:
            found = torch.empty(len(rows), 3, preprocess.size, preprocess.size)
            for a in np.unique(of[rows]).tolist():
                here = np.flatnonzero(of[rows] == a)
                found[torch.from_numpy(here)] = loaders[a](place[rows[here]], epoch)
            return found

        return inputs

    def embedder(self) -> Embedder:
        """The tower, as it begins.

        Raises:
            UsageError: several towers.
        """
        embedder = Embedder(self.encoder, backend="torch", states={0: self.state} if self.state else {})
        if len(embedder.runners) != 1:
            raise UsageError(
                f"{len(embedder.runners)} towers to tune at once", "one", 'encoders="efficientnet_lite(size=96)"'
            )
        return embedder
