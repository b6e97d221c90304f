"""`torchrun -m tapetum.cli pretrain … parallel=ddp`: two processes end where one does; the first writes and speaks.

The clinic is made here; the children are the command line itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tapetum.archive import IngestConfig, ingest
from tapetum.core.store import read_meta
from tapetum.phantom import ClinicConfig, make_clinic

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SETTINGS = [
    "encoders=tiny(size=32, dim=16)", "text_encoder=tiny(dim=32)", "text=report", "unfreeze=last",
    "fine_tuning_epochs=2", "ema=0.9", "fine_tuning_batch=16", "fine_tuning_rate=0.01", "augment=photometric()",
    "self_supervision=simclr(hidden=8, dim=8)", "self_supervision_epochs=1", "self_supervision_batch=16",
]  # fmt: skip


def run(archive: Path, out: Path, *more: str, processes: int = 1) -> str:
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    several = ["-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--nnodes=1", "--rdzv-backend=c10d",
               "--rdzv-endpoint=127.0.0.1:0"]  # fmt: skip
    command = [sys.executable, *(several if processes > 1 else []), "-m", "tapetum.cli", "pretrain", str(archive),
               "--out", str(out), "--json", *SETTINGS, *more]  # fmt: skip
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_processes_end_where_one_does_and_one_of_them_writes(tmp_path):
    make_clinic(tmp_path / "clinic", ClinicConfig(patients=24, size=64))
    ingest([tmp_path / "clinic"], tmp_path / "clinic.tap", IngestConfig(name="phantom", pack="fundus"))
    alone = run(tmp_path / "clinic.tap", tmp_path / "alone")
    for place, more in (
        ("ddp", ["parallel=ddp"]),
        ("chunked", ["parallel=ddp", "chunk=4"]),
        ("fsdp", ["parallel=fsdp"]),
    ):
        told = run(tmp_path / "clinic.tap", tmp_path / place, *more, processes=2)
        said = [line for line in told.splitlines() if line.strip()]
        assert len(said) == len(alone.splitlines())  # once, not twice
        assert json.loads(said[-1])["verb"] == "pretrain"
        assert read_meta(tmp_path / place, "checkpoint").kind == "checkpoint"
        one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("alone", place))
        assert one.keys() == two.keys()
        for name, array in one.items():
            np.testing.assert_allclose(two[name], array, atol=2e-3, rtol=1e-2, err_msg=name)
    assert not list(tmp_path.glob(".*"))
