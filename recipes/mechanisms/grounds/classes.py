"""Rendered eyes of classes that exclude each other, some of them rare, as a tower that learned elsewhere sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapetum.bench.trust.robustness import Features
from tapetum.bench.trust.tailed import Rows
from tapetum.core.types import Embeddings, Laterality
from tapetum.learn.features.embedder import Embedder
from tapetum.phantom import EyeSpec, render_eye

CLASSES = ("no sign", "hard_exudate", "flame_haemorrhage", "laser_scar", "choroidal_naevus")
SHARES = (0.44, 0.28, 0.16, 0.08, 0.04)
FAINT = 0.2  # the least severity of a sign


def classed(patients: int, shares: Sequence[float], size: int, seed: int) -> Rows:
    """Two eyes a patient, each with one sign or none.

    Args:
        patients: how many.
        shares: of the classes.
        size: of the pictures in pixels.
        seed: of all of it.
    """
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASSES), size=2 * patients, p=np.asarray(shares))
    images: list[np.ndarray] = []
    for i, label in enumerate(labels):
        drawn = np.random.default_rng([seed, i])
        signs = {CLASSES[label]: float(drawn.uniform(FAINT, 1.0))} if label else {}
        side = (Laterality.RIGHT, Laterality.LEFT)[i % 2]
        images.append(render_eye(EyeSpec(side, seed * 100_000 + i, signs), size=size, rng=drawn).image)
    encoder = f"efficientnet_lite(size={size})"
    seen = Embedder(encoder, threads=1)
    who = tuple(f"{seed}-{i // 2:04d}" for i in range(len(labels)))
    names = tuple(f"{seed}-{i:05d}" for i in range(len(labels)))
    return Rows(CLASSES, Embeddings(names, who, seen.pixels(images), encoder), labels.astype(np.int64))


def features(taught: int, tested: int, size: int, seed: int, components: int) -> Features:
    """Patients who teach, some classes rare, and others who are tested, all classes alike.

    Args:
        taught: patients.
        tested: patients.
        size: of the pictures in pixels.
        seed: of both.
        components: principal components of the features that are kept.
    """
    alike = [1 / len(CLASSES)] * len(CLASSES)
    train, test = classed(taught, SHARES, size, 2 * seed), classed(tested, alike, size, 2 * seed + 1)
    return Features.of(train, test, components, np.random.default_rng(seed))
