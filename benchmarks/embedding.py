"""Embedding speed: EfficientNet-Lite0 at 224 px, our runner against eager torch, in the same run.

Goal: at least 4 × eager torch in its default memory format on 2 idle cores, features equal (cosine > 0.999).
Run: OMP_WAIT_POLICY=PASSIVE python benchmarks/embedding.py [rounds] [threads] [batch]
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported, or it has no effect

import numpy as np
import torch

from tapetum.learn.runtime import Runner
from tapetum.nets import build_encoder

SPEC = "efficientnet_lite(size=224)"
GOAL = 4.0


def variants(threads: int) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """The same network run in three ways; eager torch first."""
    eager = build_encoder(SPEC)

    def plain(x: np.ndarray) -> np.ndarray:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return eager(torch.from_numpy(x)).numpy()

    fast = Runner(build_encoder(SPEC), threads=threads)
    if fast.backend != "onnxruntime":
        raise SystemExit("the runner fell back to torch: nothing to compare")
    return {
        "torch eager": plain,
        "torch channels-last": Runner(build_encoder(SPEC), threads=threads, backend="torch"),
        "tapetum (onnxruntime)": fast,
    }


def main(rounds: int = 7, threads: int = 2, batch: int = 16) -> None:
    x = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
    runs = variants(threads)
    outputs = {name: run(x) for name, run in runs.items()}  # also the warm-up
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(x)
            seconds[name].append(time.perf_counter() - start)
    reference = outputs["torch eager"]
    base = statistics.median(seconds["torch eager"])
    print(
        f"{SPEC}, batch {batch}, {threads} threads, {rounds} interleaved rounds, medians; load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'variant':24}{'images/s':>10}{'ratio':>8}{'min cosine':>14}{'max difference':>16}")
    for name, times in seconds.items():
        median, out = statistics.median(times), outputs[name]
        cosine = (out * reference).sum(1) / (np.linalg.norm(out, axis=1) * np.linalg.norm(reference, axis=1))
        worst = np.abs(out - reference).max()
        print(f"{name:24}{batch / median:10.1f}{base / median:8.2f}{cosine.min():14.7f}{worst:16.1e}")
    ratio = base / statistics.median(seconds["tapetum (onnxruntime)"])
    print(f"goal {GOAL:.0f} x eager: {'reached' if ratio >= GOAL else 'NOT reached'} ({ratio:.2f} x)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
