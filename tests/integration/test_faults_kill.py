"""SIGKILL at 200 random points of an ingest, and at 50 of a forget: readable, nothing acknowledged lost, same end."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapetum.archive import ingest, open_archive, verify
from tapetum.archive.store.catalog import Catalog
from tapetum.archive.store.vault import Vault
from tapetum.archive.upkeep import forget
from tapetum.core.errors import ArtefactError, DataError

KILLS = int(os.environ.get("TAPETUM_KILLS", "200"))
# A child is made ready once; each attempt is a fork of it, killed by a timer that it does not see.
NURSERY = """
import os, sys
import tapetum.archive
from tapetum.archive.upkeep import forget
tapetum.archive.verify(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    verb, *words = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if child == 0:
        os.setsid()
        if verb == "ingest":
            with open(words[2], "ab", buffering=0) as log:
                tapetum.archive.ingest(words[0], words[1], progress=lambda done, of: log.write(b"%d\\n" % done))
        else:
            forget(words[0], words[1])
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def clinic(root: Path, patients: int) -> Path:
    (root / "images").mkdir(parents=True)
    lines = ["file,patient,eye,age,sex,report,label\n", "gone.png,p0,OD,50,F,text,A\n"]
    for i in range(patients):
        noise = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "images" / f"{i}.png")
        lines.append(f"{i}.png,p{i},OD,{50 + i % 30},F,a report {i},A\n")
    (root / "clinic.csv").write_text("".join(lines), encoding="utf-8")
    return root


def tree_digest(root: Path) -> str:
    whole = hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        whole.update(f"{file.relative_to(root)}\0{file.stat().st_mtime_ns}".encode() + file.read_bytes())
    return whole.hexdigest()


class Nursery:
    """Starts the verbs without the seconds that importing takes, and kills them after a while."""

    def __init__(self, archive: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NURSERY, str(archive)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def run(self, *words: object, seconds: float) -> bool:
        """Whether it was killed before it ended. The whole group dies: decoders that it started too."""
        assert self.process.stdin is not None
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        child = int(self._line())
        time.sleep(seconds)
        for kill, number in ((os.killpg, child), (os.kill, child)):
            try:
                kill(number, signal.SIGKILL)
                break
            except ProcessLookupError:
                continue
        return int(self._line()) == -signal.SIGKILL

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.communicate()


@pytest.mark.slow
def test_killed_at_random_points_of_an_ingest(tmp_path: Path) -> None:
    base, export = clinic(tmp_path / "base", 4), clinic(tmp_path / "export", 40)
    source = tree_digest(export)
    before = ingest([base], tmp_path / "base.tap").digest
    shutil.copytree(tmp_path / "base.tap", tmp_path / "whole.tap")
    began = time.monotonic()
    after = ingest([export], tmp_path / "whole.tap").digest
    whole_seconds = time.monotonic() - began
    quarantine = (tmp_path / "whole.tap" / "quarantine.csv").read_text()
    rng, out, log = random.Random(0), tmp_path / "out.tap", tmp_path / "acknowledged"
    nursery, killed = Nursery(tmp_path / "whole.tap"), 0
    for attempt in range(KILLS):
        if attempt % 4 == 0:  # kills fall on fresh archives, and on ones that were killed before
            shutil.rmtree(out, ignore_errors=True)
            shutil.copytree(tmp_path / "base.tap", out)
        log.unlink(missing_ok=True)
        killed += nursery.run("ingest", export, out, log, seconds=rng.uniform(0, 1.1 * whole_seconds))
        assert open_archive(out).digest in (before, after), attempt
        acknowledged = max(map(int, log.read_text().split()), default=0) if log.exists() else 0
        catalog = Catalog(out / "catalog.sqlite", as_it_is=True)
        stored = {s.image_id for s in catalog.statements() if not s.reason and s.export == "export"}
        catalog.close()
        vault = Vault(out / "vault")
        assert len(stored) >= acknowledged - 1, f"attempt {attempt}: acknowledged {acknowledged}, kept {len(stored)}"
        assert all(vault.digest(i) == i for i in stored), attempt
        if attempt % 4 == 3:
            assert ingest([export], out).digest == after, attempt
            assert (out / "quarantine.csv").read_text() == quarantine
            assert verify(out) == (), attempt
    nursery.close()
    assert killed > KILLS / 3, f"only {killed} of {KILLS} were killed before they ended"
    assert tree_digest(export) == source, "the source was altered"


@pytest.mark.slow
def test_killed_at_random_points_of_a_forget(tmp_path: Path) -> None:
    ingest([clinic(tmp_path / "base", 8)], tmp_path / "base.tap")
    theirs = next(r.image_id for r in open_archive(tmp_path / "base.tap").records if r.patient_id == "p3")
    everyone = {r.patient_id for r in open_archive(tmp_path / "base.tap").records}
    shutil.copytree(tmp_path / "base.tap", tmp_path / "whole.tap")
    began = time.monotonic()
    forget(tmp_path / "whole.tap", "p3")
    whole_seconds = time.monotonic() - began
    rng, out, killed = random.Random(1), tmp_path / "out.tap", 0
    nursery = Nursery(tmp_path / "whole.tap")
    for attempt in range(max(10, KILLS // 4)):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(tmp_path / "base.tap", out)
        killed += nursery.run("forget", out, "p3", seconds=rng.uniform(0, 1.1 * whole_seconds))
        try:
            assert {r.patient_id for r in open_archive(out).records} in (everyone, everyone - {"p3"}), attempt
            forget(out, "p3")
        except DataError:
            pass  # it had ended
        except ArtefactError as error:
            raise AssertionError(f"attempt {attempt}: {error}") from error
        assert verify(out) == (), attempt
        for file in (p for p in out.rglob("*") if p.is_file()):
            data = file.read_bytes()
            assert theirs.encode() not in data, (attempt, file.name)
            assert b"a report 3" not in data, (attempt, file.name)
            assert file.name != theirs
    nursery.close()
    assert killed > 3
