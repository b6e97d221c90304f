"""Rows from Ray's workers are those of this process, and a job that was killed goes on from its finished shards."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.learn.features.embed import embed
from tapetum.phantom import ClinicConfig, make_clinic

pytestmark = pytest.mark.slow
TOWERS = "tiny(size=32) + tiny(size=64, seed=1)"
SHARD = 8
SCRIPT = f"""
import os, signal, sys
import numpy as np
from tapetum.archive import open_archive
from tapetum.learn.features.rayembed import embed_on_ray

told = []
def progress(done, total):
    told.append(done)
    if len(told) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

found = embed_on_ray(
    open_archive(sys.argv[1]), "{TOWERS}", threads=1, backend=sys.argv[3], batch=4, shard={SHARD}, progress=progress
)
np.save(sys.argv[4], found.features)
print("told", *told)
"""


def job(archive, kill_at, out):
    return subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", SCRIPT, archive, str(kill_at), "onnxruntime", out],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def test_killed_and_called_again_the_rows_are_those_of_this_process(tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    clinic = make_clinic(tmp_path / "c", ClinicConfig(patients=10, size=64))
    ingest([clinic.path], tmp_path / "here.tap", IngestConfig(pack="fundus", name="c"))
    shutil.copytree(tmp_path / "here.tap", tmp_path / "ray.tap")
    here = open_archive(tmp_path / "here.tap")
    local = embed(here, TOWERS, threads=1, backend="onnxruntime", batch=4)
    images = len(local.image_ids)

    killed = job(tmp_path / "ray.tap", 2, tmp_path / "rows.npy")  # the first shard is done, it dies
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    kept = list((tmp_path / "ray.tap" / ".cache" / "embeddings").rglob("*.npz"))
    assert len(kept) == 2, "one file per tower"

    done = job(tmp_path / "ray.tap", -1, tmp_path / "rows.npy")
    assert done.returncode == 0, done.stderr
    told = [int(n) for n in done.stdout.split("told")[1].split()]
    assert told[0] == SHARD, "goes on from the finished shard"
    assert told[-1] == images
    assert len(told) == 1 + -(-(images - SHARD) // SHARD)
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), local.features)
