"""The whole few-shot grid: every adapter × 4 shots × 10 draws on frozen ODIR features. Goal: 12 adapters in 2 minutes.

Run: OMP_WAIT_POLICY=PASSIVE python benchmarks/few_shot.py [adapter …]

Tested on the VALIDATION patients. Needs the real images (TAPETUM_DATA); reuses runs/odir.tap where `make results` left
it, else makes an archive. Embedding is not counted, nor is fitting the linear model that lends its words.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from tapetum.archive import open_archive
from tapetum.bench import BenchConfig
from tapetum.bench.models.adapting import taught_findings
from tapetum.bench.models.few_shot import choose_adapters, curves, nameable, run_grid
from tapetum.bench.trial import trial_of
from tapetum.learn import pretrain

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("TAPETUM_DATA", ROOT.parent / "shared" / "data")) / "odir"
SHOTS, DRAWS, GOAL, WANTED = (1, 4, 8, 16), 10, 120.0, 12


def measure(place: Path, adapters: Sequence[str]) -> int:
    """Run the grid once and say where the time went."""
    config = BenchConfig(test_split="val")
    plain = trial_of(open_archive(place), config)
    trial = dataclasses.replace(plain, model=pretrain(plain.archive, config, embeddings=plain.embeddings))
    specs, _ = choose_adapters(trial, adapters, adapters[0] if adapters else "linear_probe")
    findings, _ = nameable(trial, taught_findings(trial)[0], specs)
    tested = trial.test_embeddings  # read before the clock starts
    start, cpu = time.perf_counter(), time.process_time()
    grid = run_grid(trial, findings, specs, SHOTS, DRAWS)
    fitted = time.perf_counter() - start
    found = curves(grid, tested.patient_ids, rng=np.random.default_rng(0), draws=config.draws)
    seconds, worked = time.perf_counter() - start, time.process_time() - cpu
    images, width = tested.features.shape
    print(
        f"{len(specs)} adapters x {len(SHOTS)} shots x {DRAWS} draws, {len(findings)} findings, {images} validation "
        f"images, {width} features: {seconds:.1f} s ({worked:.1f} s of CPU), of which {seconds - fitted:.1f} s "
        f"bootstrap; load {os.getloadavg()[0]:.1f}"
    )
    for a, (spec, own) in enumerate(zip(grid.adapters, grid.seconds, strict=True)):
        scores = "  ".join(f"{n}: {found.auroc(a, s)}" for s, n in enumerate(SHOTS))
        print(f"  {spec:18}{own:6.1f} s  macro AUROC {scores}")
    reached = seconds < GOAL * max(1.0, len(specs) / WANTED)
    print(f"goal {GOAL:.0f} s for {WANTED} adapters: {'reached' if reached else 'NOT reached'} with {len(specs)}")
    return int(not reached)


def main() -> int:
    """Find or make the archive, then measure."""
    if not DATA.exists():
        print(f"skipped: no {DATA}; set TAPETUM_DATA", file=sys.stderr)
        return 0
    ready = ROOT / "runs" / "odir.tap"
    with tempfile.TemporaryDirectory() as folder:
        place = ready if (ready / "meta.json").exists() else Path(folder) / "odir.tap"
        if place != ready:
            tapetum = str(Path(sys.executable).parent / "tapetum")
            subprocess.run([tapetum, "ingest", f"odir:{DATA}", "--out", str(place)], check=True, stdout=sys.stderr)
        return measure(place, sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
