"""Tuners on the phantom: what training inside a network adds where its frozen features do not hold what is asked.

python recipes/mechanisms/tuners.py

A small transformer learns which eye it sees and in which half a vein is occluded. Then a finding comes up that it never
saw: nerve fibres beside the disc, above or below it, with an occlusion as loud as before. Its frozen features speak of
the occlusion; every tuner gets the same images and may change what the network looks at. Question, rates and epochs
were chosen on clinics of the seeds 1000 to 4000; those of `TESTED` are measured. Negative control: the answers of other
patients, from which nothing can be learned.
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
from grounds.told import told
from grounds.towers import transformer
from jaxtyping import Float, UInt8

from tapetum.core.registry import Family
from tapetum.core.types import Embeddings, ImageRecord, Interval, Laterality, Split
from tapetum.learn import embed
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.tuning.tune import HEAD, TuneConfig, Tuned, tune
from tapetum.phantom import EyeSpec, render_eye
from tapetum.score.stats import paired_runs_difference, runs_auroc_interval

TESTED = 5000  # seed of the clinics that are measured
LEARNERS, TAUGHT, OTHERS, SIDE, SEEDS = 200, 150, 100, 64, 3  # patients, two eyes each; pixels; runs
KNOWN, NEW = "branch_retinal_vein_occlusion", "myelinated_nerve_fibres"
BEFORE = TuneConfig(
    "full(decay=1.0)", epochs=30, batch=32, learning_rate=1e-3, augment="", start="zero", patience=0, threads=1
)
BUDGET: dict[str, Any] = {"epochs": 30, "batch": 16, "augment": "", "patience": 8, "threads": 1}
# So small a network takes larger steps than those that the tuners' own rates are for.
FULL = "full(decay=1.0)"
RATES = {
    "lora": 5e-3, "prompts(count=7)": 1e-2, "dynamic_prompts(count=4, width=4)": 1e-2, "last": 1e-3, "full": 1e-3,
    FULL: 1e-3,
}  # fmt: skip
SMALL, CONTROL = 0.01, "lora"
SHAPE: dict[str, Any] = {
    "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 256, "image_size": SIDE,
    "patch_size": 16,
}  # fmt: skip
States = dict[int, dict[str, torch.Tensor]]
Logits = Float[np.ndarray, "s n k"]


class Album:
    """Photographs of both eyes of phantom patients: in every eye an occlusion, and the new finding where asked."""

    def __init__(self, cache: Path, patients: int, seed: int, *, new: bool) -> None:
        self.cache, self.images = cache, dict[str, UInt8[np.ndarray, "s s 3"]]()
        records: list[ImageRecord] = []
        truth: list[list[float]] = []
        signs = (KNOWN, NEW) if new else (KNOWN,)
        for n in range(patients):
            rng = np.random.default_rng([seed, n])
            pigment, age = float(rng.beta(2.2, 2.2)), float(rng.uniform(30, 85))
            camera = ("cam_a", "cam_b")[int(rng.integers(2))]
            for side in (Laterality.RIGHT, Laterality.LEFT):
                there = {sign: float(rng.uniform(0.4, 1)) for sign in signs}
                cup = float(rng.uniform(0.2, 0.45))
                seen = render_eye(
                    EyeSpec(side, int(rng.integers(2**40)), there, age, pigment, cup, camera), size=SIDE, rng=rng
                )
                name = f"{seed}-{n:03d}-{side}"
                self.images[name] = seen.image
                above = [float(np.nonzero(seen.masks[s])[0].mean() < seen.landmarks["disc"][1]) for s in signs]
                truth.append([float(side is Laterality.RIGHT), *above])
                records.append(
                    ImageRecord(
                        name, f"{seed}-{n:03d}", "unknown", side, "fundus", SIDE, SIDE, 3, 8, float("nan"), age,
                        "unknown", "unknown", name, "", (), Split.NONE,
                    )
                )  # fmt: skip
        self.records = tuple(records)
        self.truth = np.array(truth)  # right eye, occlusion above, fibres above

    def pixels(self, image_id: str, *, min_side: int) -> UInt8[np.ndarray, "s s 3"]:
        """As it was taken."""
        del min_side
        return self.images[image_id]


@dataclasses.dataclass(frozen=True)
class Ground:
    """What every method is given: a network that learned before, labelled images, and others to be tested."""

    encoder: str
    states: States
    taught: Album
    rows: Embeddings
    others: Album
    tested: Embeddings
    before: Tuned

    @property
    def labels(self) -> np.ndarray:
        """Of those who teach: fibres above the disc."""
        return self.taught.truth[:, 2:]

    @property
    def truth(self) -> np.ndarray:
        """Of those who are tested."""
        return self.others.truth[:, 2:]


def ground(folder: Path, seed: int) -> Ground:
    """Three groups of patients, and a transformer that learned from the first, without the new finding."""
    learners = Album(folder / "learners", LEARNERS, seed, new=False)
    taught = Album(folder / "taught", TAUGHT, seed + 1, new=True)
    others = Album(folder / "others", OTHERS, seed + 2, new=True)
    encoder = transformer(folder / "vit", SHAPE)
    before = tune(learners, embed(learners, encoder, threads=1), learners.truth, BEFORE)
    states: States = {place: dict(state) for place, state in before.towers.items()}
    frozen = Embedder(encoder, threads=1, backend="torch", states=states)
    return Ground(encoder, states, taught, embed(taught, frozen), others, embed(others, frozen), before)


def probe(at: Ground) -> Logits:
    """Logits of all three questions from the frozen network: logistic regression on all labelled images."""
    adapter = Family("tapetum.learn.adapters").build("logistic(power=1.0)")
    fitted = adapter.fit(at.rows.features, at.taught.truth, np.asarray(at.rows.patient_ids), at.rows.blocks)
    return np.stack([fitted(at.tested.features)] * SEEDS)


def tuned(at: Ground, tuner: str, labels: np.ndarray) -> tuple[Logits, Tuned, float]:
    """Logits of the tested images, run by run; the last run, and the seconds of one."""
    found: list[np.ndarray] = []
    learned: list[Tuned] = []
    start = time.monotonic()
    for seed in range(SEEDS):
        config = TuneConfig(tuner, seed=seed, learning_rate=RATES[tuner], **BUDGET)
        run = tune(at.taught, at.rows, labels, config, states=at.states)
        learned.append(run)
        towers = {**at.states, **run.towers}
        through = Embedder(at.encoder, threads=1, backend="torch", states=towers, deltas=run.deltas)
        rows = embed(at.others, through)
        found.append(Family("tapetum.learn.adapters").build(HEAD).restore(run.head)(rows.features))
    return np.stack(found), learned[-1], (time.monotonic() - start) / SEEDS


def strangers(at: Ground) -> np.ndarray:
    """The labels of the patients who teach, each patient with those of another one."""
    order = np.random.default_rng(0).permutation(TAUGHT)
    return at.labels.reshape(TAUGHT, 2)[order].reshape(-1, 1)


@dataclasses.dataclass(frozen=True)
class Measured:
    """What every method said of the tested images."""

    at: Ground
    every: Logits  # of the frozen probe, all three questions
    runs: dict[str, tuple[Logits, Tuned, float]]
    control: Logits

    @property
    def frozen(self) -> Logits:
        """Of the frozen probe, the new question."""
        return self.every[:, :, 2:]

    def level(self, logits: Logits, column: int = 2) -> str:
        """AUROC of one question."""
        truth = self.at.others.truth[:, column : column + 1]
        who = self.at.tested.patient_ids
        return str(runs_auroc_interval(logits, truth, who, rng=np.random.default_rng(0), draws=1000))

    def apart(self, a: Logits, b: Logits) -> Interval:
        """AUROC of a minus that of b, the new question."""
        who = self.at.tested.patient_ids
        return paired_runs_difference(a, b, self.at.truth, who, rng=np.random.default_rng(0), draws=1000).interval

    def share(self, spec: str) -> float:
        """Of the network's numbers, those that were trained."""
        log = self.runs[spec][1].log
        return log["trained"] / log["frozen"]


def measured(seed: int) -> Measured:
    """Every method on the clinics of this seed."""
    with tempfile.TemporaryDirectory() as folder:
        at = ground(Path(folder), seed)
        runs = {spec: tuned(at, spec, at.labels) for spec in RATES}
        return Measured(at, probe(at), runs, tuned(at, CONTROL, strangers(at))[0])


def head() -> list[str]:
    """What was done."""
    rates = ", ".join(f"`{spec}` {rate:g}" for spec, rate in RATES.items())
    return [
        "### Tuners: inside a network or on top of it", "",
        f"PHANTOM, {SIDE} px. A transformer of {SHAPE['num_hidden_layers']} blocks learned from {LEARNERS} patients "
        "which eye it sees and in which half a vein is occluded; none of them had what is asked next: whether nerve "
        f"fibres lie above or below the disc, in eyes with an occlusion as before. {TAUGHT} patients ({2 * TAUGHT} "
        f"images) teach it, {OTHERS} others are tested ({2 * OTHERS} images). Baseline: logistic regression on the "
        f"frozen features. At most {BUDGET['epochs']} epochs; peak rates: {rates}. Question, rates and epochs were "
        f"chosen on patients of other clinics; these are measured once. {SEEDS} runs; AUROC, 95 % intervals over "
        "patients and runs.", "",
        f"| method | numbers trained | AUROC | minus the frozen probe | minus `{FULL}` | seconds |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip


def table(found: Measured) -> list[str]:
    """A line per method, and what they say together."""
    whole = found.runs[FULL][0]
    lines = [f"| frozen probe | 0 | {found.level(found.frozen)} | | {told(found.apart(found.frozen, whole))} | |"]
    gains = {spec: found.apart(run[0], found.frozen) for spec, run in found.runs.items()}
    rests = {spec: found.apart(run[0], whole) for spec, run in found.runs.items() if spec != FULL}
    for spec, (logits, run, seconds) in found.runs.items():
        rest = told(rests[spec]) if spec in rests else ""
        lines.append(
            f"| `{spec}` | {run.log['trained']} ({found.share(spec):.2%}) | {found.level(logits)} | "
            f"{told(gains[spec])} | {rest} | {seconds:.0f} |"
        )
    return [
        *lines, "", verdict(gains, {spec: found.share(spec) for spec in found.runs}), "", below(rests), "",
        layerwise(found.apart(found.runs["full"][0], whole)), "",
        f"What the network had learned before, by the frozen probe on these images: which eye "
        f"{found.level(found.every[:, :, :1], 0)}, the occlusion's half {found.level(found.every[:, :, 1:2], 1)}. "
        f"Negative control, `{CONTROL}` with the answers of other patients: {found.level(found.control)}.", "",
    ]  # fmt: skip


def verdict(gains: dict[str, Interval], shares: dict[str, float]) -> str:
    """Whether the tuners do what they are for, and how much of the gain of training everything."""
    clear = [spec for spec, gain in gains.items() if gain.low > 0]
    small = [spec for spec in clear if shares[spec] <= SMALL]
    unclear = [spec for spec in gains if spec not in clear]
    said = f"Better than the frozen probe with an interval above 0: {_listed(clear)}"
    said += f"; not clearly: {_listed(unclear)}." if unclear else "."
    if FULL not in clear:
        return f"The effect does not show here. {said}"
    if not small:
        return f"The effect shows only where more than {SMALL:.0%} of the numbers is trained. {said}"
    whole = gains[FULL].estimate
    parts = ", ".join(f"`{spec}` {gains[spec].estimate / whole:.0%}" for spec in small)
    said += f" Of the gain of `{FULL}`, with at most {SMALL:.0%} of its numbers: {parts}."
    if "prompts(count=7)" in unclear:
        said += (
            " Prompts change no weight and are equal for all images: what the frozen layers do not compute of an "
            "image, they can hardly add."
        )
    return f"The effect shows. {said}"


def below(rests: dict[str, Interval]) -> str:
    """Who does not come up to training everything."""
    short = [spec for spec, rest in rests.items() if rest.high < 0]
    return f"Clearly below `{FULL}`, with an interval below 0: {_listed(short)}."


def layerwise(decay: Interval) -> str:
    """Whether slower early layers help here."""
    if decay.low > 0:
        return f"Slower early layers help: {told(decay)}."
    if decay.high < 0:
        return (
            f"Slower early layers cost here ({told(decay)}): what is missing is missing from the early layers on, and "
            "they have little to lose."
        )
    return f"Slower early layers make no clear difference here: {told(decay)}."


def _listed(specs: list[str]) -> str:
    return ", ".join(f"`{spec}`" for spec in specs) or "none"


def measure() -> str:
    """The section of the page on mechanisms: a table in Markdown."""
    torch.set_num_threads(1)
    start, used = time.monotonic(), time.process_time()
    lines = [*head(), *table(measured(TESTED))]
    took = f"{time.monotonic() - start:.0f} s in all ({time.process_time() - used:.0f} s of one core)"
    return "\n".join([*lines, f"{took}; `python recipes/mechanisms/tuners.py`", ""])


if __name__ == "__main__":
    sys.stdout.write(measure())
