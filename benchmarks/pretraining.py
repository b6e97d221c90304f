"""Frozen-tower pretraining on ODIR: seconds and memory after embedding. Goal: under 60 s and 2 GB on 2 cores.

Needs the real images (TAPETUM_DATA); reuses runs/odir.tap where `make results` left it, else makes an archive.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("TAPETUM_DATA", ROOT.parent / "shared" / "data")) / "odir"


def measure(place: Path) -> None:
    """Pretrain once in this process and print what it took."""
    from tapetum.archive import open_archive
    from tapetum.learn import embed, pretrain

    archive = open_archive(place)
    embeddings = embed(archive)
    started = time.perf_counter()
    model = pretrain(archive, embeddings=embeddings)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"ridge pretraining on {model.log['pairs']} pairs: {seconds:.1f} s (goal < 60 s), "
        f"peak memory of the process {peak:.2f} GiB (goal < 2 GB = 1.86 GiB), chosen penalty {model.log['penalty']:g}"
    )


def main() -> int:
    """Prepare in one process, measure in a fresh one, so that embedding does not count for the memory."""
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
        return 0
    if not DATA.exists():
        print(f"skipped: no {DATA}; set TAPETUM_DATA", file=sys.stderr)
        return 0
    ready = ROOT / "runs" / "odir.tap"
    with tempfile.TemporaryDirectory() as folder:
        place = ready if (ready / "meta.json").exists() else Path(folder) / "odir.tap"
        tapetum = str(Path(sys.executable).parent / "tapetum")
        if place != ready:
            subprocess.run([tapetum, "ingest", f"odir:{DATA}", "--out", str(place)], check=True, stdout=sys.stderr)
        subprocess.run([tapetum, "embed", str(place)], check=True, stdout=sys.stderr)
        return subprocess.run([sys.executable, __file__, str(place)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
