"""Train the quality model on the phantom's known corruptions and write src/tapetum/archive/quality/model.json.

python recipes/train_quality.py [EYES]    1,400 eyes by default, minutes on two idle cores; the same bytes each time

python recipes/train_quality.py --survey  write anew what features real photographs have (quality_real.json)

Only `TRAINED` kinds of `tapetum.phantom.corruptions` are drawn. The target is the share of readers to whom enough
stays visible (`tapetum.phantom.visibility`); the reason is the kind that was laid on.
A phantom is not a clinic: every example enters twice, once as it is and once with its features shifted and scaled so
that good phantom photographs have the median and the spread of 60 real ones. Those come from the development half of
ODIR's patients, without any label; nothing else of a real photograph is used.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from tapetum.archive.pixels import decode
from tapetum.archive.quality.features import MODELLED, QUALITY_FEATURES, features
from tapetum.archive.quality.judge import REASONS, Model
from tapetum.core.types import Laterality
from tapetum.phantom import EyeSpec, render_eye, sign_names
from tapetum.phantom.corruptions import TRAINED, Shot, corrupt, shot_of
from tapetum.phantom.visibility import gradable_share

OUT = Path(__file__).parents[1] / "src" / "tapetum" / "archive" / "quality" / "model.json"
REAL = Path(__file__).parent / "quality_real.json"
SURVEYED = 60
EYES = 1400
UNITS, EPOCHS, BATCH, RATE, DECAY, JITTER = 30, 60, 128, 3e-3, 2e-3, 0.5
# Two of eight, by the development half: JPEG and fog differ by up to 0.02 AUROC from seed to seed, and the mean of two
# falls with each level of fog where one alone stays level at the end.
SEEDS = (1, 2)
# Told well on the phantom, misleading on photographs: clouds of fog count as coarse detail, choroid as coherent lines.
LEFT_OUT = ("haar_4", "haar_5", "coherence", "coherence_high", "noise_ratio", "reblur")
SIZES = (256, 256, 256, 288, 320, 400)
SOFT, CONTRAST = (0.3, 1.2), (0.26, 0.9)  # blur in pixels of 256, share of the fine contrast that is kept
REASON_OF = {
    "defocus": "blurred", "motion": "blurred", "dark": "dark", "overexposed": "overexposed", "haze": "hazy",
    "fog": "hazy", "low_contrast": "hazy", "uneven": "uneven light", "cast": "", "noise": "noisy", "jpeg": "compressed",
    "dust": "artefact", "lashes": "artefact", "crop": "off-centre", "off_centre": "off-centre",
}  # fmt: skip
# Small faults that no photograph is free of: kind and greatest strength.
DAILY = (("dark", 0.25), ("overexposed", 0.25), ("cast", 0.6), ("defocus", 0.08), ("haze", 0.12), ("uneven", 0.6),
         ("noise", 0.08), ("jpeg", 0.25), ("dust", 0.05))  # fmt: skip


def random_eye(rng: np.random.Generator, first: int = 0) -> EyeSpec:
    """An eye with up to three signs."""
    names = rng.choice(sign_names(), size=int(rng.integers(0, 4)), replace=False)
    return EyeSpec(
        (Laterality.RIGHT, Laterality.LEFT)[int(rng.integers(2))],
        first + int(rng.integers(1_000_000)),
        {str(name): float(rng.uniform(0.2, 0.9)) for name in names if name != "cataract"},
        age_years=float(rng.uniform(15, 85)),
        pigment=float(rng.uniform(0, 1)),
        camera=("cam_a", "cam_b", "cam_c")[int(rng.integers(3))],
    )


def photograph(rng: np.random.Generator, first: int = 0) -> Shot:
    """A good photograph of a random eye at a random size.

    The phantom draws its vessels crisper and darker than a clinic's camera: fine detail is softened to the range of
    real photographs, or the model would call every real one blurred.
    """
    side = int(rng.choice(SIZES))
    shot = shot_of(render_eye(random_eye(rng, first), size=side, rng=rng))
    light = shot.image.astype(np.float32)
    inside = shot.field.astype(np.float32)
    sigma = 0.09 * side
    weight = np.maximum(cv2.GaussianBlur(inside, (0, 0), sigma), 1e-3)[..., None]
    wide = cv2.GaussianBlur(light * inside[..., None], (0, 0), sigma) / weight
    fine = cv2.GaussianBlur(light - wide, (0, 0), float(rng.uniform(*SOFT)) * side / 256)
    grain = cv2.GaussianBlur(
        rng.standard_normal((side, side, 1)).astype(np.float32), (0, 0), float(rng.uniform(0.8, 3))
    )
    grain = grain / grain.std() * float(rng.uniform(0.5, 2.0)) * inside  # the choroid's texture
    tone = wide + np.float32(np.exp(rng.uniform(*np.log(CONTRAST)))) * fine + grain[..., None]
    image = np.clip(np.rint(tone * inside[..., None]), 0, 255).astype(np.uint8)
    shot = dataclasses.replace(shot, image=image)
    return corrupt(shot, "jpeg", float(rng.uniform(0.0, 0.22)), rng=rng) if rng.random() < 0.7 else shot


def framed(shot: Shot, rng: np.random.Generator) -> Shot:
    """The same photograph from a camera of another make: a narrower field, or top and bottom cut by the frame.

    Neither is a fault: disc and macula stay inside, and nothing counts as lost.
    """
    cx, cy, radius = shot.circle
    rows, columns = shot.field.shape
    if rng.random() < 0.4:
        far = max(np.hypot(x - cx, y - cy) for x, y in (shot.disc, shot.fovea))
        radius *= max(float(rng.uniform(0.72, 1.0)), min(1.0, far / (0.93 * radius)))
    high = radius * (float(rng.uniform(0.74, 0.98)) if rng.random() < 0.4 else 1.03)
    high = max(high, 1.05 * max(abs(y - cy) for _, y in (shot.disc, shot.fovea)))
    left, top = max(0, round(cx - 1.03 * radius)), max(0, round(cy - high))
    window = np.s_[top : min(rows, round(cy + high) + 1), left : min(columns, round(cx + 1.03 * radius) + 1)]
    y, x = np.ogrid[:rows, :columns]
    field = (shot.field & (np.hypot(x - cx, y - cy) <= radius))[window]
    moved = [(x - left, y - top) for x, y in (shot.disc, shot.fovea)]
    return Shot(np.ascontiguousarray(shot.image[window] * field[..., None]), field, moved[0], moved[1], shot.kept)


def spoil(good: Shot, kind: str, strength: float, rng: np.random.Generator) -> tuple[Shot, float]:
    """The photograph with daily faults and one corruption, and the share of readers who would grade it."""
    if kind != "off_centre":  # which narrows the field itself
        good = framed(good, rng)
    if kind in ("crop", "off_centre"):
        good = corrupt(good, kind, strength, rng=rng)
    shot = good
    if kind not in ("crop", "off_centre"):
        shot = corrupt(shot, kind, strength, rng=rng)
    for daily, most in DAILY:
        if rng.random() < 0.35:
            shot = corrupt(shot, daily, float(rng.uniform(0, most)), rng=rng)
    return shot, gradable_share(good, shot)


def examples(seed: int) -> list[tuple[np.ndarray, float, int]]:
    """Eight photographs of one eye: features, share of readers, number of the reason (-1 for none)."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng([20, seed])
    good = photograph(rng)
    rows: list[tuple[np.ndarray, float, int]] = []
    for kind in ["cast", *rng.choice((*TRAINED, "jpeg", "fog", "fog", "haze", "defocus", "motion"), size=7)]:
        strength = 0.0 if len(rows) == 1 else float(rng.uniform(0, 1))
        shot, share = spoil(good, str(kind), strength, rng)
        reason = REASON_OF[str(kind)]
        rows.append((features(shot.image), share, REASONS.index(reason) if reason else -1))
    return rows


def draw(eyes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, shares and reasons of all examples, in order."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        rows = [row for part in pool.imap(examples, range(eyes), chunksize=20) for row in part]
    return np.stack([r[0] for r in rows]), np.array([r[1] for r in rows]), np.array([r[2] for r in rows])


def odir_half(data: Path, *, dev: bool) -> list[dict[str, str]]:
    """Rows of one half of ODIR's patients, in a fixed order: even SHA-1 of the number for development, else odd."""
    with (data / "odir" / "pairs.csv").open(encoding="utf-8", newline="") as file:
        rows = [r for r in csv.DictReader(file) if (_digest(r["patient_id"]) % 2 == 0) == dev]
    return sorted(rows, key=lambda r: _digest(r["file"]))


def survey(data: Path) -> None:
    """Write median and half the spread (16 to 84 %) of each feature over real photographs of the development half."""
    files = [data / "odir" / "images" / r["file"] for r in odir_half(data, dev=True)[:SURVEYED]]
    rows = np.stack([features(decode(file.read_bytes(), min_side=512)) for file in files])
    low, middle, high = np.percentile(rows, [16, 50, 84], axis=0)
    table = {
        name: [float(f"{m:.4g}"), float(f"{h:.4g}")]
        for name, m, h in zip(QUALITY_FEATURES, middle, (high - low) / 2, strict=True)
        if name in MODELLED
    }
    REAL.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


def both_domains(rows: np.ndarray, share: np.ndarray, reason: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The examples as they are, and shifted to where real photographs lie."""
    real = json.loads(REAL.read_text(encoding="utf-8"))
    place = [QUALITY_FEATURES.index(name) for name in MODELLED]
    middle, half = np.array([real[name] for name in MODELLED]).T
    low, own, high = np.percentile(rows[share > 0.6][:, place], [16, 50, 84], axis=0)
    scale = np.clip((half + 1e-3) / ((high - low) / 2 + 1e-3), 0.4, 2.5)
    moved = rows.copy()
    moved[:, place] = (rows[:, place] - own) * scale + middle
    return np.concatenate([moved, rows]), np.tile(share, 2), np.tile(reason, 2)


def _digest(text: str) -> int:
    return int(hashlib.sha1(text.encode()).hexdigest(), 16)


def train(rows: np.ndarray, share: np.ndarray, reason: np.ndarray, *, seed: int = 0) -> Model:
    """Cross-entropy of the shares, plus that of the reasons weighed by how bad the photograph is; Adam."""
    names = tuple(name for name in MODELLED if name not in LEFT_OUT)
    chosen = rows[:, [QUALITY_FEATURES.index(n) for n in names]].astype(np.float64)
    low, high = np.percentile(chosen, [0.5, 99.5], axis=0)
    cut = np.clip(chosen, low, high)
    mean, spread = cut.mean(axis=0), cut.std(axis=0) + 1e-6
    inputs = (cut - mean) / spread
    rng = np.random.default_rng(seed)
    weights = [
        rng.normal(0, 1 / np.sqrt(len(names)), (len(names), UNITS)), np.zeros(UNITS),
        np.zeros((UNITS + 1, 1)), np.zeros((UNITS + 1, len(REASONS))),
    ]  # fmt: skip
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    wanted = np.eye(len(REASONS))[np.maximum(reason, 0)] * (reason >= 0)[:, None] * (1 - share)[:, None]
    step = 0
    for epoch in range(EPOCHS):
        rate = RATE * 0.5 * (1 + np.cos(np.pi * epoch / EPOCHS))
        order = rng.permutation(len(inputs))
        for start in range(0, len(order) - BATCH + 1, BATCH):
            index = order[start : start + BATCH]
            noisy = inputs[index] + rng.normal(0, JITTER, (BATCH, len(names)))
            step += 1
            for k, slope in enumerate(_slopes(weights, noisy, share[index], wanted[index])):
                first, second = moments[k]
                first += 0.1 * (slope - first)
                second += 0.001 * (slope**2 - second)
                size = rate / (1 - 0.9**step) * first / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
                weights[k] -= size + rate * DECAY * weights[k] * (weights[k].ndim > 1)
    return Model(names, low, high, mean, spread, *weights)


def side_by_side(models: Sequence[Model]) -> Model:
    """One model whose outputs, before the last curve, are the mean of the models': their units stand side by side."""

    def mean(name: str) -> np.ndarray:
        outputs = [getattr(m, name) for m in models]
        return np.concatenate([*(o[:-1] for o in outputs), np.sum([o[-1:] for o in outputs], axis=0)]) / len(models)

    return dataclasses.replace(
        models[0], hidden=np.concatenate([m.hidden for m in models], axis=1),
        bias=np.concatenate([m.bias for m in models]), gradable=mean("gradable"), reasons=mean("reasons"),
    )  # fmt: skip


def _slopes(weights: list[np.ndarray], x: np.ndarray, share: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Gradient of the mean loss."""
    units = np.tanh(x @ weights[0] + weights[1])
    padded = np.concatenate([units, np.ones((len(units), 1))], axis=1)
    error = (1 / (1 + np.exp(-(padded @ weights[2])[:, 0])) - share)[:, None] / len(x)
    evidence = padded @ weights[3]
    evidence = np.exp(evidence - evidence.max(axis=1, keepdims=True))
    off = (evidence / evidence.sum(axis=1, keepdims=True) * wanted.sum(axis=1, keepdims=True) - wanted) / len(x)
    back = (error @ weights[2][:-1].T + off @ weights[3][:-1].T) * (1 - units**2)
    return [x.T @ back, back.sum(axis=0), padded.T @ error, padded.T @ off]


def main(arguments: list[str]) -> int:
    """Draw, train, write."""
    if arguments == ["--survey"]:
        survey(Path(os.environ.get("TAPETUM_DATA", "../shared/data")))
        return 0
    eyes = int(arguments[0]) if arguments else EYES
    rows, share, reason = draw(eyes)
    taught = both_domains(rows, share, reason)
    model = side_by_side([train(*taught, seed=seed) for seed in SEEDS])
    text = json.dumps(model.as_dict(), separators=(",", ":"))
    OUT.write_text(text + "\n", encoding="utf-8")
    print(f"{len(rows)} photographs of {eyes} eyes, {np.mean(share):.2f} gradable; {len(text)} bytes in {OUT.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
