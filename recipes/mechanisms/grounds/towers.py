"""Phantom archives on which towers are refined, and probes that say what the towers are worth."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from transformers import ViTConfig, ViTModel, logging

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.core.registry import Family
from tapetum.core.types import Interval, Laterality, Split
from tapetum.knowledge import load_pack
from tapetum.learn import embed
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.features.loader import Loader
from tapetum.learn.pretext.run import SelfSupervised
from tapetum.phantom import EyeSpec, render_eye
from tapetum.score.stats import mean_interval, paired_runs_difference, runs_auroc_interval

LIGHT = "photometric()"
Shots = Callable[[np.ndarray, np.random.Generator], list[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Judged:
    """What a tower is worth on tested images.

    Attributes:
        again: 1 for each image that is the nearest, by cosine, to a copy of it in other light.
        plain: the probe's logits. changed: those in other light.
    """

    again: np.ndarray
    plain: np.ndarray
    changed: np.ndarray


@dataclasses.dataclass(frozen=True)
class Ground:
    """A phantom archive, its findings, who teaches the probe and who is tested; seed and draws of the bootstrap."""

    archive: Archive
    findings: tuple[str, ...]
    taught: tuple[str, ...]
    tested: tuple[str, ...]
    seed: int = 2
    draws: int = 200

    def truth(self, ids: Sequence[str], findings: Sequence[str] = ()) -> np.ndarray:
        """Of the findings."""
        return self.archive.labels(findings or self.findings, image_ids=ids)

    def patients(self, ids: Sequence[str]) -> np.ndarray:
        """Whose images they are."""
        return np.asarray([self.archive.record(i).patient_id for i in ids])

    @property
    def who(self) -> np.ndarray:
        """Patients of the tested images."""
        return self.patients(self.tested)

    def tower(self, encoder: str, refined: SelfSupervised | None = None) -> Embedder:
        """As it was, or refined."""
        return Embedder(encoder, threads=1, backend="torch", states=refined.states if refined else {})

    def probed(self, through: Embedder, few: Sequence[np.ndarray] = (), spec: str = "logistic()") -> np.ndarray:
        """Logits of the tested images by probes that all images teach, or only some: one run each."""
        rows, asked = (embed(self.archive, through, image_ids=ids) for ids in (self.taught, self.tested))
        truth, who = self.truth(self.taught), np.asarray(rows.patient_ids)
        adapter = Family("tapetum.learn.adapters").build(spec)
        some = few or (np.arange(len(truth)),)
        return np.stack([adapter.fit(rows.features[s], truth[s], who[s], rows.blocks)(asked.features) for s in some])

    def judged(self, through: Embedder) -> Judged:
        """Of the tested images, as they are and in other light."""
        rows, asked = (embed(self.archive, through, image_ids=ids) for ids in (self.taught, self.tested))
        adapter = Family("tapetum.learn.adapters").build("logistic()")
        fitted = adapter.fit(rows.features, self.truth(self.taught), np.asarray(rows.patient_ids), rows.blocks)
        loader = Loader(self.archive, through.preprocess[0], self.tested, augment=LIGHT, seed=self.seed + 1)
        every = np.arange(len(self.tested))
        with torch.no_grad():
            changed = through.runners[0].encoder(loader(every, 0)).numpy()
        mean, scale = asked.features.mean(0), asked.features.std(0) + 1e-6
        first, second = ((r - mean) / scale for r in (changed, asked.features))
        cosine = (first / np.linalg.norm(first, axis=1)[:, None]) @ (second / np.linalg.norm(second, axis=1)[:, None]).T
        again = (cosine.argmax(1) == every).astype(np.float64)
        return Judged(again, fitted(asked.features)[None], fitted(changed)[None])

    def level(self, logits: np.ndarray, some: slice = slice(None)) -> str:
        """Macro AUROC."""
        rng, truth = np.random.default_rng(self.seed), self.truth(self.tested)[:, some]
        return str(runs_auroc_interval(logits[:, :, some], truth, self.who, rng=rng, draws=self.draws))

    def apart(self, a: np.ndarray, b: np.ndarray, some: slice = slice(None)) -> Interval:
        """Paired difference of the macro AUROC."""
        rng, truth = np.random.default_rng(self.seed), self.truth(self.tested)[:, some]
        return paired_runs_difference(
            a[:, :, some], b[:, :, some], truth, self.who, rng=rng, draws=self.draws
        ).interval  # fmt: skip

    def more(self, a: np.ndarray, b: np.ndarray | float = 0.0) -> Interval:
        """Mean of a − b over images."""
        return mean_interval(a - b, self.who, rng=np.random.default_rng(self.seed), draws=self.draws)


@dataclasses.dataclass(frozen=True)
class Eyes:
    """Eyes with signs drawn for each by itself, and how they are photographed.

    Attributes:
        often: chance of each sign. both: both eyes of everyone. size: of the rendered picture.
        shots: picture → the photographs that are kept of it. fractions: patients that teach and that are tested.
    """

    patients: int
    seed: int
    signs: tuple[str, ...]
    shots: Shots
    often: float = 0.2
    size: int = 64
    both: bool = True
    fractions: tuple[float, float] = (0.7, 0.3)


def photographed(folder: Path, eyes: Eyes) -> Ground:
    """Render, photograph and ingest them; the report of an eye is the names of its signs."""
    pack, rows = load_pack("fundus"), list[dict[str, str]]()
    (folder / "clinic").mkdir(parents=True)
    for patient in range(eyes.patients):
        for side in (Laterality.RIGHT, Laterality.LEFT)[: 2 if eyes.both else 1]:
            rng = np.random.default_rng([eyes.seed, patient, side is Laterality.LEFT])
            signs = {sign: float(rng.uniform(0.6, 1.0)) for sign in eyes.signs if rng.random() < eyes.often}
            pigment, age = float(rng.uniform()), float(rng.uniform(20, 80))
            eye = EyeSpec(side, eyes.seed * 100_000 + patient, signs, pigment=pigment, age_years=age)
            said = ", ".join(pack.findings[s].name for s in signs) or "normal fundus"
            for number, shot in enumerate(eyes.shots(render_eye(eye, size=eyes.size, rng=rng).image, rng)):
                file = f"p{patient:04d}_{side.value}_{number}.png"
                cv2.imwrite(str(folder / "clinic" / file), shot[..., ::-1])
                rows.append({
                    "file": file, "patient": f"p{patient:04d}", "eye": side.value, "report": said,
                    "truth": ";".join(signs) or "normal_fundus",
                })  # fmt: skip
    with (folder / "clinic" / "table.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    settings = IngestConfig(
        name="phantom eyes", labels="truth", pack="fundus", table="table.csv",
        fractions=(eyes.fractions[0], 0.0, eyes.fractions[1]), map="patient=patient,image=file,eye=eye,report=report",
    )  # fmt: skip
    ingest([folder / "clinic"], folder / "clinic.tap", settings)
    archive = open_archive(folder / "clinic.tap")
    taught, tested = (tuple(r.image_id for r in archive.in_split(s)) for s in (Split.TRAIN, Split.TEST))
    return Ground(archive, eyes.signs, taught, tested)


def strangers(archive: Archive, seed: int) -> Archive:
    """The same images with the reports of others."""
    source = np.random.default_rng(seed).permutation(len(archive.records))
    said = [archive.records[i].report for i in source]
    records = tuple(dataclasses.replace(r, report=text) for r, text in zip(archive.records, said, strict=True))
    return dataclasses.replace(archive, records=records)


def transformer(folder: Path, shape: Mapping[str, Any]) -> str:
    """A vision transformer with random weights, written to a folder; its spec. `shape`: of `ViTConfig`."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    ViTModel(ViTConfig(**shape), add_pooling_layer=False).save_pretrained(folder)
    means: dict[str, Any] = {"size": shape["image_size"], "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps({**means, "resample": 3}), encoding="utf-8")
    return f"transformer(path={str(folder)!r})"
