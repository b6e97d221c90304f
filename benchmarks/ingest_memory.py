"""Largest memory of an ingest at 1,000 and at 20,000 images: it must not grow with the archive beyond its records.

The images are 200 phantom photographs (256 px), each written many times with another grain. The process that ingests
and its children are measured apart. `python benchmarks/ingest_memory.py [SMALL [LARGE]]`
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from tapetum.phantom import ClinicConfig, make_clinic

SCRIPT = """
import json, resource, sys, time
from tapetum.archive import IngestConfig, ingest
from tapetum.archive.sandbox import children
started = time.perf_counter()
done = ingest([sys.argv[1]], sys.argv[2], IngestConfig(pack="fundus"))
seconds = time.perf_counter() - started
own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
children().__exit__()
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps({"images": done.images, "seconds": seconds, "own_mib": own, "child_mib": child}))
"""


def write_export(folder: Path, eyes: list[np.ndarray], count: int) -> None:
    """`count` different files with a table."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    with (folder / "table.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("file", "patient", "report"))
        for n in range(count):
            grain = rng.integers(0, 6, eyes[0].shape, dtype=np.uint8)
            cv2.imwrite(str(folder / f"{n:05d}.jpg"), cv2.add(eyes[n % len(eyes)], grain))
            table.writerow((f"{n:05d}.jpg", f"p{n // 2}", "normal fundus"))


def main(small: int = 1000, large: int = 20_000) -> int:
    """Both sizes, in processes of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clinic = make_clinic(folder / "clinic", ClinicConfig(patients=100))
        eyes = [cv2.imread(str(p)) for p in sorted((clinic.path / "images").glob("*.jpg"))]
        largest = 0.0
        for count in (small, large):
            write_export(folder / f"e{count}", [eye for eye in eyes if eye is not None], count)
            done = subprocess.run(
                [sys.executable, "-c", SCRIPT, folder / f"e{count}", folder / f"a{count}.tap"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            found = json.loads(done.stdout)
            print(
                f"{found['images']:6d} images: {found['own_mib']:5.0f} MiB, {found['child_mib']:5.0f} MiB in a child,"
                f" {found['seconds']:6.1f} s, {found['images'] / found['seconds']:5.1f} images/s"
            )
            largest = max(largest, found["own_mib"])
    print(f"largest of the ingesting process: {largest:.0f} MiB (bound: 1024)")
    return 0 if largest < 1024 else 1


if __name__ == "__main__":
    sys.exit(main(*(int(a) for a in sys.argv[1:])))
