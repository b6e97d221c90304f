"""The training loop against bare torch, and the memory of a contrastive batch of 4,096 with gradient caching.

    python benchmarks/training_step.py [overhead|memory] …

Overhead: the same module, the same batches, the same optimiser, loss and gradient norm, written out by hand; both
sides run in turn, and the ratio of the medians is printed. Goal: less than 1.03. Memory: the peak of a process of its
own (the child sees 4,096 images of 64 px in chunks of 32), less than 4 GB; beside it, smaller batches without chunks.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from torch import nn

ROUNDS, STEPS, BATCH, SIDE = 15, 8, 16, 64
GOAL_RATIO, GOAL_GB = 1.03, 4.0


def network(dim: int = 64) -> nn.Module:
    """A small vision transformer: 4 blocks of 128, patches of 8."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    shape = ViTConfig(
        hidden_size=dim * 2, num_hidden_layers=4, num_attention_heads=4, intermediate_size=dim * 8, image_size=SIDE,
        patch_size=8, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return ViTModel(shape, add_pooling_layer=False)


def bare(module: nn.Module, loss_of: Callable[[np.ndarray, int], torch.Tensor], rows: np.ndarray) -> float:
    """What anyone would write: AdamW, warm-up and cosine left out, gradient norm clipped, losses added up."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-4)
    order = np.random.default_rng(0).permutation(rows)
    started, total = time.process_time(), 0.0
    for part in np.array_split(order, STEPS):
        loss = loss_of(part, 0).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        total += float(loss.detach())
    return time.process_time() - started


def ours(module: nn.Module, loss_of: Callable[[np.ndarray, int], torch.Tensor], rows: np.ndarray) -> float:
    """The loop, one epoch of the same steps, everything that it does before and after them included."""
    from tapetum.learn.training.loop import LoopSettings, run_loop

    settings = LoopSettings(epochs=1, batch=BATCH, learning_rate=1e-4)
    started = time.process_time()
    run_loop(module, loss_of, rows, np.arange(0), settings, np.random.default_rng(0))
    return time.process_time() - started


def overhead() -> bool:
    """Print the ratio of CPU seconds on three kinds of work; True where one misses the goal."""
    torch.set_num_threads(1)
    images = torch.randn(STEPS * BATCH, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    features = torch.randn(STEPS * BATCH, 1024, generator=torch.Generator().manual_seed(0))
    vit, linear = network(), nn.Sequential(nn.Linear(1024, 512), nn.GELU(), nn.Linear(512, 64))

    def of_images(rows: np.ndarray, epoch: int) -> torch.Tensor:
        return vit(images[torch.from_numpy(rows)]).last_hidden_state[:, 0].square().mean(1)

    def of_features(rows: np.ndarray, epoch: int) -> torch.Tensor:
        return linear(features[torch.from_numpy(rows)]).square().mean(1)

    missed = False
    for name, module, loss_of, count in (
        (f"vision transformer, {BATCH} images of {SIDE} px", vit, of_images, STEPS * BATCH),
        (f"two linear maps, {BATCH} rows of 1,024 features", linear, of_features, STEPS * BATCH),
    ):
        rows, pairs = np.arange(count), list[tuple[float, float]]()
        bare(module, loss_of, rows)
        for i in range(ROUNDS):
            turn = (bare, ours) if i % 2 else (ours, bare)
            found = {way.__name__: way(module, loss_of, rows) for way in turn}
            pairs.append((found["ours"], found["bare"]))
        mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        low, ratio, high = statistics.quantiles([a / b for a, b in pairs], n=4)
        missed |= ratio > GOAL_RATIO and module is vit
        print(
            f"{name}: loop {mine / STEPS * 1e3:.2f} ms, bare torch {theirs / STEPS * 1e3:.2f} ms a step (CPU time, "
            f"median of {ROUNDS} rounds of {STEPS} steps, one thread): ratio {ratio:.3f}, quartiles of the rounds "
            f"{low:.3f} to {high:.3f} (goal {GOAL_RATIO})"
        )
    return missed


def child(batch: int, chunk: int, encoder: str) -> None:
    """One step of a contrastive loss over `batch` images; prints seconds and the peak of this process."""
    from tapetum.learn.training.gradcache import cached_embedding
    from tapetum.nets import build_encoder

    torch.set_num_threads(1)
    tower = build_encoder(encoder).eval() if encoder else network()  # type: ignore[attr-defined]
    # One byte per value, as the loader keeps them, and a text side that is made of numbers.
    images = torch.randint(0, 256, (batch, 3, SIDE, SIDE), dtype=torch.uint8)
    for parameter in tower.parameters():
        parameter.requires_grad_(True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    def embed(rows: np.ndarray) -> torch.Tensor:
        x = images[torch.from_numpy(rows)].float() / 127.5 - 1
        return tower(x) if encoder else tower(x).last_hidden_state[:, 0]

    started = time.perf_counter()
    found = nn.functional.normalize(cached_embedding(embed, np.arange(batch), chunk), dim=1)
    text = nn.functional.normalize(torch.randn(batch, found.shape[1]), dim=1)
    logits = 10 * found @ text.T
    truth = torch.arange(batch)
    loss = (nn.functional.cross_entropy(logits, truth) + nn.functional.cross_entropy(logits.T, truth)) / 2
    loss.backward()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{batch} {chunk} {seconds:.1f} {before * 1.073741824:.3f} {peak * 1.073741824:.3f}")


def memory() -> bool:
    """Print the peaks; True where 4,096 do not fit."""
    missed = False
    for encoder, name in (("efficientnet_lite(size=64)", "EfficientNet-Lite0"), ("", "small ViT")):
        for batch, chunk in ((256, 0), (512, 0), (4096, 32)):
            done = subprocess.run(
                [sys.executable, __file__, "child", str(batch), str(chunk), encoder],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            _, _, seconds, before, peak = done.stdout.split()[-5:]
            way = f"in chunks of {chunk}" if chunk else "at once"
            goal = f" (goal {GOAL_GB:.0f} GB)" if chunk else ""
            missed |= bool(chunk) and float(peak) > GOAL_GB
            print(
                f"{name}, {SIDE} px, {batch} images {way}: peak {float(peak):.2f} GB{goal}, of which "
                f"{float(before):.2f} GB before the step; {seconds} s, one thread"
            )
    return missed


def main(words: list[str]) -> int:
    """Run what is asked for, or both."""
    if words[:1] == ["child"]:
        child(int(words[1]), int(words[2]), words[3])
        return 0
    parts = {"overhead": overhead, "memory": memory}
    return int(sum(parts[word]() for word in (words or list(parts))) > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
