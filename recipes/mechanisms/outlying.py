"""Out of distribution on the phantom: an unknown finding (near), another organ (far), another camera or spoilt images.

python recipes/mechanisms/outlying.py

Eyes of four classes are known. Settings are chosen on outliers of other kinds than the tested ones, and the best score
of arrays on eyes of another seed. Camera and corruption are covariate shifts of the known classes, under both policies.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench import BenchConfig, Results, run_bench
from tapetum.core.types import Laterality
from tapetum.phantom import EyeSpec, render_eye

CHOSEN_ON, SEED, SIZE, DRAWS = 820, 821, 96, 300
ENCODER = "efficientnet_lite(size=96)"
KNOWN = ("healthy", "hard_exudate", "choroidal_naevus", "laser_scar")
NEAR, NEAR_TO_CHOOSE = "branch_retinal_vein_occlusion", "myelinated_nerve_fibres"
EYES, OTHERS = 480, 100
SCORES = (
    "ash", "energy", "entropy", "fdbd", "gen", "gradnorm", "kl_matching", "knn", "mahalanobis", "max_logit", "msp",
    "nnguide", "prototype", "react", "relative_mahalanobis", "residual", "scale", "she", "vim",
)  # fmt: skip
SHOWN = ("msp", "energy", "knn", "mahalanobis")
ACCEPTED, REFUSED = "OOD, shifted accepted", "shifted, to be refused"
QUESTIONS = {  # heading → which run, which row of its table
    "unknown finding (near)": ("near", "OOD"),
    "other organ (far)": ("far", "OOD"),
    "near, camera accepted": ("near", ACCEPTED),
    "far, spoilt accepted": ("far", ACCEPTED),
    "camera, to be refused": ("near", REFUSED),
    "spoilt, to be refused": ("far", REFUSED),
}
POLICIES = {
    "shifted accepted": ("near, camera accepted", "far, spoilt accepted"),
    "shifted refused": tuple(list(QUESTIONS)[:2] + list(QUESTIONS)[4:]),
}
Picture = UInt8[np.ndarray, "s s 3"]
Draw = Callable[[int, np.random.Generator], tuple[str, Picture]]


def eye(signs: Sequence[str], camera: str, seed: int) -> Draw:
    """An eye with one of the signs in turn, of any age and pigment."""

    def draw(number: int, rng: np.random.Generator) -> tuple[str, Picture]:
        sign = signs[number % len(signs)]
        spec = EyeSpec(
            Laterality.RIGHT if rng.random() < 0.5 else Laterality.LEFT, seed * 10_000 + number,
            {} if sign == "healthy" else {sign: float(rng.uniform(0.6, 1.0))}, float(rng.uniform(30, 80)),
            float(rng.random()), camera=camera,
        )  # fmt: skip
        return sign, render_eye(spec, size=SIZE, rng=rng).image

    return draw


def organ(number: int, rng: np.random.Generator) -> tuple[str, Picture]:
    """A grey section through a body: a bright rim and a few round parts inside."""
    del number
    image = np.zeros((SIZE, SIZE), np.float32)
    middle, axes = (SIZE // 2, SIZE // 2), (int(SIZE * rng.uniform(0.32, 0.46)), int(SIZE * rng.uniform(0.24, 0.38)))
    cv2.ellipse(image, middle, axes, 0, 0, 360, float(rng.uniform(60, 110)), -1)
    for _ in range(int(rng.integers(3, 8))):
        place = tuple(int(SIZE * x) for x in rng.uniform(0.3, 0.7, 2))
        inner = tuple(int(SIZE * x) for x in rng.uniform(0.04, 0.14, 2))
        cv2.ellipse(image, place, inner, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(20, 200)), -1)
    cv2.ellipse(image, middle, axes, 0, 0, 360, float(rng.uniform(150, 230)), 2)
    soft = cv2.GaussianBlur(image, (0, 0), 0.8) + rng.normal(0, 6, image.shape)
    return "organ", np.repeat(np.clip(soft, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def texture(number: int, rng: np.random.Generator) -> tuple[str, Picture]:
    """Blurred noise in colours of its own."""
    del number
    blurred = cv2.GaussianBlur(rng.normal(size=(SIZE, SIZE, 3)), (0, 0), float(rng.uniform(1, 8)))
    shown = 127 + 60 * blurred / blurred.std() * rng.uniform(0.3, 1, 3) + rng.uniform(-60, 60, 3)
    return "texture", np.clip(shown, 0, 255).astype(np.uint8)


def archive(folder: Path, name: str, draws: Sequence[Draw], count: int, seed: int) -> Archive:
    """Pictures of each kind in turn, every one a patient of its own, with what it is as its label."""
    place = folder / f"{name}-export"
    place.mkdir(parents=True)
    lines = ["image,patient,label"]
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        label, image = draws[i % len(draws)](i // len(draws), rng)
        cv2.imwrite(str(place / f"{i:04d}.png"), image[..., ::-1])
        lines.append(f"{i:04d}.png,{name}{i:04d},{label}")
    (place / "table.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = IngestConfig(
        name=name, map="image=image,patient=patient", table="table.csv", labels="label", modality="fundus",
        fractions=(0.5, 0.25, 0.25), report_required=False,
    )  # fmt: skip
    ingest([place], folder / f"{name}.tap", settings)
    return open_archive(folder / f"{name}.tap")


def runs(folder: Path, seed: int) -> Mapping[str, Results]:
    """Near outliers beside another camera, far ones beside spoilt images."""
    made = {
        "known": archive(folder, "known", [eye(KNOWN, "cam_a", seed)], EYES, seed),
        "near": archive(folder, "near", [eye([NEAR], "cam_a", seed + 1000)], OTHERS, seed + 1000),
        "far": archive(folder, "far", [organ], OTHERS, seed + 2000),
        "camera": archive(folder, "camera", [eye(KNOWN, "cam_c", seed + 3000)], OTHERS, seed + 3000),
        "choose": archive(
            folder, "choose", [eye([NEAR_TO_CHOOSE], "cam_a", seed + 4000), texture], OTHERS, seed + 4000
        ),
    }  # fmt: skip
    config = BenchConfig(encoders=ENCODER, exclusive=True, threads=1, draws=DRAWS, seed=seed)
    asked = f"scores={SCORES}, odin=True, choose='{made['choose'].path}'"
    shifted = {"near": str(made["camera"].path), "far": "corrupted"}
    return {
        name: run_bench(f"ood({asked}, shifted='{how}')", made["known"], config, test=made[name])
        for name, how in shifted.items()
    }


def row_of(results: Results, score: str) -> str:
    """The row of a score in whatever setting was chosen for it."""
    return next(r.row for r in results.records if r.row.split("(")[0] == score)


def area(found: Mapping[str, Results], score: str, question: str) -> float:
    """AUROC of a score."""
    run, finding = QUESTIONS[question]
    return found[run].find(finding, "auroc_score", row_of(found[run], score)).interval.estimate


def cell(found: Mapping[str, Results], score: str, question: str, metric: str) -> str:
    """A number with its interval."""
    run, finding = QUESTIONS[question]
    return str(found[run].find(finding, metric, row_of(found[run], score)).interval)


def best(found: Mapping[str, Results], policy: str) -> str:
    """The score of arrays with the largest mean AUROC over the questions of a policy."""
    return max(SCORES, key=lambda score: np.mean([area(found, score, q) for q in POLICIES[policy]]))


def table(found: Mapping[str, Results], names: Mapping[str, str], metric: str, questions: Sequence[str]) -> list[str]:
    """Scores by questions."""
    rows = [
        f"| {name} | " + " | ".join(cell(found, score, q, metric) for q in questions) + " |"
        for name, score in names.items()
    ]
    return ["| score | " + " | ".join(questions) + " |", "|---|" + "---|" * len(questions), *rows, ""]


def measure(seed: int = SEED) -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    start, used = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as place:
        earlier = runs(Path(place) / "chosen", CHOSEN_ON)
        winners = {policy: best(earlier, policy) for policy in POLICIES}
        found = runs(Path(place) / "measured", seed)
    names = {**{f"`{s}`": s for s in SHOWN}, "ODIN": "odin"}
    names |= {f"`{score}`, best of arrays, {policy}": score for policy, score in winners.items()}
    steps = sorted({row_of(results, "odin") for results in found.values()})
    gains = [area(found, "odin", q) - area(found, "msp", q) for q in QUESTIONS]
    behind = [
        area(found, winners["shifted accepted"], q) - area(found, "odin", q) for q in POLICIES["shifted accepted"]
    ]
    return "\n".join([
        "### Out of distribution: near, far, shifted, and who chose what", "",
        f"PHANTOM: {EYES} eyes of {len(KNOWN)} classes are known ({ENCODER}, head `logistic` read with softmax; half "
        f"teach, a quarter chooses, a quarter is tested), {OTHERS} eyes with an unknown finding, {OTHERS} sections of "
        f"another organ, {OTHERS} eyes of the known classes under another camera; the tested known ones spoilt once "
        f"each. Settings of all scores and the step of ODIN ({', '.join(steps)}) are chosen on {OTHERS} outliers of "
        f"other kinds (another finding, textures); the best score of arrays on eyes of seed {CHOSEN_ON}, what is "
        f"shown is of seed {seed}. 95 % intervals over patients.", "",
        "AUROC, higher = the named images score higher than those to be accepted:", "",
        *table(found, names, "auroc_score", list(QUESTIONS)),
        "FPR95, lower is better: the share of images to be accepted that are refused where 95 % of the others are:", "",
        *table(found, names, "fpr_at_95_tpr_error", list(QUESTIONS)),
        "Under *shifted accepted* the camera and the spoilt images count as known ones, so that a high AUROC says they "
        "are let through; under *shifted refused* they are to be found themselves. A score can rank known images below "
        "shifted ones and these below outliers, and be good at both; a threshold serves one of the two.", "",
        f"ODIN minus `msp`, AUROC over the six questions: {min(gains):+.3f} to {max(gains):+.3f}; the best score of "
        f"arrays minus ODIN where shifted images are accepted: {min(behind):+.3f} to {max(behind):+.3f}.", "",
        f"{time.monotonic() - start:.0f} s ({time.process_time() - used:.0f} s of one core): "
        "`python recipes/mechanisms/outlying.py`.", "",
    ])  # fmt: skip


if __name__ == "__main__":
    sys.stdout.write(measure(int(sys.argv[1]) if len(sys.argv) > 1 else SEED) + "\n")
