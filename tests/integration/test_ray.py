"""The same archive whether this machine's children look at the files or Ray's workers do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tapetum.archive import ingest, open_archive
from tapetum.phantom import ClinicConfig, make_clinic

SCRIPT = """
import sys
from tapetum.archive import IngestConfig, ingest
done = ingest([sys.argv[1]], sys.argv[2], IngestConfig(pack="fundus", name="c", engine="ray"))
print(done.images, done.quarantined)
"""


def test_ray_ends_in_the_same_archive(tmp_path):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    clinic = make_clinic(tmp_path / "c", ClinicConfig(patients=20, size=128, truncated=2, duplicates=1))
    from tapetum.archive import IngestConfig

    plain = ingest([clinic.path], tmp_path / "plain.tap", IngestConfig(pack="fundus", name="c"))
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, clinic.path, tmp_path / "ray.tap"],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-2:] == [str(plain.images), str(plain.quarantined)]
    assert open_archive(tmp_path / "ray.tap").digest == plain.digest
