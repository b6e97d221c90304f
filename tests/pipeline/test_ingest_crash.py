"""Killed at any moment, out of disk, or two at once: the archive stays readable and ends as if nothing had happened."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_ingest_bad_input import clinic, picture

import tapetum.archive.store.vault
from tapetum.archive import ingest, open_archive, verify
from tapetum.archive.store.catalog import Catalog
from tapetum.core.errors import ArtefactError

SCRIPT = """
import importlib, os, signal, sys
import tapetum.archive
engine = importlib.import_module("tapetum.archive.intake.taking")
engine.BATCH_FILES = 2
moment = int(sys.argv[3])

def dying(module, name):
    real = getattr(module, name)
    def wrapped(*args, **kwargs):
        global moment
        moment -= 1
        if moment == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)
    setattr(module, name, wrapped)

if moment > 0:
    for name in ("fsync", "replace"):
        dying(os, name)
print("ready", flush=True)
tapetum.archive.ingest([sys.argv[1]], sys.argv[2])
"""


def many(root: Path, images: int = 12) -> Path:
    export = clinic(
        root, {f"m{i}.png": f"q{i},OS,60,M,text {i},C" for i in range(images)} | {"gone.png": "q1,OS,60,M,t,C"}
    )
    for i in range(images):
        (export / "images" / f"m{i}.png").write_bytes(picture(100 + i))
    return export


def start(export: Path, out: Path, moment: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(export), str(out), str(moment)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def check_restarted(export: Path, out: Path, digest: str, quarantine: str) -> None:
    # Before the restart: either the whole archive, or an error that says so; nothing half-read.
    with contextlib.suppress(ArtefactError):
        assert open_archive(out).digest == digest
    summary = ingest([export], out)
    assert summary.digest == digest
    assert (out / "quarantine.csv").read_text() == quarantine
    assert verify(out) == ()
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize("moment", [1, 33, 58, 61, 64, 65])
def test_killed_at_the_nth_flush_or_rename_ends_in_the_same_archive(tmp_path: Path, moment: int) -> None:
    export = many(tmp_path / "export")
    whole = ingest([export], tmp_path / "whole.tap")
    with start(export, tmp_path / "out.tap", moment) as child:
        child.communicate()
    assert child.returncode == -signal.SIGKILL, "it finished before this moment"
    quarantine = (tmp_path / "whole.tap" / "quarantine.csv").read_text()
    check_restarted(export, tmp_path / "out.tap", whole.digest, quarantine)


def test_killed_at_random_times_ends_in_the_same_archive(tmp_path: Path) -> None:
    export = many(tmp_path / "export", 24)
    whole = ingest([export], tmp_path / "whole.tap")
    quarantine, rng = (tmp_path / "whole.tap" / "quarantine.csv").read_text(), random.Random(0)
    killed = 0
    for _ in range(2):
        with start(export, tmp_path / "out.tap", 0) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.12))
            killed += child.poll() is None
            child.kill()
    assert killed, "every child finished before it was killed"
    check_restarted(export, tmp_path / "out.tap", whole.digest, quarantine)


@pytest.mark.parametrize("after", [0, 3, 9])
def test_full_disk_is_said_and_the_ingest_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    export = many(tmp_path / "export")
    whole = ingest([export], tmp_path / "whole.tap")
    real, left = os.fsync, [after]

    def full(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(tapetum.archive.store.vault.os, "fsync", full)
    with pytest.raises(ArtefactError, match="No space left") as caught:
        ingest([export], tmp_path / "out.tap")
    assert "run the same again" in caught.value.next_step
    monkeypatch.undo()
    assert not list((tmp_path / "out.tap").rglob("*.part"))
    assert ingest([export], tmp_path / "out.tap").digest == whole.digest


def test_second_writer_is_refused_and_a_dead_one_is_not_waited_for(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export")
    out = tmp_path / "out.tap"
    ingest([export], out)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        catalog = Catalog(out / "catalog.sqlite")
        with catalog.writing():
            started = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
            catalog._db.execute("UPDATE writer SET pid = ?, started = ?", (other.pid, started))
            with pytest.raises(ArtefactError, match=f"process {other.pid} is writing"):
                ingest([export], out)
        catalog.close()
        other.communicate(b"\n")
    assert ingest([export], out).unchanged == 4


def test_damage_is_found(tmp_path: Path) -> None:
    out = tmp_path / "out.tap"
    ingest([clinic(tmp_path / "export")], out)
    first, second = (r.image_id for r in open_archive(out).records[:2])
    blob = out / "vault" / first[:2] / first
    data = bytearray(blob.read_bytes())
    data[50] ^= 1
    blob.write_bytes(data)
    (out / "vault" / second[:2] / second).unlink()
    found = verify(out)
    assert len(found) == 2
    assert any(first[:12] in line and "other bytes" in line for line in found)
    assert any(second[:12] in line and "missing" in line for line in found)
    records = next(out.glob("records-*.parquet"))
    records.write_bytes(records.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="cannot read"):
        open_archive(out)
