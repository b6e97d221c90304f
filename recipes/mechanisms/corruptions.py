"""A planted shortcut is seen when the eye is masked; spoilt photographs cost more the more they are spoilt; phantom.

python recipes/mechanisms/corruptions.py

Sizes were chosen on a clinic of seed 101; the seeds below were measured once.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench import BenchConfig, Results, run_bench
from tapetum.bench.demo import LABELLED, add_truth, enough
from tapetum.phantom import ClinicConfig, make_clinic

SEEDS, PATIENTS, SIZE, ENCODER = (1, 2), 240, 96, "efficientnet_lite(size=96)"
MARKED, STRENGTH = "dot_blot_haemorrhage", 0.9
STEPS, SEVERITIES, DRAWS = (0.5, 1.0), (0.25, 0.5, 0.75), 200
MASKED = f"masked(region='field', steps={STEPS}, images=0, relearn=120)"
CORRUPTED = f"corrupted(severities={SEVERITIES}, images=40)"


def clinic(folder: Path, seed: int, *, planted: bool) -> Archive:
    """A clinic; planted: a bright corner outside the field of view that comes with `MARKED` in 19 of 20 images."""
    shortcut = STRENGTH if planted else 0.0
    made = ClinicConfig(PATIENTS, size=SIZE, seed=seed, degraded=0.0, shortcut=shortcut, shortcut_finding=MARKED)
    make_clinic(folder / "clinic", made)
    add_truth(folder / "clinic")
    settings = IngestConfig(
        name="phantom clinic", labels="truth", pack="fundus", table=LABELLED, fractions=(0.5, 0.1, 0.4)
    )
    ingest([folder / "clinic"], folder / "clinic.tap", settings)
    return open_archive(folder / "clinic.tap")


def measured(archive: Archive, protocol: str, findings: tuple[str, ...]) -> Results:
    """A protocol on some findings."""
    config = BenchConfig(encoders=ENCODER, threads=1, draws=DRAWS, findings=findings, copies="keep")
    return run_bench(protocol, archive, config)


def curve(found: dict[bool, list[Results]]) -> list[str]:
    """AUROC of the marked finding with the eye hidden, and alone, clinic by clinic."""
    lines = ["| shown | clean | planted |", "|---|---|---|"]
    rows = list(dict.fromkeys(r.row for r in found[True][0].records))
    for row in rows:
        if row.startswith(("random", "learned so: random")):
            continue
        cells = [", ".join(f"{r.find(MARKED, 'auroc_score', row).interval}" for r in found[p]) for p in (False, True)]
        lines.append(f"| {row} | {cells[0]} | {cells[1]} |")
    warned = [sum(any(w.startswith(f"{MARKED}:") for w in r.warnings) for r in found[p]) for p in (False, True)]
    heads = [w.partition(":")[0] for of in found.values() for r in of for w in r.warnings]
    others = [f"{name} {heads.count(name)} times" for name in sorted(set(heads) - {MARKED})]
    lines += ["", f"Warned of {MARKED}: {warned[0]} of {len(SEEDS)} clean and {warned[1]} of {len(SEEDS)} planted "
              f"clinics; of others: {', '.join(others) or 'none'}."]  # fmt: skip
    return lines


def costs(found: list[Results]) -> list[str]:
    """Macro AUROC of every corruption at every severity, mean of the clinics, the worst first."""
    first = found[0]
    names = [r.row for r in first.records if r.metric == "auroc_difference (p)"]
    heads = " | ".join(f"severity {s:g}" for s in SEVERITIES)
    lines = [f"| corruption | {heads} | mean − clean, clinic by clinic |", f"|---|{'---|' * len(SEVERITIES)}---|"]

    def of(name: str, metric: str) -> float:
        return float(np.mean([r.find("macro", metric, name).interval.estimate for r in found]))

    for name in sorted(names, key=lambda n: of(n, "auroc_difference")):
        at = " | ".join(f"{of(name, f'auroc_at_{s:g}_score'):.3f}" for s in SEVERITIES)
        apart = ", ".join(f"{r.find('macro', 'auroc_difference', name).interval}" for r in found)
        lines.append(f"| {name} | {at} | {apart} |")
    whole = " | ".join(f"{np.mean([of(n, f'auroc_at_{s:g}_score') for n in names]):.3f}" for s in SEVERITIES)
    clean = float(np.mean([r.records[0].interval.estimate for r in found]))
    falling = sum(
        of(n, f"auroc_at_{SEVERITIES[0]:g}_score") > of(n, f"auroc_at_{SEVERITIES[-1]:g}_score") for n in names
    )
    lines += [f"| mean | {whole} | |", "", f"Clean: {clean:.3f}. AUROC is lower at severity {SEVERITIES[-1]:g} than at "
              f"{SEVERITIES[0]:g} for {falling} of {len(names)} corruptions."]  # fmt: skip
    return lines


def main() -> None:
    """Measure and print the section."""
    start = time.process_time()
    masked: dict[bool, list[Results]] = {False: [], True: []}
    spoilt: list[Results] = []
    for planted in (False, True):
        for seed in SEEDS:
            with tempfile.TemporaryDirectory() as folder:
                archive = clinic(Path(folder), seed + 10 * planted, planted=planted)
                findings = tuple(sorted({*enough(archive)[:4], MARKED}))
                masked[planted].append(dataclasses.replace(measured(archive, MASKED, findings), trial=None))
                if not planted:
                    spoilt.append(dataclasses.replace(measured(archive, CORRUPTED, findings), trial=None))
    page = [
        "### Masked and spoilt photographs", "",
        f"PHANTOM. Clinics of {PATIENTS} patients, {SIZE} px, no bad images. Planted: a bright corner outside the "
        f"field of view that comes with {MARKED} in 19 of 20 images. `{ENCODER}`, logistic regression. AUROC of that "
        "finding, clinic by clinic; `hidden 1`: the whole field of view is hidden; `learned so`: an adapter that "
        "learned on images masked alike.", "",
        *curve(masked), "",
        f"Macro AUROC of {len(spoilt[0].scored[0].predictions.findings)} findings on spoilt images of the clean "
        f"clinics, {spoilt[0].records[0].images} images each.", "",
        *costs(spoilt), "",
        f"{time.process_time() - start:.0f} s of one core: `python recipes/mechanisms/corruptions.py`.",
    ]  # fmt: skip
    print("\n".join(page))


if __name__ == "__main__":
    main()
