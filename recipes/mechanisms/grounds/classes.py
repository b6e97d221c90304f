"""Rendered eyes of classes that exclude each other, some of them rare, as a tower that learned elsewhere sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapetum.bench.trust.robustness import Features
from tapetum.bench.trust.tail_rows import Rows
from tapetum.core.types import Embeddings, Laterality
from tapetum.learn.features.embedder import Embedder
from tapetum.phantom import EyeSpec, render_eye

CLASSES = ("no sign", "hard_exudate", "flame_haemorrhage", "laser_scar", "choroidal_naevus")
SHARES = (0.44, 0.28, 0.16, 0.08, 0.04)
FAINT = 0.2  # the least severity of a sign


def drawn(labels: Sequence[int], classes: Sequence[str], size: int, seed: int) -> tuple[np.ndarray, ...]:
    """Pictures of eyes, right and left by turns; the first class has no sign, each other one the sign of its name."""
    images: list[np.ndarray] = []
    for i, label in enumerate(labels):
        rng = np.random.default_rng([seed, i])
        signs = {classes[label]: float(rng.uniform(FAINT, 1.0))} if label else {}
        side = (Laterality.RIGHT, Laterality.LEFT)[i % 2]
        images.append(render_eye(EyeSpec(side, seed * 100_000 + i, signs), size=size, rng=rng).image)
    return tuple(images)


def seen(labels: np.ndarray, classes: Sequence[str], size: int, seed: int) -> Rows:
    """The eyes drawn as a tower that learned elsewhere sees them, two of a patient one after the other.

    Args:
        labels: number of the class of each eye.
        classes: `no sign`, then names of signs.
        size: of the pictures in pixels.
        seed: of all of it.
    """
    encoder = f"efficientnet_lite(size={size})"
    rows = Embedder(encoder, threads=1).pixels(drawn(labels.tolist(), classes, size, seed))
    who = tuple(f"{seed}-{i // 2:04d}" for i in range(len(labels)))
    names = tuple(f"{seed}-{i:05d}" for i in range(len(labels)))
    return Rows(tuple(classes), Embeddings(names, who, rows, encoder), labels.astype(np.int64))


def classed(patients: int, shares: Sequence[float], size: int, seed: int) -> Rows:
    """Two eyes a patient, each with one sign or none.

    Args:
        patients: how many.
        shares: of the classes.
        size: of the pictures in pixels.
        seed: of all of it.
    """
    labels = np.random.default_rng(seed).choice(len(CLASSES), size=2 * patients, p=np.asarray(shares))
    return seen(labels, CLASSES, size, seed)


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
