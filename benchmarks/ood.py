"""CPU seconds of every out-of-distribution score: fitted on 10,000 x 1280 features, applied to as many others.

    python benchmarks/ood.py [N] [PEERS]

PEERS is a folder with pytorch-ood and torchvision (default: the environment's `TAPETUM_PEERS`); with it, both are timed
on the same arrays, each in one thread, and the ratio over the scores that both have is printed. The features are made:
seven classes in 320 directions and noise, after a ReLU.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tapetum.core.registry import Family
from tapetum.core.types import Head
from tapetum.score.in_distribution import InDistribution
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import queries

WIDTH, CLASSES = 1280, 7
FAMILY = Family("tapetum.score.ood")
PEER = Path(__file__).parents[1] / "tests" / "integration" / "ood_peer.py"
# Those that pytorch-ood computes from arrays; with the same settings: k = 10, and ViM with the directions of our rule.
SHARED = (
    "msp", "max_logit", "energy", "entropy", "gen", "kl_matching", "knn", "nnguide", "mahalanobis",
    "relative_mahalanobis", "vim", "she", "fdbd", "react", "ash", "scale",
)  # fmt: skip


def made(count: int) -> dict[str, np.ndarray]:
    """Known images with labels and a head, and as many others to score."""
    rng = np.random.default_rng(0)
    mix, centres = rng.normal(0, 0.1, (WIDTH // 4, WIDTH)), rng.normal(0, 0.3, (CLASSES, WIDTH))

    def features(labels: np.ndarray) -> np.ndarray:
        spread = rng.normal(size=(count, WIDTH // 4)) @ mix + rng.normal(0, 0.3, (count, WIDTH))
        return np.maximum(centres[labels] + spread, 0).astype(np.float32)

    labels = rng.integers(CLASSES, size=count)
    train = features(labels)
    weight = np.stack([train[labels == c].mean(axis=0) for c in range(CLASSES)]) - train.mean(axis=0)
    bias = np.zeros(CLASSES, np.float32)
    query = features(rng.integers(CLASSES, size=count))
    return {"train": train, "labels": labels, "weight": weight * np.float32(0.05), "bias": bias, "query": query}


def ours(given: dict[str, np.ndarray]) -> dict[str, float]:
    """Seconds by score when all are asked together; what scores share is worked out by the first that needs it."""
    start = time.process_time()
    known = known_images(given)
    seconds = {"the features, checked": time.process_time() - start}
    scores: dict[str, PostHoc] = {}
    for name in FAMILY.names():
        start = time.process_time()
        scores[name] = FAMILY.build(name).fit(known)
        seconds[name] = time.process_time() - start
    start = time.process_time()
    for query in queries(given["query"], known):
        seconds["the features, checked"] += time.process_time() - start
        for name, score in scores.items():
            start = time.process_time()
            score.of(query)
            seconds[name] += time.process_time() - start
        start = time.process_time()
    return seconds


def ours_alone(given: dict[str, np.ndarray]) -> dict[str, float]:
    """Seconds by score when each is fitted and asked by itself."""
    seconds: dict[str, float] = {}
    for name in SHARED:
        start = time.process_time()
        FAMILY.build(name).fit(known_images(given))(given["query"])
        seconds[name] = time.process_time() - start
    return seconds


def known_images(given: dict[str, np.ndarray]) -> InDistribution:
    """What the scores are fitted on."""
    others = np.random.default_rng(1).normal(size=(100, WIDTH)).astype(np.float32)
    return InDistribution(given["train"], given["labels"], Head(given["weight"], given["bias"]), negatives=others)


def theirs(given: dict[str, np.ndarray], peers: str) -> dict[str, float]:
    """Seconds by score in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path, told = Path(folder) / "given.npz", Path(folder) / "told.npz"
        np.savez(path, allow_pickle=False, **given)
        subprocess.run([sys.executable, str(PEER), peers, str(path), str(told), *SHARED], check=True)
        found = np.load(told)
        return {name: float(found[f"{name}.seconds"]) for name in SHARED}


def main(count: int, peers: str) -> None:
    """Print the seconds of each, the totals and the ratio."""
    given = made(count)
    mine = ours(given)
    print(f"{count:,} x {WIDTH} features fitted, as many scored; CPU seconds; ours together")
    other = theirs(given, peers) if peers else {}
    for name, seconds in mine.items():
        print(f"{name:<22}{seconds:7.2f}" + (f"   pytorch-ood {other[name]:7.2f}" if name in other else ""))
    checked = mine.pop("the features, checked")
    print(f"all {len(mine)} scores: {checked + sum(mine.values()):.1f} s")
    if other:
        same, peer = checked + sum(mine[name] for name in other), sum(other.values())
        print(f"the {len(other)} that both have: {same:.1f} s, pytorch-ood {peer:.1f} s, ratio {peer / same:.1f}")
        alone = sum(ours_alone(given).values())
        print(f"each of ours by itself: {alone:.1f} s, ratio {peer / alone:.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000,
         sys.argv[2] if len(sys.argv) > 2 else os.environ.get("TAPETUM_PEERS", ""))  # fmt: skip
