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

import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grounds.told import told
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel, logging

from tapetum.core.registry import Family
from tapetum.core.types import ImageRecord, Interval, Laterality, Split
from tapetum.learn import embed
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.features.loader import Loader
from tapetum.learn.features.preprocess import Preprocess
from tapetum.learn.training.history import LoopSettings
from tapetum.learn.training.loop import run_loop
from tapetum.learn.tuning.tune import HEAD, TuneConfig, Tuned, tune
from tapetum.phantom import EyeSpec, render_eye
from tapetum.score.stats import paired_runs_difference, runs_auroc_interval

TESTED = 7000  # seed of the clinics that are measured
LEARNERS, POOL, OTHERS, SIDE = 200, 90, 100, 64  # patients, two eyes each; pixels
FEW, FEWER = (3, 30), (4, 16)  # runs, and patients with labels in each, never the same: for the tuners, for the decay
SIGNS = ("branch_retinal_vein_occlusion", "myelinated_nerve_fibres")
OCCLUSION, FIBRES = range(2)  # above the disc?
COLOURS = {OCCLUSION: (230, 30, 30), FIBRES: (30, 230, 30)}  # of the surround, by the question asked
BEFORE = LoopSettings(epochs=30, batch=32, learning_rate=2e-3, weight_decay=0.05, patience=0)
BUDGET: dict[str, Any] = {"epochs": 40, "batch": 16, "augment": "", "patience": 0, "threads": 1}
FULL = "full(decay=1.0)"
# So small a network takes larger steps than those that the tuners' own rates are for.
RATES = {
    "prompts(count=8)": 1e-1, "dynamic_prompts(count=2, width=4)": 3e-2, "lora": 5e-3, "last": 1e-3, FULL: 1e-3,
}  # fmt: skip
CONTROL = "lora"
LADDER = (1e-3, 3e-3, 1e-2, 3e-2)
SHORT: dict[str, Any] = BUDGET | {"epochs": 30, "patience": 8}
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256, "image_size": SIDE,
    "patch_size": 16,
}  # fmt: skip
States = dict[int, dict[str, Tensor]]
Logits = Float[np.ndarray, "s n k"]


class Album:
    """Photographs of both eyes of phantom patients, each with both signs, in the colours of the questions asked."""

    def __init__(self, cache: Path, patients: int, seed: int, asked: Sequence[int]) -> None:
        self.cache, self.images = cache, dict[str, UInt8[np.ndarray, "s s 3"]]()
        records: list[ImageRecord] = []
        truth: list[list[float]] = []
        questions: list[int] = []
        for n in range(patients):
            rng = np.random.default_rng([seed, n])
            pigment, age = float(rng.beta(2.2, 2.2)), float(rng.uniform(30, 85))
            for side in (Laterality.RIGHT, Laterality.LEFT):
                camera = ("cam_a", "cam_b")[int(rng.integers(2))]
                there = {sign: float(rng.uniform(0.4, 1)) for sign in SIGNS}
                cup = float(rng.uniform(0.2, 0.45))
                eye = EyeSpec(side, int(rng.integers(2**40)), there, age, pigment, cup, camera)
                seen = render_eye(eye, size=SIDE, rng=rng)
                above = [float(np.nonzero(seen.masks[s])[0].mean() < seen.landmarks["disc"][1]) for s in SIGNS]
                for question in asked:
                    name = f"{seed}-{n:03d}-{side}-{question}"
                    self.images[name] = surrounded(seen.image, COLOURS[question])
                    truth.append(above)
                    questions.append(question)
                    records.append(
                        ImageRecord(
                            name, f"{seed}-{n:03d}", "unknown", side, "fundus", SIDE, SIDE, 3, 8, float("nan"), age,
                            "unknown", "unknown", name, "", (), Split.NONE,
                        )
                    )  # fmt: skip
        self.records, self.truth, self.asked = tuple(records), np.array(truth), np.array(questions)

    def only(self, rows: Int[np.ndarray, "n"]) -> Album:
        """Some of the images."""
        part = Album(self.cache, 0, 0, ())
        part.images, part.records = self.images, tuple(self.records[i] for i in rows)
        part.truth, part.asked = self.truth[rows], self.asked[rows]
        return part

    def asking(self, question: int) -> Album:
        """The images that carry the colour of a question."""
        return self.only(np.flatnonzero(self.asked == question))

    def pixels(self, image_id: str, *, min_side: int) -> UInt8[np.ndarray, "s s 3"]:
        """As it was taken."""
        del min_side
        return self.images[image_id]


def surrounded(image: UInt8[np.ndarray, "s s 3"], colour: tuple[int, int, int]) -> UInt8[np.ndarray, "s s 3"]:
    """The photograph with the black around it in a colour."""
    middle = (SIDE - 1) / 2
    y, x = np.mgrid[:SIDE, :SIDE]
    changed = image.copy()
    changed[(y - middle) ** 2 + (x - middle) ** 2 > (SIDE / 2 + 0.5) ** 2] = colour
    return changed


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


@dataclasses.dataclass(frozen=True)
class Ground:
    """What every method is given: a network that learned before, patients who may get labels, and others."""

    encoder: str
    states: States
    pool: Album
    others: Album

    def asking(self, question: int) -> Ground:
        """The same with images that carry the colour of a question."""
        return dataclasses.replace(self, pool=self.pool.asking(question), others=self.others.asking(question))

    def taught(self, run: int, patients: int) -> Album:
        """The labelled images of a run; no two runs share a patient."""
        first = 2 * run * patients
        return self.pool.only(np.arange(first, first + 2 * patients))

    def embedder(self, states: States | None = None, **deltas: Any) -> Embedder:
        """The network as it was, or as it is now."""
        return Embedder(self.encoder, threads=1, backend="torch", states=states or self.states, **deltas)


def ground(folder: Path, seed: int) -> Ground:
    """Three groups of patients, and a transformer that learned both questions from the first."""
    learners = Album(folder / "learners", LEARNERS, seed, (OCCLUSION, FIBRES))
    network, load = Answers(), Loader(learners, Preprocess(SIDE), list(learners.images), seed=0)
    wanted = torch.from_numpy(learners.truth[np.arange(len(learners.asked)), learners.asked].astype(np.float32))

    def loss(rows: np.ndarray, epoch: int) -> Tensor:
        given = wanted[torch.from_numpy(rows)]
        return nn.functional.binary_cross_entropy_with_logits(network(load(rows, epoch)), given, reduction="none")

    rows = np.arange(len(learners.records))
    run_loop(network, loss, rows, rows[:0], BEFORE, np.random.default_rng(0))
    logging.disable_progress_bar()
    network.net.save_pretrained(folder / "vit")
    means: dict[str, Any] = {"size": SIDE, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    (folder / "vit" / "preprocessor_config.json").write_text(json.dumps(means), encoding="utf-8")
    pool = Album(folder / "pool", POOL, seed + 1, (OCCLUSION, FIBRES))
    others = Album(folder / "others", OTHERS, seed + 2, (OCCLUSION, FIBRES))
    return Ground(f"transformer(path={str(folder / 'vit')!r})", {}, pool, others)


def probe(at: Ground, question: int, few: tuple[int, int]) -> Logits:
    """Logits of the others from the frozen network, run by run: logistic regression on the run's labelled images."""
    frozen, found = at.embedder(), list[np.ndarray]()
    tested = embed(at.others, frozen)
    for run in range(few[0]):
        taught = at.taught(run, few[1])
        rows = embed(taught, frozen)
        adapter = Family("tapetum.learn.adapters").build("logistic(power=1.0)")
        fitted = adapter.fit(rows.features, taught.truth[:, [question]], np.asarray(rows.patient_ids), rows.blocks)
        found.append(fitted(tested.features))
    return np.stack(found)


@dataclasses.dataclass(frozen=True)
class Run:
    """What a tuner made of the labels: logits of the others, run by run; the last run, and the seconds of one."""

    logits: Logits
    last: Tuned
    seconds: float


def tuned(at: Ground, config: TuneConfig, question: int, few: tuple[int, int], *, mixed: bool = False) -> Run:
    """A tuner on the labelled images of every run; `mixed`: each patient with the answers of another one."""
    found: list[np.ndarray] = []
    learned: list[Tuned] = []
    (runs, patients), start = few, time.monotonic()
    for run in range(runs):
        taught = at.taught(run, patients)
        labels = taught.truth[:, [question]]
        if mixed:
            labels = labels.reshape(patients, 2)[np.random.default_rng(run).permutation(patients)].reshape(-1, 1)
        rows = embed(taught, at.embedder())
        one = tune(taught, rows, labels, dataclasses.replace(config, seed=run), states=at.states)
        through = at.embedder({**at.states, **{k: dict(v) for k, v in one.towers.items()}}, deltas=one.deltas)
        found.append(Family("tapetum.learn.adapters").build(HEAD).restore(one.head)(embed(at.others, through).features))
        learned.append(one)
    return Run(np.stack(found), learned[-1], (time.monotonic() - start) / runs)


def level(at: Ground, logits: Logits, question: int) -> str:
    """AUROC of one question."""
    truth, who = at.others.truth[:, [question]], _who(at)
    return str(runs_auroc_interval(logits, truth, who, rng=np.random.default_rng(0), draws=1000))


def apart(at: Ground, a: Logits, b: Logits, question: int) -> Interval:
    """AUROC of a minus that of b."""
    truth, who = at.others.truth[:, [question]], _who(at)
    return paired_runs_difference(a, b, truth, who, rng=np.random.default_rng(0), draws=1000).interval


def _who(at: Ground) -> np.ndarray:
    return np.array([record.patient_id for record in at.others.records])


def asking(at: Ground) -> list[str]:
    """The table of tuners, and what it says."""
    rates = ", ".join(f"`{spec}` {rate:g}" for spec, rate in RATES.items())
    frozen = probe(at, OCCLUSION, FEW)
    lines = [
        f"**The other question.** All images carry the colour of the question about the fibres; {FEW[1]} patients "
        f"({2 * FEW[1]} images) a run teach on which side the occlusion lies, {FEW[0]} runs. {BUDGET['epochs']} "
        f"epochs; peak rates: {rates}; for prompts 0.01 to 0.3 were tried on the clinics of choice.", "",
        f"| method | numbers trained | AUROC | minus the frozen probe | minus `{FULL}` | seconds |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    runs = {s: tuned(at, TuneConfig(s, learning_rate=r, **BUDGET), OCCLUSION, FEW) for s, r in RATES.items()}
    whole = runs[FULL].logits
    short = told(apart(at, frozen, whole, OCCLUSION))
    lines.append(f"| frozen probe | 0 | {level(at, frozen, OCCLUSION)} | | {short} | |")
    gains = {spec: apart(at, run.logits, frozen, OCCLUSION) for spec, run in runs.items()}
    for spec, run in runs.items():
        rest = told(apart(at, run.logits, whole, OCCLUSION)) if spec != FULL else ""
        trained = run.last.log["trained"]
        lines.append(
            f"| `{spec}` | {trained} ({trained / run.last.log['frozen']:.2%}) | {level(at, run.logits, OCCLUSION)} | "
            f"{told(gains[spec])} | {rest} | {run.seconds:.0f} |"
        )
    control = TuneConfig(CONTROL, learning_rate=RATES[CONTROL], **BUDGET)
    wrong = tuned(at, control, OCCLUSION, FEW, mixed=True)
    clear = [spec for spec, gain in gains.items() if gain.low > 0]
    return [
        *lines, "",
        f"Better than the frozen probe with an interval above 0: {_listed(clear)}; not clearly: "
        f"{_listed([spec for spec in gains if spec not in clear])}. The same probe of what the images ask for, the "
        f"fibres: {level(at, probe(at, FIBRES, FEW), FIBRES)}. Negative control, `{CONTROL}` with the answers of other "
        f"patients: {level(at, wrong.logits, OCCLUSION)}.", "",
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


def _listed(specs: list[str]) -> str:
    return ", ".join(f"`{spec}`" for spec in specs) or "none"


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
