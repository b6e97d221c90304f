"""Why retinopathy learned in TVHL is hardly found in ODIR: the field of view, the grade, the number of labels.

python recipes/measures/carried_over.py

TVHL has two cameras: one leaves a notch at the lower right of the field, the other takes a far wider field, and most
eyes with retinopathy were taken with the wide one. Here the wide fields are cut to the posterior pole. The cut, the
penalty and the groups were chosen on train and validation patients of both archives; the test patients' scores are
what this script prints.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from sklearn.linear_model import LogisticRegression

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.core.types import Split
from tapetum.learn import embed
from tapetum.learn.features.embedder import DEFAULT, Embedder
from tapetum.score.stats import auroc_interval, paired_auroc_difference

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("TAPETUM_DATA", ROOT.parent / "shared" / "data"))
RUNS = Path(os.environ.get("TAPETUM_RUNS", ROOT / "runs"))
FINDING, SIDE, ZOOM, PENALTY, DRAWS, SEED = "diabetic_retinopathy", 384, 1.8, 1e-3, 2000, 91
MILD, MORE = ("mild",), ("moderate", "severe", "proliferative")
MANY = 5  # draws of as few labels as TVHL has


@dataclass(frozen=True)
class Eyes:
    """Images with a label, row by row: features, 1 = retinopathy, patient, tested or learned on, group."""

    features: Float32[np.ndarray, "n d"]
    labels: Float[np.ndarray, "n"]
    patients: np.ndarray
    tested: Bool[np.ndarray, "n"]
    group: np.ndarray


def eyes_of(archive: Archive, groups: dict[str, str]) -> tuple[Eyes, list[str]]:
    """The labelled images of an archive, features of the default encoder."""
    records = [r for r in archive.records if r.split != Split.NONE]
    labels = archive.labels([FINDING], image_ids=[r.image_id for r in records])[:, 0]
    kept = [i for i in range(len(records)) if not np.isnan(labels[i])]
    ids = [records[i].image_id for i in kept]
    return Eyes(
        embed(archive, image_ids=ids).features, labels[kept], np.array([records[i].patient_id for i in kept]),
        np.array([records[i].split == Split.TEST for i in kept]), np.array([groups.get(i, "") for i in ids]),
    ), ids  # fmt: skip


def has_notch(image: UInt8[np.ndarray, "s s 3"]) -> bool:
    """Whether the lower right corner is lit outside the round field."""
    y, x = np.mgrid[:SIDE, :SIDE]
    outside = np.hypot(y - (SIDE - 1) / 2, x - (SIDE - 1) / 2) > SIDE / 2 + 2
    lit = (image.max(axis=2) > 25) & outside
    return int(lit[SIDE * 2 // 3 :, SIDE * 2 // 3 :].sum()) > 15


def posterior_pole(image: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "t t 3"]:
    """The middle of a wide field, round again."""
    half, middle = int(SIDE / ZOOM / 2), SIDE // 2
    cut = image[middle - half : middle + half, middle - half : middle + half]
    y, x = np.mgrid[: 2 * half, : 2 * half]
    return np.ascontiguousarray(cut * (np.hypot(y - half + 0.5, x - half + 0.5) < half)[..., None])


def inner_disc(image: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """The round field without the notch."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return image * (np.hypot(y - (SIDE - 1) / 2, x - (SIDE - 1) / 2) < SIDE / 2 - 2)[..., None].astype(np.uint8)


def scores(learn: Eyes, test: Eyes, rows: np.ndarray, *, own: bool = False) -> Float[np.ndarray, "t"]:
    """Logistic regression, classes balanced; `own` = tested features are standardised by all of their own archive's."""
    x = learn.features[rows].astype(np.float64)
    place, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    model = LogisticRegression(C=PENALTY, max_iter=300, class_weight="balanced")
    model.fit((x - place) / spread, learn.labels[rows])
    if own:
        place, spread = test.features.mean(axis=0), test.features.std(axis=0) + 1e-6
    return model.decision_function((test.features[test.tested] - place) / spread)


def line(name: str, found: np.ndarray, first: np.ndarray | None, test: Eyes, parts: dict[str, np.ndarray]) -> str:
    """A row: AUROC in each part, and over all what it is above the first row."""
    labels, patients = test.labels[test.tested], test.patients[test.tested]
    cells = [
        str(auroc_interval(found[part], labels[part], patients[part], rng=np.random.default_rng(SEED), draws=DRAWS))
        for part in parts.values()
    ]
    gain = ""
    if first is not None:
        pair = paired_auroc_difference(found, first, labels, patients, rng=np.random.default_rng(SEED), draws=DRAWS)
        gain = f"{pair.interval.estimate:+.3f} [{pair.interval.low:+.3f}, {pair.interval.high:+.3f}]"
    return f"| {name} | " + " | ".join(cells) + f" | {gain} |"


def measure(data: Path, place: Path) -> str:
    """Both directions, the groups apart, and what as few labels of the archive itself give."""
    began = time.process_time()
    clinics = {"ODIR": (f"odir:{data / 'odir'}", "G=,C=,A=,H=,M=,O="), "TVHL": (f"tvhl_fundus:{data / 'tvhl'}", "")}
    archives = dict[str, Archive]()
    for name, (source, label_map) in clinics.items():
        out = place / f"carried_over-{name.lower()}.tap"
        if not out.exists():
            ingest(
                [source], out, IngestConfig(name=name, label_map=dict(p.split("=") for p in label_map.split(",") if p))
            )
        archives[name] = open_archive(out)
    grades = {r.image_id: "mild" if any(w in r.report for w in MILD) else "more" if any(w in r.report for w in MORE)
              else "" for r in archives["ODIR"].records}  # fmt: skip
    odir, _ = eyes_of(archives["ODIR"], grades)
    plain, ids = eyes_of(archives["TVHL"], {})
    images = [archives["TVHL"].pixels(i, min_side=SIDE) for i in ids]
    notch = np.array([has_notch(image) for image in images])
    cut = [inner_disc(i) if n else posterior_pole(i) for i, n in zip(images, notch, strict=True)]
    tvhl = replace(plain, group=np.where(notch, "notch", "wide"))
    same = replace(tvhl, features=Embedder(DEFAULT).pixels(cut))
    return "\n".join([*head(tvhl), *to_odir(tvhl, same, odir), "", *to_tvhl(tvhl, same, odir), "",
                      f"{time.process_time() - began:.0f} CPU seconds.", ""])  # fmt: skip


def head(tvhl: Eyes) -> list[str]:
    """What the cameras tell by themselves."""
    counts = [f"{int(tvhl.labels[tvhl.group == g].sum())} of {int((tvhl.group == g).sum())}" for g in ("wide", "notch")]
    alone = auroc_interval(
        (tvhl.group == "wide").astype(float), tvhl.labels, tvhl.patients, rng=np.random.default_rng(SEED), draws=DRAWS
    )
    return [
        "## carried_over: retinopathy from TVHL to ODIR and back",
        "",
        "`python recipes/run.py carried_over`. Frozen default features, one logistic regression (C = "
        f"{PENALTY:g}); AUROC on test patients, 95 % intervals over patients. The cut and the penalty were chosen on "
        "train and validation patients of both archives.",
        "",
        f"In TVHL {counts[0]} graded eyes of the wide field have retinopathy, {counts[1]} of the other camera: the "
        f"camera alone tells it with {alone}.",
        "",
    ]


def to_odir(tvhl: Eyes, same: Eyes, odir: Eyes) -> list[str]:
    """TVHL's train and validation patients teach, ODIR's test patients are tested."""
    rng, own = np.random.default_rng(SEED), np.flatnonzero(~odir.tested)
    learned = np.flatnonzero(~tvhl.tested)
    labels, group = odir.labels[odir.tested], odir.group[odir.tested]
    parts = {"all": np.ones(len(labels), bool), **{g: (labels == 0) | (group == g) for g in ("mild", "more")}}
    first = scores(tvhl, odir, learned)
    few = [int((tvhl.labels[learned] == c).sum()) for c in (0, 1)]
    drawn = [np.concatenate([rng.choice(own[odir.labels[own] == c], few[c], replace=False) for c in (0, 1)])
             for _ in range(MANY)]  # fmt: skip
    rows: list[tuple[str, np.ndarray]] = [
        ("TVHL as it is", first),
        ("TVHL, wide fields cut", scores(same, odir, learned)),
        ("TVHL, wide fields cut, each archive standardised by its own images (reads test images)",
         scores(same, odir, learned, own=True)),
        *((f"ODIR, as few labels, draw {i + 1}", scores(odir, odir, rows)) for i, rows in enumerate(drawn)),
        ("ODIR, all its labels", scores(odir, odir, own)),
    ]  # fmt: skip
    return [
        f"Tested on ODIR: {int(labels.sum())} eyes with retinopathy ({int((group[labels == 1] == 'mild').sum())} mild, "
        f"{int((group[labels == 1] == 'more').sum())} moderate to proliferative by their keywords) of {len(labels)}; "
        f"learned from {few[1]} of {sum(few)}, or from {int(odir.labels[own].sum())} of {len(own)} of ODIR.",
        "",
        "| learned from | all | mild against none | moderate to proliferative against none | above the first |",
        "|---|---|---|---|---|",
        *(line(name, found, None if i == 0 else first, odir, parts) for i, (name, found) in enumerate(rows)),
    ]


def to_tvhl(tvhl: Eyes, same: Eyes, odir: Eyes) -> list[str]:
    """ODIR's train and validation patients teach, TVHL's test patients are tested."""
    own, learned = np.flatnonzero(~odir.tested), np.flatnonzero(~tvhl.tested)
    labels, group = tvhl.labels[tvhl.tested], tvhl.group[tvhl.tested]
    parts = {"all": np.ones(len(labels), bool), **{g: group == g for g in ("notch", "wide")}}
    first = scores(odir, tvhl, own)
    rows = [
        ("ODIR", first),
        ("ODIR; wide fields cut", scores(odir, same, own)),
        ("ODIR; wide fields cut, each archive standardised by its own images (reads test images)",
         scores(odir, same, own, own=True)),
        ("TVHL itself", scores(tvhl, tvhl, learned)),
        ("TVHL itself, wide fields cut", scores(same, same, learned)),
    ]  # fmt: skip
    return [
        f"Tested on TVHL: {int(labels.sum())} eyes with retinopathy of {len(labels)}.",
        "",
        "| learned from | all | camera with a notch | wide field | above the first |",
        "|---|---|---|---|---|",
        *(line(name, found, None if i == 0 else first, tvhl, parts) for i, (name, found) in enumerate(rows)),
    ]


if __name__ == "__main__":
    sys.stdout.write(measure(DATA, RUNS))
