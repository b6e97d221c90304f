"""Calibrators on computed scores with known truth, and on phantom clinics: each against what it is made to mend.

python recipes/mechanisms/calibration.py

Two eyes of a patient share most of a true log odds, and outcomes are drawn from it; what is stated is that log odds
after a planted distortion. Calibrators are fitted on the patients of a validation set and measured on others. For each
distortion one calibrator should mend it, and one cannot: the negative control. Then photographs of another camera.
Numbers of patients and sizes of distortions were set on the seeds 1 to 3; those of `SEED` are measured, once.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from grounds.clinic import labelled_clinic
from grounds.told import told
from scipy import special

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.demo import enough
from tapetum.core.registry import Family
from tapetum.core.types import Interval
from tapetum.phantom import ClinicConfig
from tapetum.score.calibration_draws import Calibration, measured_calibration

SEED, PATIENTS, DRAWS = 700, 2000, 300
ENCODER, CLINIC, SIZE = "efficientnet_lite(size=96)", 240, 64
FAMILY = Family("tapetum.score.calibration")
Bend = Callable[[np.ndarray], np.ndarray]


def bumped(z: np.ndarray) -> np.ndarray:
    """Log odds between -1 and 2 come out in the reverse order."""
    return np.where((z > -1) & (z < 2), 1 - z, z)


# distortion, what it does, the calibrator that should mend it, the one that cannot
FINDINGS: Sequence[tuple[str, Bend, str, str]] = (
    ("none", lambda z: z, "platt", "temperature"),
    ("log odds times 3", lambda z: 3 * z, "temperature", ""),
    ("log odds plus 1.5", lambda z: z + 1.5, "platt", "temperature"),
    ("log odds times 4 above 0", lambda z: np.where(z > 0, 4 * z, z), "beta", "platt"),
    ("log odds reversed from -1 to 2", bumped, "histogram(bins=20)", "beta"),
)
BIAS, MIXED = np.array([1.0, 0.0, -1.0]), np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 0, 1]])
CLASSES: Sequence[tuple[str, Bend, str, str]] = (
    ("all logits times 3", lambda z: 3 * z, "temperature(mode='softmax')", ""),
    ("1, 0, -1 added to the classes", lambda z: z + BIAS, "vector(mode='softmax')", "temperature(mode='softmax')"),
    ("class 1 shown as the mean of 1 and 2", lambda z: z @ MIXED.T, "dirichlet", "vector(mode='softmax')"),
)


def patients(rng: np.random.Generator, columns: int, slope: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    """True log odds of two eyes of each patient, what came true (0, 1, or a class), and whose the eyes are."""
    z = np.repeat(rng.normal(-0.5, 1.2, (PATIENTS, columns)), 2, axis=0) + rng.normal(0, 0.6, (2 * PATIENTS, columns))
    who = np.repeat(np.arange(PATIENTS), 2)
    if columns > 1:
        return z, np.argmax(z + rng.gumbel(size=z.shape), axis=1), who
    return z, (rng.random(z.shape) < special.expit(slope * z + shift)).astype(float), who


def judged(probs: np.ndarray, labels: np.ndarray, who: np.ndarray) -> Calibration:
    """All measures, with draws that are equal for equal patients."""
    truth = labels if labels.ndim == 2 else np.eye(probs.shape[1])[labels]
    return measured_calibration(probs, truth, who, rng=np.random.default_rng(SEED), draws=DRAWS)


def rows(kinds: Sequence[tuple[str, Bend, str, str]], columns: int, seed: int) -> list[str]:
    """One line per distortion: the debiased error before and after, and what came of the negative control."""
    rng, lines = np.random.default_rng(seed), list[str]()
    (val, val_labels, _), (test, labels, who) = patients(rng, columns), patients(rng, columns)
    stated: Bend = special.expit if columns == 1 else lambda z: special.softmax(z, axis=1)
    for name, bend, mender, control in kinds:
        before = judged(stated(bend(test)), labels, who)
        found = {}
        for spec in (mender, control):
            if spec:
                found[spec] = judged(FAMILY.build(spec).fit(bend(val), val_labels)(bend(test)), labels, who)
        cells = [_error(before, columns), f"`{mender}` {_error(found[mender], columns)}"]
        cells += [f"`{control}` {_error(found[control], columns)}" if control else ""]
        apart = found[mender].minus(found.get(control, before), "brier_error", range(columns)).interval
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {told(apart, 4)}: {_verdict(apart)} |")
    return lines


def _error(found: Calibration, columns: int) -> str:
    return str(found.interval("debiased_calibration_error", range(columns)))


def _verdict(apart: Interval) -> str:
    return "mends more" if apart.high < 0 else "mends less" if apart.low > 0 else "no difference shown"


def shifted(seed: int) -> list[str]:
    """Platt fitted at one site, measured there, at another one, and there again after it was fitted anew."""
    rng = np.random.default_rng(seed + 50)

    def site(slope: float, shift: float) -> tuple[np.ndarray, ...]:
        z, labels, who = patients(rng, 1, slope, shift)
        return 2 * z, labels, who

    here, there = (1.0, 0.0), (0.6, -1.0)
    val, val_labels, _ = site(*here)
    fitted = FAMILY.build("platt").fit(val, val_labels)
    z, labels, who = site(*here)
    other, other_labels, others = site(*there)
    more, more_labels, _ = site(*there)
    anew = FAMILY.build("platt").fit(more, more_labels)
    lines: list[str] = []
    for name, probs, truth, whose in (
        ("site 1, as it is", special.expit(z), labels, who),
        ("site 1, platt of site 1", fitted(z), labels, who),
        ("site 2, as it is", special.expit(other), other_labels, others),
        ("site 2, platt of site 1", fitted(other), other_labels, others),
        ("site 2, platt of site 2", anew(other), other_labels, others),
    ):
        found = judged(probs, truth, whose)
        measures = ("debiased_calibration_error", "calibration_slope", "calibration_intercept")
        lines.append(f"| {name} | " + " | ".join(str(found.interval(m, [0])) for m in measures) + " |")
    return lines


def cameras() -> list[str]:
    """A probe and its calibrators of a phantom clinic with one camera, tested on its and on another one's images."""
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        made = {}
        for i, camera in enumerate(("cam_a", "cam_c")):
            config = ClinicConfig(patients=CLINIC, size=SIZE, seed=SEED + i, cameras=(camera,))
            made[camera] = labelled_clinic(folder / camera, config, (0.4, 0.3, 0.3))
        findings = tuple(enough(made["cam_a"]))
        config = BenchConfig(encoders=ENCODER, findings=findings, threads=1, draws=DRAWS)
        for name, test in (("its own camera", None), ("another camera", made["cam_c"])):
            spec = "calibration(calibrators=('platt', 'temperature'), groups=False)"
            results = run_bench(spec, made["cam_a"], config, test=test)
            for row in dict.fromkeys(r.row for r in results.records):
                of = {r.metric: r.interval for r in results.records if (r.row, r.finding) == (row, "macro")}
                cells = [str(of[m]) for m in ("debiased_calibration_error", "brier_error", "calibration_intercept")]
                lines.append(f"| {name} | {row} | " + " | ".join(cells) + f" | {of['auroc_score'].estimate:.3f} |")
        lines += ["", f"Findings: {', '.join(f.replace('_', ' ') for f in findings)}."]
    return lines


def measure(seed: int = SEED) -> str:
    """The section of the page on mechanisms: tables in Markdown."""
    start, used = time.monotonic(), time.process_time()
    head = "| planted | debiased error as stated ↓ | the mender | the negative control | Brier, mender − control |"
    lines = [
        "### Calibration: what mends what", "",
        f"PHANTOM, computed scores: {PATIENTS} patients with two eyes to fit on and as many others to measure on; 95 % "
        "intervals over patients. Where no control is named, the mender is set beside the scores as stated.", "",
        "Findings that occur together:", "", head, "|---|---|---|---|---|", *rows(FINDINGS, 1, seed), "",
        "Three exclusive classes:", "", head, "|---|---|---|---|---|", *rows(CLASSES, 3, seed + 1), "",
        "Another site, where outcomes are rarer and scores tell less (log odds 0.6 z - 1 in the place of z; 2 z is "
        "stated at both):", "",
        "| | debiased error ↓ | slope (1) | intercept (0) |", "|---|---|---|---|", *shifted(seed), "",
        f"Phantom photographs, {CLINIC} patients at {SIZE} px for each of two cameras; a logistic probe on `{ENCODER}` "
        "learns and is calibrated on the first one's:", "",
        "| tested on | row | debiased error ↓ | Brier ↓ | intercept (0) | AUROC |", "|---|---|---|---|---|---|",
        *cameras(), "",
        f"{time.monotonic() - start:.0f} s ({time.process_time() - used:.0f} s of one core): "
        "`python recipes/mechanisms/calibration.py`.",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(measure(int(sys.argv[1]) if len(sys.argv) > 1 else SEED) + "\n")
