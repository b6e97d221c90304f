"""Tuners with few labels on the phantom: asking a network what it was not asked, and rates at which it forgets.

python recipes/mechanisms/tuners_few_labels.py

A small transformer learns to answer two questions about an eye, and which one is asked stands in the image: the colour
of the surround. Then images come that carry the colour of the one question, and few labels of the other. The frozen
features speak of what is asked; prompts are tokens that might ask otherwise, and other tuners may change the answer.
In a second part labels are fewer still and rates go up: what early layers know is lost first, and that is what slower
early layers are for. Questions, rates, epochs and numbers of patients were chosen on clinics of the seeds 1000 and
2000; those of `TESTED` are measured. Negative control: the answers of other patients, which teach nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grounds.questions import (
    FIBRES,
    FULL,
    OCCLUSION,
    SHAPE,
    SIDE,
    Album,
    Ground,
    Logits,
    apart,
    compared,
    level,
    probe,
    stored,
    tuned,
)
from grounds.told import told
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel

from tapetum.core.types import Interval
from tapetum.learn.features.loader import Loader
from tapetum.learn.features.preprocess import Preprocess
from tapetum.learn.training.history import LoopSettings
from tapetum.learn.training.loop import run_loop
from tapetum.learn.tuning.tune import TuneConfig

TESTED = 7000  # seed of the clinics that are measured
LEARNERS, POOL, OTHERS = 200, 90, 100  # patients, two eyes each
FEW, FEWER = (3, 30), (4, 16)  # runs, and patients with labels in each, never the same: for the tuners, for the decay
COLOURS = {OCCLUSION: (230, 30, 30), FIBRES: (30, 230, 30)}  # of the surround, by the question asked
BEFORE = LoopSettings(epochs=30, batch=32, learning_rate=2e-3, weight_decay=0.05, patience=0)
BUDGET: dict[str, Any] = {"epochs": 40, "batch": 16, "augment": "", "patience": 0, "threads": 1}
# So small a network takes larger steps than those that the tuners' own rates are for.
RATES = {
    "prompts(count=8)": 1e-1, "dynamic_prompts(count=2, width=4)": 3e-2, "lora": 5e-3, "last": 1e-3, FULL: 1e-3,
}  # fmt: skip
CONTROL = "lora"
LADDER = (1e-3, 3e-3, 1e-2, 3e-2)
SHORT: dict[str, Any] = BUDGET | {"epochs": 30, "patience": 8}


class Answers(nn.Module):
    """A transformer with one logit on its class token and the mean of its patches."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = ViTModel(ViTConfig(**SHAPE), add_pooling_layer=False)
            self.head = nn.Linear(2 * SHAPE["hidden_size"], 1)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        tokens = self.net(x).last_hidden_state
        return self.head(torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], 1))[:, 0]


def ground(folder: Path, seed: int) -> Ground:
    """Three groups of patients, and a transformer that learned both questions from the first."""
    learners = Album(folder / "learners", LEARNERS, seed, COLOURS)
    network, load = Answers(), Loader(learners, Preprocess(SIDE), list(learners.images), seed=0)
    wanted = torch.from_numpy(learners.truth[np.arange(len(learners.asked)), learners.asked].astype(np.float32))

    def loss(rows: np.ndarray, epoch: int) -> Tensor:
        given = wanted[torch.from_numpy(rows)]
        return nn.functional.binary_cross_entropy_with_logits(network(load(rows, epoch)), given, reduction="none")

    rows = np.arange(len(learners.records))
    run_loop(network, loss, rows, rows[:0], BEFORE, np.random.default_rng(0))
    pool = Album(folder / "pool", POOL, seed + 1, COLOURS)
    others = Album(folder / "others", OTHERS, seed + 2, COLOURS)
    return Ground(stored(network.net, folder / "vit"), {}, pool, others)


def asking(at: Ground) -> list[str]:
    """The table of tuners, and what it says."""
    rates = ", ".join(f"`{spec}` {rate:g}" for spec, rate in RATES.items())
    return [
        f"**The other question.** All images carry the colour of the question about the fibres; {FEW[1]} patients "
        f"({2 * FEW[1]} images) a run teach on which side the occlusion lies, {FEW[0]} runs. {BUDGET['epochs']} "
        f"epochs; peak rates: {rates}; for prompts 0.01 to 0.3 were tried on the clinics of choice.", "",
        *compared(at, OCCLUSION, FEW, RATES, BUDGET, CONTROL),
        f"The same probe of what the images ask for, the fibres: {level(at, probe(at, FIBRES, FEW), FIBRES)}.", "",
    ]  # fmt: skip


def slower(at: Ground) -> list[str]:
    """The table of rates with and without layer-wise decay, and what it says."""
    lines = [
        f"**Slower early layers.** Images that ask about the occlusion; {FEWER[1]} patients ({2 * FEWER[1]} images) a "
        f"run teach about the fibres, {FEWER[0]} runs, at most {SHORT['epochs']} epochs. All rates were named "
        f"beforehand, both ways run at each. Frozen probe: {level(at, probe(at, FIBRES, FEWER), FIBRES)}.", "",
        "| peak rate | `full` (decay 0.65) | `full(decay=1.0)` | difference |", "|---|---|---|---|",
    ]  # fmt: skip
    found: list[list[Logits]] = []
    gains: dict[float, Interval] = {}
    for rate in LADDER:
        pair = [tuned(at, TuneConfig(s, learning_rate=rate, **SHORT), FIBRES, FEWER).logits for s in ("full", FULL)]
        gains[rate] = apart(at, pair[0], pair[1], FIBRES)
        found.append(pair)
        levels = " | ".join(level(at, logits, FIBRES) for logits in pair)
        lines.append(f"| {rate:g} | {levels} | {told(gains[rate])} |")
    slow, flat = (np.concatenate([pair[k] for pair in found]) for k in (0, 1))
    helps = ", ".join(f"{rate:g}" for rate, gain in gains.items() if gain.low > 0) or "no rate"
    costs = ", ".join(f"{rate:g}" for rate, gain in gains.items() if gain.high < 0) or "no rate"
    return [
        *lines, "",
        f"Slower early layers help with an interval above 0 at {helps}, cost at {costs}; over all rates "
        f"{told(apart(at, slow, flat, FIBRES))}.", "",
    ]  # fmt: skip


def measure() -> str:
    """The section of the page on mechanisms: two tables in Markdown."""
    torch.set_num_threads(1)
    start, used = time.monotonic(), time.process_time()
    lines = [
        "### Tuners with few labels: another question, and high rates", "",
        f"PHANTOM, {SIDE} px. A transformer of {SHAPE['num_hidden_layers']} blocks learned two questions from "
        f"{LEARNERS} patients whose eyes show a vein's occlusion and nerve fibres: does the one, does the other lie "
        "above the disc? The colour of the surround says which is asked, and only that was answered. Prompts are equal "
        "for all images and change no weight: of what a network has learned nothing of they add nothing (`tuners.py`); "
        "here they might ask for what it knows. Baseline: logistic regression on the frozen features. "
        f"{OTHERS} other patients are tested ({2 * OTHERS} images); each run has "
        "labels of its own patients; AUROC, 95 % intervals over patients and runs. Everything was chosen on other "
        "clinics; these are measured once.", "",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        at = ground(Path(folder), TESTED)
        lines += [*asking(at.asking(FIBRES)), *slower(at.asking(OCCLUSION))]
    took = f"{time.monotonic() - start:.0f} s in all ({time.process_time() - used:.0f} s of one core)"
    return "\n".join([*lines, f"{took}; `python recipes/mechanisms/tuners_few_labels.py`", ""])


if __name__ == "__main__":
    sys.stdout.write(measure())
