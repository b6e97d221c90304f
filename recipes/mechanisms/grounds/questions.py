"""Eyes of which two things can be asked, a small transformer that has learned to answer, and tuners with few labels."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from transformers import ViTModel, logging

from grounds.told import told
from tapetum.core.registry import Family
from tapetum.core.types import ImageRecord, Interval, Laterality, Split
from tapetum.learn import embed
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.tuning.tune import HEAD, TuneConfig, Tuned, tune
from tapetum.phantom import EyeSpec, render_eye
from tapetum.score.stats import paired_runs_difference, runs_auroc_interval

SIDE = 64  # pixels
SIGNS = ("branch_retinal_vein_occlusion", "myelinated_nerve_fibres")
OCCLUSION, FIBRES = range(2)  # above the disc?
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256, "image_size": SIDE,
    "patch_size": 16,
}  # fmt: skip
States = dict[int, dict[str, Tensor]]
Logits = Float[np.ndarray, "s n k"]
Colour = tuple[int, int, int]
FULL = "full(decay=1.0)"


class Album:
    """Photographs of both eyes of phantom patients, each with both signs.

    Args:
        cache: folder of what is computed from them. patients: how many. seed: of the clinic.
        asked: question → colour of the surround, in which every eye stands once.
    """

    def __init__(self, cache: Path, patients: int, seed: int, asked: Mapping[int, Colour]) -> None:
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
                for question, colour in asked.items():
                    name = f"{seed}-{n:03d}-{side}-{question}"
                    self.images[name] = surrounded(seen.image, colour)
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
        part = Album(self.cache, 0, 0, {})
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


def surrounded(image: UInt8[np.ndarray, "s s 3"], colour: Colour) -> UInt8[np.ndarray, "s s 3"]:
    """The photograph with the black around it in a colour."""
    middle = (SIDE - 1) / 2
    y, x = np.mgrid[:SIDE, :SIDE]
    changed = image.copy()
    changed[(y - middle) ** 2 + (x - middle) ** 2 > (SIDE / 2 + 0.5) ** 2] = colour
    return changed


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


def stored(net: ViTModel, folder: Path) -> str:
    """Save a network as `transformers` does; the spec of the encoder that reads it again."""
    logging.disable_progress_bar()
    net.save_pretrained(folder)
    means: dict[str, Any] = {"size": SIDE, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(means), encoding="utf-8")
    return f"transformer(path={str(folder)!r})"


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


def compared(
    at: Ground,
    question: int,
    few: tuple[int, int],
    rates: Mapping[str, float],
    budget: Mapping[str, Any],
    control: str,
) -> list[str]:
    """A table of tuners beside the frozen probe and beside a network tuned as a whole, and what it says.

    Args:
        at: who teaches and who is tested.
        question: that is taught.
        few: runs, and patients with labels in each, never the same.
        rates: peak rate by tuner, `FULL` among them.
        budget: settings that all share.
        control: the tuner that is also given the answers of other patients.
    """
    frozen = probe(at, question, few)
    runs = {spec: tuned(at, TuneConfig(spec, learning_rate=r, **budget), question, few) for spec, r in rates.items()}
    whole = runs[FULL].logits
    gains = {spec: apart(at, run.logits, frozen, question) for spec, run in runs.items()}
    lines = [
        f"| method | numbers trained | AUROC | minus the frozen probe | minus `{FULL}` | seconds |",
        "|---|---|---|---|---|---|",
        f"| frozen probe | 0 | {level(at, frozen, question)} | | {told(apart(at, frozen, whole, question))} | |",
    ]
    for spec, run in runs.items():
        rest = told(apart(at, run.logits, whole, question)) if spec != FULL else ""
        trained = run.last.log["trained"]
        lines.append(
            f"| `{spec}` | {trained} ({trained / run.last.log['frozen']:.2%}) | {level(at, run.logits, question)} | "
            f"{told(gains[spec])} | {rest} | {run.seconds:.0f} |"
        )
    wrong = tuned(at, TuneConfig(control, learning_rate=rates[control], **budget), question, few, mixed=True)
    clear = [spec for spec, gain in gains.items() if gain.low > 0]
    return [
        *lines, "",
        f"Better than the frozen probe with an interval above 0: {_listed(clear)}; not clearly: "
        f"{_listed([spec for spec in gains if spec not in clear])}. Negative control, `{control}` with the answers of "
        f"other patients: {level(at, wrong.logits, question)}.", "",
    ]  # fmt: skip


def _who(at: Ground) -> np.ndarray:
    return np.array([record.patient_id for record in at.others.records])


def _listed(specs: Sequence[str]) -> str:
    return ", ".join(f"`{spec}`" for spec in specs) or "none"
