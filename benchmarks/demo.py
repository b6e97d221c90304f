"""The demonstration from an empty folder: seconds and memory. Goal: under 4 minutes and 3 GB on 2 cores."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def main() -> int:
    """Run `tapetum demo` once and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [str(Path(sys.executable).parent / "tapetum"), "demo", "--out", f"{folder}/demo"]
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"demo: {seconds:.0f} s (goal < 240 s), peak memory {peak:.2f} GiB (goal < 3 GB = 2.79 GiB)")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
