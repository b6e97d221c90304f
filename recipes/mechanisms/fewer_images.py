"""A fifth of an archive of near copies: chosen or drawn at random, refined on in equally many steps, on the phantom.

python recipes/mechanisms/fewer_images.py

Sizes, epochs and what is compared were chosen on clinics of other seeds; the tested patients were measured once.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from grounds.told import told, verdict
from grounds.towers import LIGHT, Eyes, Ground, photographed

from tapetum.core.types import Interval, Split
from tapetum.learn import embed
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.pretext.redundancy import less_redundant
from tapetum.learn.pretext.run import SelfSupervisionConfig, self_supervise
from tapetum.score.stats import mean_interval

PATIENTS, SEED, BURST, MANY, KEEP, STEPS, RUNS = 400, 32, (6, 10), 0.4, 0.2, 120, 3
SIGNS = (
    "hard_exudate", "dot_blot_haemorrhage", "neovascularisation", "branch_retinal_vein_occlusion",
    "chorioretinal_atrophy", "myelinated_nerve_fibres", "laser_scar", "optic_disc_swelling",
)  # fmt: skip
TOWER = "tiny(size=32, dim=64)"
CONTRAST = SelfSupervisionConfig("simclr", batch=32, learning_rate=3e-3, augment=LIGHT)
RULES = {"": "all", "random": "drawn at random (control)", "spread": "`spread`", "information": "`information`"}


def burst(image: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """The photograph and, of some eyes, more that are almost the same."""
    copies = int(rng.integers(BURST[0], BURST[1] + 1)) if rng.random() < MANY else 1
    return [image, *(_almost(image, rng) for _ in range(copies - 1))]


def _almost(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The next photograph of a burst: up to a pixel aside, up to 3 % lighter or darker, other noise."""
    aside = np.array([[1, 0, rng.uniform(-1, 1)], [0, 1, rng.uniform(-1, 1)]], dtype=np.float32)
    moved = cv2.warpAffine(image.astype(np.float32), aside, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    return np.clip(moved * rng.uniform(0.97, 1.03) + rng.normal(0, 1.5, moved.shape), 0, 255).astype(np.uint8)


def ground(folder: Path) -> Ground:
    """One eye of everyone; one photograph of an eye has labels and is tested."""
    eyes = Eyes(PATIENTS, SEED, SIGNS, burst, both=False, fractions=(0.5, 0.5))
    at = photographed(folder, eyes)
    parts = [at.archive.in_split(split) for split in (Split.TRAIN, Split.TEST)]
    taught, tested = ({r.patient_id: r.image_id for r in part} for part in parts)
    return dataclasses.replace(at, taught=tuple(taught.values()), tested=tuple(tested.values()))


@dataclass(frozen=True)
class Found:
    """What came of one rule, over its runs.

    Attributes:
        count: images. covered: 1 for each training eye that is among them. again: for each tested image whether it is
            found again in other light. probe: logits.
    """

    count: int
    covered: np.ndarray
    again: np.ndarray
    probe: np.ndarray
    seconds: float


def found_by(at: Ground, rule: str, images: tuple[str, ...], before: Embedder) -> Found:
    """Choose by the rule, refine and judge."""
    rows, whose = embed(at.archive, before, image_ids=images).features, at.patients(images)
    eyes, start, count = np.unique(whose), time.process_time(), len(images)
    covered, again, probe = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    for seed in range(RUNS):
        chosen = np.arange(len(images))
        if rule:  # what `self_supervise` chooses, by the same call
            chosen = less_redundant(rows, keep=KEEP, rule=rule, rng=np.random.default_rng(seed))
        count = len(chosen)
        config = dataclasses.replace(
            CONTRAST, epochs=max(1, round(STEPS / -(-count // CONTRAST.batch))), seed=seed,
            keep=KEEP if rule else 1.0, reduce=rule or "spread",
        )  # fmt: skip
        refined = self_supervise(at.archive, TOWER, config, image_ids=images)
        judged = at.judged(at.tower(TOWER, refined))
        covered.append(np.isin(eyes, whose[chosen]).astype(np.float64))
        again.append(judged.again)
        probe.append(judged.plain)
    return Found(count, np.mean(covered, 0), np.mean(again, 0), np.concatenate(probe), time.process_time() - start)


def measure() -> str:
    """The section of the page on mechanisms: a table in Markdown."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        at = ground(Path(folder))
        images = tuple(r.image_id for r in at.archive.in_split(Split.TRAIN))
        before = at.tower(TOWER)
        found = {rule: found_by(at, rule, images, before) for rule in RULES}
        lines = compared(at, found, len(images), np.unique(at.patients(images)))
    took = time.process_time() - start
    return "\n".join([*lines, f"{took:.0f} s of one core: `python recipes/mechanisms/fewer_images.py`."])


def compared(at: Ground, found: dict[str, Found], images: int, eyes: np.ndarray) -> list[str]:
    """Each rule beside as many images at random."""
    control = found["random"]
    lines = [
        "### Fewer images of an archive full of near copies", "",
        f"PHANTOM. {PATIENTS} patients, one eye each; {MANY:.0%} of them were photographed {BURST[0]} to {BURST[1]} "
        f"times almost alike (up to a pixel aside, 3 % lighter or darker, other noise): {images} images of "
        f"{len(eyes)} training patients. `{TOWER}`, random, is refined by `simclr` in about {STEPS} steps, on all or "
        f"on {KEEP:.0%} of the images, in {RUNS} runs each; one labelled photograph per eye then teaches the probe of "
        f"{len(SIGNS)} signs, {len(at.tested)} other patients are tested. *Found again*: share of the tested images "
        "that are nearest to a copy of themselves in other light. 95 % intervals over patients, those of the probe "
        "over runs too.", "",
        "| images | how many | eyes among them | − random | found again | − random | probe | − random | seconds |",
        "|" + "---|" * 9,
    ]  # fmt: skip
    verdicts: list[str] = []
    for rule, of in found.items():
        rng = np.random.default_rng(at.seed)
        apart: list[Interval] = [
            mean_interval(of.covered - control.covered, eyes, rng=rng, draws=at.draws),
            at.more(of.again, control.again), at.apart(of.probe, control.probe),
        ]  # fmt: skip
        more, better, probe = ("", "", "") if rule == "random" else map(told, apart)
        lines.append(
            f"| {RULES[rule]} | {of.count} | {of.covered.mean():.2f} | {more} | {of.again.mean():.2f} | {better} | "
            f"{at.level(of.probe)} | {probe} | {of.seconds:.0f} |"
        )
        if rule in ("spread", "information"):
            said = map(verdict, apart)
            verdicts.append(
                "{} {} in the eyes that are covered, {} in finding images again and {} in the probe".format(
                    RULES[rule], *said
                )
            )
    return [*lines, "", f"Against as many at random: {'; '.join(verdicts)}.", ""]


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.stdout.write(measure() + "\n")
