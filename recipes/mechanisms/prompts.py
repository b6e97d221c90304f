"""Prompts on the phantom: tokens that ask a network for what it knows and does not say.

python recipes/mechanisms/prompts.py

A small transformer learns to answer two questions about an eye. One is asked by a further token beside those of the
image; without it the other is answered. It is made to keep to itself what it is not asked: two small networks that try
to tell the other answer from its features are trained against it (gradient reversal). Then the token is lost, few
images have labels of what it asked for, and everybody is given the network without it. Visual prompts are such tokens:
if they do what they are meant to, they find it again.

Rates, epochs, numbers of tokens and of patients were chosen on clinics of the seeds 1000, 2000 and 9000 (of which the
last had been measured, with 30 patients a run, for this page: prompts before the first block gained, deep and dynamic
ones did not); those of `TESTED` are measured, each with a network of its own. Negative control: the answers of other
patients, which teach nothing.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grounds.questions import FIBRES, FULL, OCCLUSION, SHAPE, SIDE, Album, Ground, compared, level, probe, stored, tuned
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from tapetum.learn.features.loader import Loader
from tapetum.learn.features.preprocess import Preprocess
from tapetum.learn.training.history import LoopSettings
from tapetum.learn.training.loop import run_loop
from tapetum.learn.tuning.tune import TuneConfig

TESTED = (11000, 12000)  # seeds of the clinics that are measured
LEARNERS, OTHERS = 200, 100  # patients, two eyes each
FEW = (8, 16)  # runs, and patients with labels in each, never the same
BLACK = {FIBRES: (0, 0, 0)}  # the surround, as cameras make it; without a token the fibres are answered
BEFORE = LoopSettings(epochs=80, batch=32, learning_rate=2e-3, weight_decay=0.05, patience=0)
COPIES, NOISE = 8, 0.02  # of the token while it is learned: so that it is found again from further off
# A head that starts from a probe has learned the few labels by heart already, and leaves the prompts nothing to learn.
BUDGET: dict[str, Any] = {
    "epochs": 50, "batch": 8, "augment": "", "patience": 0, "threads": 1, "start": "zero", "head_rate": 3e-4,
}  # fmt: skip
# So small a network takes larger steps than those that the tuners' own rates are for.
RATES = {
    "prompts(count=8, deep=False)": 3e-2, "prompts(count=8)": 3e-2, "dynamic_prompts(count=6, width=4)": 3e-2,
    "lora": 5e-3, "last": 1e-3, FULL: 1e-3,
}  # fmt: skip
CONTROL = "prompts(count=8, deep=False)"


class Asked(nn.Module):
    """A transformer with one logit, which a further token turns to another question."""

    def __init__(self) -> None:
        super().__init__()
        width = SHAPE["hidden_size"]
        self.draws = np.random.default_rng(0)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = ViTModel(ViTConfig(**SHAPE), add_pooling_layer=False)
            self.token = nn.Parameter(0.05 * torch.randn(1, 1, width))
            self.head = nn.Linear(2 * width, 1)
            self.spies = nn.ModuleList(
                nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, 64), nn.ReLU(), nn.Linear(64, 1))
                for _ in range(2)
            )
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor, *, token: bool) -> tuple[Tensor, Tensor]:
        """Logits of what is asked, and a spy's logits of what is not."""
        seen = self.net.embeddings(x)
        own = seen.shape[1]
        if token:
            asks = self.token.expand(len(x), int(self.draws.integers(1, COPIES + 1)), -1)
            seen = torch.cat([seen, asks + NOISE * torch.randn(asks.shape)], 1)
        for layer in self.net.layers:
            seen = layer(seen, None)
        seen = self.net.layernorm(seen)[:, :own]
        features = torch.cat([seen[:, 0], seen[:, 1:].mean(1)], 1)
        return self.head(features)[:, 0], self.spies[int(token)](_Turned.apply(features))[:, 0]


class _Turned(torch.autograd.Function):
    """The same; backward, the opposite."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        del ctx
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        del ctx
        return -gradient


def ground(folder: Path, seed: int) -> Ground:
    """Three groups of patients, and a transformer that learned both questions from the first."""
    learners = Album(folder / "learners", LEARNERS, seed, BLACK)
    network, load = Asked(), Loader(learners, Preprocess(SIDE), list(learners.images), seed=0)
    truth = torch.from_numpy(learners.truth.astype(np.float32))

    def loss(rows: np.ndarray, epoch: int) -> Tensor:
        images, given = load(rows, epoch), truth[torch.from_numpy(rows)]
        total = torch.zeros(len(rows))
        for token, asked, kept in ((True, OCCLUSION, FIBRES), (False, FIBRES, OCCLUSION)):
            for logits, question in zip(network(images, token=token), (asked, kept), strict=True):
                wrong = nn.functional.binary_cross_entropy_with_logits(logits, given[:, question], reduction="none")
                total = total + wrong / 2
        return total

    rows = np.arange(len(learners.records))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        run_loop(network, loss, rows, rows[:0], BEFORE, np.random.default_rng(0))
    pool = Album(folder / "pool", FEW[0] * FEW[1], seed + 1, BLACK)
    others = Album(folder / "others", OTHERS, seed + 2, BLACK)
    return Ground(stored(network.net, folder / "vit"), {}, pool, others)


def clinic(at: Ground) -> list[str]:
    """The table of one clinic and its network, and what it says."""
    by_heart = dataclasses.replace(TuneConfig(CONTROL, learning_rate=RATES[CONTROL], **BUDGET), start="probe")
    return [
        *compared(at, OCCLUSION, FEW, RATES, BUDGET, CONTROL),
        f"What it says without being asked, by the probe: {level(at, probe(at, FIBRES, FEW), FIBRES)}. `{CONTROL}` "
        "under a head that starts from the frozen probe, which knows the few labels by heart, and not from zero: "
        f"{level(at, tuned(at, by_heart, OCCLUSION, FEW).logits, OCCLUSION)}.", "",
    ]  # fmt: skip


def measure() -> str:
    """The section of the page on mechanisms: a table in Markdown."""
    torch.set_num_threads(1)
    start, used = time.monotonic(), time.process_time()
    rates = ", ".join(f"`{spec}` {rate:g}" for spec, rate in RATES.items())
    lines = [
        "### Prompts: asking a network for what it knows and does not say", "",
        f"PHANTOM, {SIDE} px. A transformer of {SHAPE['num_hidden_layers']} blocks learned two questions from "
        f"{LEARNERS} patients whose eyes show a vein's occlusion and nerve fibres: does the one, does the other lie "
        "above the disc? A further token asked for the first; without it the network answers the second, and gradient "
        "reversal made it keep the first to itself. Then the token is lost. Baseline: logistic regression on the "
        f"frozen features, without the token. {FEW[1]} patients ({2 * FEW[1]} images) a run teach the lost question, "
        f"{FEW[0]} runs with patients of their own; {OTHERS} others are tested ({2 * OTHERS} images); AUROC, 95 % "
        f"intervals over patients and runs. {BUDGET['epochs']} epochs, heads from zero; peak rates: {rates}. "
        "Everything was chosen on other clinics with other networks; these are measured once.", "",
    ]  # fmt: skip
    for number, seed in enumerate(TESTED, 1):
        with tempfile.TemporaryDirectory() as folder:
            lines += [f"Clinic {number}:", "", *clinic(ground(Path(folder), seed))]
    took = f"{time.monotonic() - start:.0f} s in all ({time.process_time() - used:.0f} s of one core)"
    return "\n".join([*lines, f"{took}; `python recipes/mechanisms/prompts.py`", ""])


if __name__ == "__main__":
    sys.stdout.write(measure())
