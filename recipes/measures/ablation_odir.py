"""ODIR, step by step: what each change to the default adds for prompts, for a probe, and with 16 labels a finding.

python recipes/measures/ablation_odir.py [STEP …]
python recipes/measures/ablation_odir.py --without STEP …

Learned on the training patients alone, tested on the validation patients: the test patients are not read. Every step is
compared, patient by patient, with the step that it names. The steps were written down before they were run, but
resolutions and views had been looked at before on folds of the same patients. What a step gave is kept in the archive's
cache below `runs/`: delete `runs/ablation_odir.tap` to begin anew, and after changes to the code.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.core.config import digest
from tapetum.core.types import Embeddings, Split
from tapetum.learn import AdaptConfig, PretrainConfig, adapt, embed, pretrain, zero_shot
from tapetum.score.stats import macro_auroc_interval, paired_auroc_difference

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAPETUM_DATA", ROOT.parent / "shared" / "data"))
PLACE = Path(os.environ.get("TAPETUM_RUNS", ROOT / "runs")) / "ablation_odir.tap"
FINDINGS = (
    "diabetic_retinopathy", "glaucoma", "cataract", "age_related_macular_degeneration", "hypertensive_retinopathy",
    "pathological_myopia",
)  # fmt: skip
LETTERS = "D G C A H M"
PLAIN, CONTRAST = "efficientnet_lite(size={0})", "efficientnet_lite(size={0}, view='local_contrast')"
PAIR = f"{PLAIN} + {CONTRAST}"
ONE, TWO, LARGE = PLAIN.format(224), PAIR.format(224), PAIR.format(384)
FOUR = f"{TWO} + {LARGE}"
SMALL = PLAIN.format(128)
SHOTS, RUNS = 16, 5


@dataclass(frozen=True)
class Step:
    """A change and what it is compared with.

    Attributes:
        name: of the step. against: the name of the step it changes; empty = the beginning.
        kind: `prompt` or `probe`. settings: of `PretrainConfig` or `AdaptConfig`.
    """

    name: str
    against: str
    kind: str
    settings: dict[str, Any]


def prompt(name: str, against: str, encoders: str, **settings: Any) -> Step:
    """A model of reports, asked by the findings' names."""
    return Step(name, against, "prompt", {"encoders": encoders, **settings})


def probe(name: str, against: str, encoders: str, **settings: Any) -> Step:
    """A head learned from labels."""
    return Step(name, against, "probe", {"encoders": encoders, "cross_fit": False, **settings})


REFINED = {"self_supervision_epochs": 2, "self_supervision_batch": 64}
TUNED = {"fine_tuning_epochs": 3, "fine_tuning_batch": 32, "augment": "geometric()"}
BESIDE = f"{PLAIN.format(256)} + {LARGE}"
HALF = "last(share=0.5)"
INSIDE = "epochs=6, batch=32, only=(0,), ema=0.99, augment='geometric() + photometric()'"
STEPS = (
    prompt("one view, 224 px", "", ONE),
    prompt("two views, 224 px (default)", "one view, 224 px", TWO),
    prompt("two views, 384 px", "two views, 224 px (default)", LARGE),
    prompt("two views, 224 and 384 px", "two views, 384 px", FOUR),
    prompt("expert descriptions", "two views, 384 px", LARGE, text="descriptions(share=0.5)"),
    prompt("several facets", "two views, 384 px", LARGE, text="facets"),
    prompt("prompts of descriptions", "two views, 384 px", LARGE, prompt_set="descriptions"),
    prompt("hierarchy", "two views, 384 px", LARGE, task="hierarchical"),
    prompt("contrastive, own pairs", "two views, 384 px", LARGE, task="contrastive(start='ridge')", matching="own"),
    prompt("soft positives", "contrastive, own pairs", LARGE, task="contrastive(start='ridge')", matching="findings"),
    prompt("one view, 128 px", "", SMALL),
    prompt("self-supervised steps (SimCLR)", "one view, 128 px", SMALL, self_supervision="simclr", **REFINED),
    prompt("last quarter of the tower free", "one view, 128 px", SMALL, unfreeze="last", **TUNED),
    probe("probe: one view, 224 px", "", ONE),
    probe("probe: two views, 224 px (default)", "probe: one view, 224 px", TWO),
    probe("probe: two views, 384 px", "probe: two views, 224 px (default)", LARGE),
    probe("probe: two views, 224 and 384 px", "probe: two views, 384 px", FOUR),
    probe("probe: logistic", "probe: two views, 384 px", LARGE, adapter="logistic"),
    probe("half of a tower tuned, 256 px, beside 384", "probe: two views, 384 px", BESIDE, tuner=HALF, tuning=INSIDE),
)


@dataclass(frozen=True)
class Bench:
    """The archive, who is tested, and features made so far."""

    archive: Archive
    tested: tuple[str, ...]
    truth: np.ndarray
    who: np.ndarray
    made: dict[str, Embeddings] = dataclasses.field(default_factory=dict)

    @staticmethod
    def of(archive: Archive) -> Bench:
        """The validation patients of an archive."""
        records = archive.in_split(Split.VAL)
        ids = tuple(r.image_id for r in records)
        truth = archive.labels(FINDINGS, image_ids=ids)
        known = ~np.isnan(truth).all(axis=1)
        tested = tuple(i for i, k in zip(ids, known, strict=True) if k)
        return Bench(archive, tested, truth[known], np.array([r.patient_id for r in records])[known])

    def features(self, encoders: str) -> Embeddings:
        """Of the training and validation patients."""
        if encoders not in self.made:
            ids = [r.image_id for s in (Split.TRAIN, Split.VAL) for r in self.archive.in_split(s)]
            self.made[encoders] = embed(self.archive, encoders, image_ids=ids)
        return self.made[encoders]

    def known(self, step: Step) -> tuple[np.ndarray, float]:
        """Logits of the tested images and the seconds they took; kept, so that a run that was cut off goes on."""
        file = self.archive.cache / "ablation" / f"{digest(dataclasses.replace(step, name='', against=''))}.npz"
        if not file.exists():
            began = time.monotonic()
            made = self.logits(step)
            file.parent.mkdir(parents=True, exist_ok=True)
            np.savez(file, logits=made, seconds=time.monotonic() - began)
        with np.load(file) as kept:
            return kept["logits"], float(kept["seconds"])

    def logits(self, step: Step) -> np.ndarray:
        """Of the tested images, from the model that the step makes."""
        emb = self.features(step.settings["encoders"])
        if step.kind == "prompt":
            model = pretrain(self.archive, PretrainConfig(**step.settings), embeddings=emb)
        else:
            model = adapt(self.archive, AdaptConfig(findings=FINDINGS, **step.settings), embeddings=emb)
        if model.towers or model.deltas:
            emb = embed(self.archive, model.embedder(), image_ids=self.tested)
        return zero_shot(model, emb.rows(self.tested), FINDINGS).logits


def measure(names: list[str]) -> str:
    """The section of the page: two tables, and the price of few labels."""
    start = time.monotonic()
    few = not names or names[0] == "--without"
    if names and few:
        names = [step.name for step in STEPS if step.name not in names]
    if not PLACE.exists():
        ingest([f"odir:{DATA / 'odir'}"], PLACE, IngestConfig())
    at = Bench.of(open_archive(PLACE))
    per_finding = ", ".join(f"{int(n)}" for n in np.nansum(at.truth, 0))
    learned = [r.patient_id for r in at.archive.in_split(Split.TRAIN)]
    lines = [
        "## ablation_odir", "",
        f"`python recipes/measures/ablation_odir.py`. Learned from {len(learned)} images of {len(set(learned))} "
        f"training patients, tested on {len(at.tested)} images of {len(set(at.who))} validation patients (with "
        f"{LETTERS}: {per_finding}); the test patients are not read. Macro AUROC over six findings; intervals of 95 % "
        "over patients; each step minus the step it changes, on the same patients. The images have 256 px: small "
        "lesions (D) and vessel calibre (H) are at the limit of what they show.", "",
        "| step | macro AUROC | changes | difference | " + " | ".join(LETTERS.split()) + " | seconds |",
        "|---|---|---|---|" + "---|" * 7,
    ]  # fmt: skip
    found: dict[str, np.ndarray] = {}
    for step in STEPS:
        if names and step.name not in names:
            continue
        try:
            found[step.name], seconds = at.known(step)
        except Exception as error:
            lines.append(f"| {step.name} | failed: {error} |" + " |" * 9)
            continue
        lines.append(row(at, step, found, seconds))
        print(lines[-1], file=sys.stderr, flush=True)
    left = [step.name for step in STEPS if names and step.name not in names]
    left += [] if few else [f"{SHOTS} labels a finding"]
    lines += ["", *([f"Not run for this page: {'; '.join(left)}.", ""] if left else [])]
    lines += [
        *(few_labels(at) if few else []),
        f"{time.monotonic() - start:.0f} s in this run; steps kept from earlier runs count as 0. Seconds depend on "
        "what else the machine did.",
        "",
    ]
    return "\n".join(lines)


def row(at: Bench, step: Step, found: dict[str, np.ndarray], seconds: float) -> str:
    """One step's line."""
    scores = found[step.name]
    level = macro_auroc_interval(scores, at.truth, at.who, rng=np.random.default_rng(0))
    each = " | ".join(f"{auroc(at, scores, [k]):.3f}" for k in range(len(FINDINGS)))
    apart = ""
    if step.against in found:
        gain = paired_auroc_difference(scores, found[step.against], at.truth, at.who, rng=np.random.default_rng(0))
        apart = f"{gain.interval.estimate:+.3f} [{gain.interval.low:+.3f}, {gain.interval.high:+.3f}]"
    return f"| {step.name} | {level} | {step.against} | {apart} | {each} | {seconds:.0f} |"


def auroc(at: Bench, scores: np.ndarray, columns: list[int]) -> float:
    """Macro AUROC over some findings."""
    rng = np.random.default_rng(0)
    return macro_auroc_interval(scores[:, columns], at.truth[:, columns], at.who, rng=rng, draws=1).estimate


def few_labels(at: Bench) -> list[str]:
    """What 16 labels a finding cost against all, with the default features and with the larger ones."""
    lines = [
        f"{SHOTS} labels a finding against all, {RUNS} draws; the whole probe's value is above.", "",
        "| encoders | adapter | macro AUROC, mean of the draws | smallest | largest |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for name, encoders in (("two views, 224 px", TWO), ("two views, 384 px", LARGE)):
        for adapter in ("linear_probe", "lda"):
            values: list[float] = []
            for seed in range(RUNS):
                settings = {"encoders": encoders, "adapter": adapter, "shots": SHOTS, "seed": seed}
                scores, _ = at.known(Step("", "", "probe", settings))
                values.append(auroc(at, scores, list(range(len(FINDINGS)))))
            lines.append(f"| {name} | {adapter} | {np.mean(values):.3f} | {min(values):.3f} | {max(values):.3f} |")
    return [*lines, ""]


if __name__ == "__main__":
    sys.stdout.write(measure(sys.argv[1:]))
