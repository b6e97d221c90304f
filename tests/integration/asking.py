"""The same arrays shown to a peer, in a process of its own: heavy packages stay out of the test run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PEERS = os.environ.get("TAPETUM_PEERS", "")
Arrays = dict[str, np.ndarray]


def told_by(package: str, script: str, given: Arrays, folder: Path) -> Arrays:
    """What a script of this folder says of the given arrays, by name.

    Args:
        package: folder below TAPETUM_PEERS without which the test is skipped, with a reason.
        script: file beside this one; is called with PEERS, the given arrays and where to write.
        given: by name.
        folder: for both files.
    """
    if not PEERS or not (Path(PEERS) / package).is_dir():
        pytest.skip(f"{package} is absent: TAPETUM_PEERS names no folder that holds it")
    np.savez(folder / "given.npz", **given)
    command = [str(Path(__file__).with_name(script)), PEERS, str(folder / "given.npz"), str(folder / "told.npz")]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(np.load(folder / "told.npz"))
