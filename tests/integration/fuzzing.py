"""Runs a fuzz script on one of its targets for a while; the script is its own fuzzer when it is started by name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

SECONDS = 20


def fuzz_for_a_while(script: str, target: str, seeds: Iterable[bytes], folder: Path, *, longest: int) -> None:
    """Begin with the seeds; inputs grow to `longest` bytes."""
    pytest.importorskip("atheris", reason="atheris is not installed")
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, data in enumerate(seeds):
        (corpus / str(number)).write_bytes(data)
    limits = [f"-max_total_time={SECONDS}", "-rss_limit_mb=3000", "-timeout=15", f"-max_len={longest}", "-verbosity=0"]
    done = subprocess.run(
        [sys.executable, script, target, str(corpus), *limits],
        capture_output=True, text=True, timeout=10 * SECONDS, cwd=folder, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1500:]
