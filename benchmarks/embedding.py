"""Embedding speed: our runner against eager torch in the same run, for EfficientNet-Lite0 and a ViT-S at 224 px.

Goals: at least 4 × eager torch in its default memory format for Lite0, and 1.4 × for ViT-S (random weights: speed does
not depend on them), on 2 idle cores, with equal features (cosine > 0.999, rows within 1e-4 of the largest value).
OpenVINO takes part where the extra `openvino` is installed.
Run: OMP_WAIT_POLICY=PASSIVE python benchmarks/embedding.py [rounds] [threads] [batch]
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is imported, or it has no effect

import numpy as np
import torch

from tapetum.learn.features.onnx_file import has_openvino
from tapetum.learn.features.runtime import Runner
from tapetum.nets import build_encoder

EAGER, OURS = "torch eager", "tapetum (auto)"
Run = Callable[[np.ndarray], np.ndarray]


def small_vit(folder: Path) -> str:
    """The spec of a ViT-S/16 with random weights."""
    import transformers as hf

    hf.utils.logging.disable_progress_bar()
    shape = hf.ViTConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536)
    hf.ViTModel(shape, add_pooling_layer=False).save_pretrained(folder)
    preprocessing = {"size": 224, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return f"transformer(path={str(folder)!r})"


def variants(spec: str, threads: int) -> dict[str, Run]:
    """The same network run in every way, eager torch first and the measured choice last."""
    plain = build_encoder(spec)

    def eager(x: np.ndarray) -> np.ndarray:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return plain(torch.from_numpy(x)).numpy()

    ours = Runner(build_encoder(spec), threads=threads)
    start = time.perf_counter()
    ours.ready()
    print(f"  export and measured choice: {time.perf_counter() - start:.1f} s, chosen: {ours.backend}")
    others = {"torch channels-last": "torch", "onnxruntime": "onnxruntime"}
    if has_openvino():
        others["openvino"] = "openvino"
    rest = {way: Runner(build_encoder(spec), threads=threads, backend=backend) for way, backend in others.items()}
    return {EAGER: eager, **rest, OURS: ours}


def measure(name: str, spec: str, goal: float, rounds: int, threads: int, batch: int) -> None:
    """Print the table of one network."""
    print(
        f"{name}, 224 px, batch {batch}, {threads} threads, {rounds} interleaved rounds; load {os.getloadavg()[0]:.1f}"
    )
    x = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), dtype=np.float32)
    runs = variants(spec, threads)
    outputs = {way: run(x) for way, run in runs.items()}  # also the warm-up
    seconds: dict[str, list[float]] = {way: [] for way in runs}
    for _ in range(rounds):
        for way, run in runs.items():
            start = time.perf_counter()
            run(x)
            seconds[way].append(time.perf_counter() - start)
    reference = outputs[EAGER]
    print(f"  {'variant':22}{'images/s':>10}{'ratio':>8}{'min cosine':>14}{'max difference':>16}")
    ratios: dict[str, float] = {}
    for way, times in seconds.items():
        # Rounds are paired: each round's own eager time, so that a burst of other load hits both.
        ratios[way] = statistics.median(e / t for e, t in zip(seconds[EAGER], times, strict=True))
        out = outputs[way]
        cosine = (out * reference).sum(1) / (np.linalg.norm(out, axis=1) * np.linalg.norm(reference, axis=1))
        worst = np.abs(out - reference).max()
        rate = batch / statistics.median(times)
        print(f"  {way:22}{rate:10.1f}{ratios[way]:8.2f}{cosine.min():14.7f}{worst:16.1e}")
    verdict = "reached" if ratios[OURS] >= goal else "NOT reached"
    print(f"  goal {goal} x eager: {verdict} ({ratios[OURS]:.2f} x)")


def main(rounds: int = 7, threads: int = 2, batch: int = 16) -> None:
    measure("EfficientNet-Lite0", "efficientnet_lite(size=224)", 4.0, rounds, threads, batch)
    with tempfile.TemporaryDirectory() as folder:
        measure("ViT-S/16, random weights", small_vit(Path(folder)), 1.4, rounds, threads, batch)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
