"""What a model should leave to a person, on phantom clinics: images of another kind, another camera, answers in doubt.

python recipes/mechanisms/doubt.py

The gate and the sets are fitted on one clinic and meet its own test patients, another camera, and computed
textures that are no eyes. Nothing was chosen by its outcome: sizes and options were set before the first run.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from grounds.clinic import labelled_clinic

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench import BenchConfig, Results, run_bench
from tapetum.bench.demo import enough
from tapetum.core.errors import DataError
from tapetum.learn import AdaptConfig, adapt
from tapetum.phantom import ClinicConfig

SEED, PATIENTS, SIZE, TEXTURES, DRAWS = 710, 300, 64, 60, 300
ENCODER = "efficientnet_lite(size=96)"
SCORES = ("knn", "mahalanobis", "energy", "msp")


def textures(folder: Path, seed: int) -> Archive:
    """Blurred noise in colours of its own: no eyes."""
    rng, place = np.random.default_rng(seed), folder / "textures"
    place.mkdir(parents=True)
    lines = ["image,patient"]
    for i in range(TEXTURES):
        blurred = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE, 3)), (0, 0), float(rng.uniform(1, 8)))
        shown = 127 + 60 * blurred / blurred.std() * rng.uniform(0.3, 1, 3) + rng.uniform(-60, 60, 3)
        cv2.imwrite(str(place / f"{i:03d}.png"), np.clip(shown, 0, 255).astype(np.uint8))
        lines.append(f"{i:03d}.png,T{i:03d}")
    (place / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = IngestConfig(name="textures", map="image=image,patient=patient", table="table.csv")
    ingest([place], folder / "textures.tap", settings)
    return open_archive(folder / "textures.tap")


def found(results: Results, row: str, finding: str, metric: str) -> str:
    """One interval of a table, in words."""
    try:
        return str(results.find(finding, metric, row).interval)
    except KeyError:
        return "–"


def outlying(here: Archive, others: dict[str, Archive], config: BenchConfig, unseen: str) -> list[str]:
    """AUROC of scores for each kind of image that the model was not made for."""
    spec = f"ood(scores={SCORES}"
    runs = {name: run_bench(f"{spec})", here, config, test=other) for name, other in others.items()}
    runs[f"{unseen.replace('_', ' ')}, held out"] = run_bench(f"{spec}, unseen='{unseen}')", here, config)
    rows: list[str] = []
    for name, results in runs.items():
        cells = [found(results, f"{score}()", "OOD", "auroc_score") for score in SCORES]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return rows


def doubted(here: Archive, others: dict[str, Archive | None], config: BenchConfig) -> tuple[list[str], list[str]]:
    """Errors at coverages, and the promises of gate and sets, here and elsewhere."""
    errors: list[str] = []
    promises: list[str] = []
    folded = adapt(here, AdaptConfig("logistic()", ENCODER, config.findings, threads=1))  # learns from val too
    for name, other in others.items():
        results = run_bench("abstain(adapter='logistic')", here, config, test=other)
        for kind in ("near the threshold", "unlike the known", "blind"):
            metrics = ("error_at_100_coverage", "error_at_80_coverage", "error_at_50_coverage", "aurc_error")
            errors.append(
                f"| {name} | {kind} | " + " | ".join(found(results, kind, "macro", m) for m in metrics) + " |"
            )
        promises.append(promise(results, name, "train"))
        more = run_bench("abstain", here, config, test=other, model=folded)
        promises.append(promise(more, name, "train and val, in folds"))
    return errors, promises


def promise(results: Results, name: str, learned: str) -> str:
    """What gate and sets kept, where the model learned from these patients."""
    metrics = ("present_kept_score", "absent_kept_score", "single_answer_score", "single_answer_right_score")
    sets = [found(results, "sets of logistic(), alpha=0.1", "macro", m) for m in metrics]
    return " | ".join([f"| {name}", learned, found(results, "gate knn()", "images", "let_through_score"), *sets]) + " |"


def measure(seed: int = SEED) -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    start, used = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as place:
        folder, made = Path(place), dict[str, Archive]()
        for i, camera in enumerate(("cam_a", "cam_c")):
            clinic = ClinicConfig(patients=PATIENTS, size=SIZE, seed=seed + i, cameras=(camera,))
            made[camera] = labelled_clinic(folder / camera, clinic, (0.4, 0.3, 0.3))
        here, other = made["cam_a"], made["cam_c"]
        findings = tuple(enough(here))
        if not findings:
            raise DataError("no finding with enough images", "more patients")
        config = BenchConfig(encoders=ENCODER, findings=findings, threads=1, draws=DRAWS)
        eyes = textures(folder, seed)
        ood = outlying(here, {"computed textures": eyes, "another camera": other}, config, findings[0])
        errors, promises = doubted(here, {"its own patients": None, "another camera": other}, config)
    head = " | ".join(SCORES)
    return "\n".join([
        "### Doubt: what to leave to a person", "",
        f"PHANTOM: clinics of {PATIENTS} patients at {SIZE} px; everything is fitted on one of them ({ENCODER}, a "
        f"logistic probe of {', '.join(f.replace('_', ' ') for f in findings)}). 95 % intervals over patients.", "",
        "AUROC of out-of-distribution scores, higher = more OOD; .5 is chance:", "",
        f"| OOD images | {head} |", "|---|" + "---|" * len(SCORES), *ood, "",
        "Share of wrong decisions when the most doubted answers are left to a person; `blind` is the control:", "",
        "| tested on | doubt | all answers | 80 % | 50 % | AURC ↓ |", "|---|---|---|---|---|---|", *errors, "",
        "The gate promises to let 95 % of known images through, the sets to keep 90 % of true answers, present and "
        "absent apart, for new patients of the same clinic; where the model learned from val too, nearly so. For "
        "another camera nothing is promised:", "",
        "| tested on | learned from | let through | present kept | absent kept | single answers | of these right |",
        "|---|---|---|---|---|---|---|", *promises, "",
        f"{time.monotonic() - start:.0f} s ({time.process_time() - used:.0f} s of one core): "
        "`python recipes/mechanisms/doubt.py`.",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(measure(int(sys.argv[1]) if len(sys.argv) > 1 else SEED) + "\n")
