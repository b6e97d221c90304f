"""How fast the phantom clinic is made, on one core.

Claim: at 256 px at least 25 images/s rendered with all masks in memory, at least 12 images/s written with masks.
Prints images per second of processor time (and of wall time), at 256 and 512 px; exit code 1 where the claim fails.
Processor time counts: it does not change with what else the machine does, apart from shared caches.

Run: python benchmarks/phantom_rendering.py [number of patients]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from tapetum.phantom import ClinicConfig, make_clinic, render_eye
from tapetum.phantom.people import draw_patient, eye_at

CAMERAS = ("cam_a", "cam_b")
CLAIMS = {("rendered in memory", 256): 25.0, ("written with masks", 256): 12.0}


def rendered(size: int, patients: int) -> int:
    """Render both eyes of each patient; every mask is computed."""
    for number in range(1, patients + 1):
        patient = draw_patient(np.random.default_rng([0, number, 0]), number, CAMERAS)
        for side in range(2):
            rng = np.random.default_rng([0, number, 1, side])
            seen = render_eye(eye_at(patient, side, 0, rng), size=size, rng=rng)
            if len(seen.masks) < 6:
                raise RuntimeError(f"{len(seen.masks)} masks, expected at least disc, cup, vessels and field")
    return 2 * patients


def written(size: int, patients: int) -> int:
    """Write the same clinic to disk: JPEG, masks, tables."""
    with tempfile.TemporaryDirectory() as folder:
        return make_clinic(Path(folder) / "c", ClinicConfig(patients=patients, size=size, masks=True)).images


def main() -> int:
    cv2.setNumThreads(1)
    patients, failed = int(sys.argv[1]) if len(sys.argv) > 1 else 20, False
    rendered(256, 2)
    for size in (256, 512):
        for name, work in (("rendered in memory", rendered), ("written with masks", written)):
            wall, processor = time.perf_counter(), time.process_time()
            images = work(size, patients)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            rate, claim = images / processor, CLAIMS.get((name, size))
            verdict = "" if claim is None else f"  claim {claim:.0f}, ratio {rate / claim:.2f}"
            print(f"{size} px {name}: {rate:.1f} images/s of processor time, {images / wall:.1f} of wall time{verdict}")
            failed = failed or (claim is not None and rate < claim)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
