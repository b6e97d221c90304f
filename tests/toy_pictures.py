"""Small pictures whose stripes tell the class, in two colours of light, and a small tower that learns from them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tapetum.core.registry import Family
from tapetum.learn.classifying.pictures import Tower
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.features.loader import image_rng, parse_augmentations
from tapetum.nets.encoders.tiny import tiny

SIDE = 32
STRIPES = {0: (0.0, 1.1), 1: (1.1, 0.0), 2: (0.0, 0.0)}  # steps down and across; none at all


def striped(count: int = 150, seed: int = 0) -> tuple[Taught, Tensor, np.ndarray]:
    """Three classes, 5 to 3 to 2, in two domains of other light, two rows a patient; and as many to ask about."""
    rng = np.random.default_rng(seed)
    shares = [5 * count // 10, 3 * count // 10, 2 * count // 10]

    def pictures() -> tuple[Tensor, np.ndarray, np.ndarray]:
        labels = rng.permutation(np.repeat([0, 1, 2], shares))
        domains = np.arange(count) // 2 % 2
        down, across = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
        step = np.array([STRIPES[c] for c in labels.tolist()])
        waves = np.sin(step[:, :1, None] * down + step[:, 1:, None] * across + rng.uniform(0, 6, (count, 1, 1)))
        light = np.where(domains[:, None], (0.5, 0.9, 1.0), (1.0, 0.7, 0.5))[:, :, None, None]
        made = (0.5 + 0.4 * waves[:, None]) * light + rng.normal(0, 0.03, (count, 3, SIDE, SIDE))
        return torch.from_numpy(made.clip(0, 1)).float(), labels, domains

    (learned, labels, domains), (asked, truth, _) = pictures(), pictures()
    encoder = tiny(size=SIDE, dim=32)
    with torch.no_grad():
        features = encoder(learned).numpy()
    mean, deviation = features.mean(axis=0), features.std(axis=0)

    def changed(augment: str) -> Callable[[np.ndarray, int], Tensor]:
        ways = [Family("tapetum.learn.augment").build(spec) for spec in parse_augmentations(augment)]

        def inputs(rows: np.ndarray, epoch: int) -> Tensor:
            found = learned[torch.from_numpy(rows)]
            for way in ways if epoch >= 0 else ():
                found = way(found, rngs=[image_rng(seed, epoch, str(row)) for row in rows])
            return found

        return inputs

    taught = Taught(
        ((features - mean) / deviation).astype(np.float32), labels, 3, np.arange(count) // 2, domains, changed(""),
        Tower(encoder, mean, deviation), changed=changed,
    )  # fmt: skip
    return taught, asked, truth
