"""The N-th write, flush, rename or commit fails, for every N: readable, nothing acknowledged lost, and it goes on.

The method is that of SQLite's own tests: fail one call, check what must hold, move on by one until nothing fails.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_ingest_bad_input import clinic, picture

from tapetum.archive import ingest, open_archive, verify
from tapetum.archive.store.catalog import Catalog
from tapetum.archive.store.vault import Vault
from tapetum.archive.upkeep import forget, gc
from tapetum.core.errors import ArtefactError, DataError, TapetumError


class Faults:
    """Counts calls that reach the disk and lets the N-th fail, or the N-th and all after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls, self.at, self.lasting, self.happened = 0, 0, False, False
        for name in ("fsync", "replace", "mkdir", "unlink"):
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))
        real_open = Path.open

        def opened(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
            stream = real_open(path, mode, *args, **options)
            return _Writer(stream, self) if "w" in mode else stream

        monkeypatch.setattr(Path, "open", opened)
        faults, connect = self, sqlite3.connect

        class Connection(sqlite3.Connection):
            def execute(self, command: str, *args: Any) -> sqlite3.Cursor:
                if command in ("COMMIT", "BEGIN IMMEDIATE", "VACUUM"):
                    faults.count(sqlite3.OperationalError("disk I/O error"))
                return super().execute(command, *args)

        monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: connect(*args, **options, factory=Connection))

    def arm(self, at: int, *, lasting: bool = False) -> None:
        self.calls, self.at, self.lasting, self.happened = 0, at, lasting, False

    def count(self, error: Exception) -> None:
        self.calls += 1
        if self.at and (self.calls == self.at or (self.lasting and self.calls > self.at)):
            self.happened = True
            raise error

    def _wrap(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            self.count(OSError(28, "No space left on device"))
            return real(*args, **options)

        return wrapped


class _Writer:
    """A stream whose `write` may put half of its bytes down and then fail."""

    def __init__(self, stream: Any, faults: Faults) -> None:
        self._stream, self._faults = stream, faults

    def write(self, data: bytes) -> int:
        try:
            self._faults.count(OSError(28, "No space left on device"))
        except OSError:
            self._stream.write(data[: len(data) // 2])
            raise
        return self._stream.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> _Writer:
        self._stream.__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        self._stream.__exit__(*args)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._stream)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


def tree_digest(root: Path) -> str:
    whole = hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.is_file()):
        whole.update(f"{file.relative_to(root)}\0{file.stat().st_mtime_ns}\0".encode() + file.read_bytes())
    return whole.hexdigest()


@pytest.fixture
def first_and_second(tmp_path: Path) -> tuple[Path, Path, str, str, str]:
    """An archive of one export, a second export, the digests before and after it is added, and the quarantine."""
    one = clinic(tmp_path / "one")
    two = clinic(tmp_path / "two", {"8.png": "p8,OS,60,M,text,C", "gone.png": "p8,OS,60,M,text,C"})
    for n in range(4):
        (two / "images" / f"{n}.png").unlink()
    (two / "images" / "8.png").write_bytes(picture(208))
    before = ingest([one], tmp_path / "base.tap").digest
    shutil.copytree(tmp_path / "base.tap", tmp_path / "whole.tap")
    after = ingest([two], tmp_path / "whole.tap").digest
    return tmp_path / "base.tap", two, before, after, (tmp_path / "whole.tap" / "quarantine.csv").read_text()


def fresh(base: Path, out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(base, out)


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_every_failing_call_of_an_ingest(
    first_and_second: tuple[Path, Path, str, str, str], faults: Faults, tmp_path: Path, lasting: bool
) -> None:
    base, export, before, after, quarantine = first_and_second
    source, out, at, failed = tree_digest(export), tmp_path / "out.tap", 0, 0
    acknowledged: list[int] = []
    while True:
        at += 3 if lasting else 1
        faults.arm(0)
        fresh(base, out)
        acknowledged.clear()
        faults.arm(at, lasting=lasting)
        try:
            finished = ingest([export], out, progress=lambda done, of: acknowledged.append(done)).digest
        except ArtefactError:
            finished = ""
        happened = faults.happened
        faults.arm(0)
        assert open_archive(out).digest in ((after,) if finished else (before, after)), at
        catalog = Catalog(out / "catalog.sqlite", as_it_is=True)
        stored = {s.image_id for s in catalog.statements() if s.export == "two" and not s.reason}
        catalog.close()
        assert not acknowledged or len(stored) == 1, f"call {at}: what was acknowledged is lost"
        assert all(Vault(out / "vault").digest(i) == i for i in stored)
        assert ingest([export], out).digest == after, at
        assert (out / "quarantine.csv").read_text() == quarantine, at
        assert verify(out) == (), at
        if not happened:
            break
        failed += not finished
    assert at > 15, "too few calls were counted"
    assert failed > 5
    assert tree_digest(export) == source, "the source was altered"


def test_every_failing_call_of_a_forget(
    first_and_second: tuple[Path, Path, str, str, str], faults: Faults, tmp_path: Path
) -> None:
    base, _, _, _, _ = first_and_second
    out, at = tmp_path / "out.tap", 0
    gone = next(r for r in open_archive(base).records if r.patient_id == "p2")
    words = (gone.image_id.encode(), gone.report.encode())
    while True:
        at += 1
        faults.arm(0)
        fresh(base, out)
        faults.arm(at)
        try:
            forget(out, "p2")
            done = True
        except (TapetumError, OSError, sqlite3.Error):
            done = False
        happened = faults.happened
        faults.arm(0)
        assert {r.patient_id for r in open_archive(out).records} in ({"p0", "p1", "p3"}, {"p0", "p1", "p2", "p3"}), at
        if not done:
            with contextlib.suppress(DataError):  # no such patient: it failed after all was done
                forget(out, "p2")
        elif verify(out):
            assert all("did not finish" in line for line in verify(out)), "only the seal was not written"
            gc(out)
        assert verify(out) == (), at
        files = [p for p in out.rglob("*") if p.is_file()]
        assert not [p for p in files if any(w in p.read_bytes() or w in p.name.encode() for w in words)], at
        if not happened:
            break
    assert at > 10


def test_every_failing_call_of_a_gc(
    first_and_second: tuple[Path, Path, str, str, str], faults: Faults, tmp_path: Path
) -> None:
    base, _, before, _, _ = first_and_second
    out, at, orphan = tmp_path / "out.tap", 0, hashlib.sha256(b"orphan").hexdigest()
    Vault(base / "vault").put([(orphan, b"orphan")])
    while True:
        at += 1
        faults.arm(0)
        fresh(base, out)
        faults.arm(at)
        try:
            gc(out)
        except (TapetumError, OSError, sqlite3.Error):
            assert faults.happened
        happened = faults.happened
        faults.arm(0)
        assert open_archive(out).digest == before
        assert all(r.image_id in Vault(out / "vault") for r in open_archive(out).records), at
        gc(out)
        assert verify(out) == (), at
        if not happened:
            break
    assert at > 3


# A child that the system itself stops: file size limit, disk full, killed.

CHILD = """
import os, resource, sys
import tapetum.archive
limit = int(sys.argv[3])
if limit:
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print("ready", flush=True)
try:
    tapetum.archive.ingest(sys.argv[1], sys.argv[2])
except tapetum.core.errors.ArtefactError as error:
    print(error)
    sys.exit(7)
"""


def noisy(root: Path, images: int, side: int) -> Path:
    """Photographs that do not compress: `side` 200 gives about 120 KB each."""
    import cv2
    import numpy as np

    export = clinic(root, {f"n{i}.png": f"q{i},OS,60,M,text {i},C" for i in range(images)})
    for i in range(images):
        noise = np.random.default_rng(300 + i).integers(0, 256, (side, side, 3), dtype=np.uint8)
        (export / "images" / f"n{i}.png").write_bytes(cv2.imencode(".png", noise)[1].tobytes())
    return export


def run_child(export: Path, out: Path, limit: int = 0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(export), str(out), str(limit)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="this system has no limit on the size of files")
def test_file_size_limit_is_a_clean_stop(tmp_path: Path) -> None:
    """EFBIG instead of ENOSPC: the system refuses to let a file grow."""
    export = noisy(tmp_path / "export", 3, 200)
    whole = ingest([export], tmp_path / "whole.tap")
    stopped = run_child(export, tmp_path / "out.tap", 100_000)
    assert stopped.returncode == 7, stopped.stderr
    assert "File too large" in stopped.stdout or "disk" in stopped.stdout
    assert not list((tmp_path / "out.tap").rglob("*.part"))
    assert ingest([export], tmp_path / "out.tap").digest == whole.digest
    assert verify(tmp_path / "out.tap") == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, in memory; only the administrator can mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    if not mount or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs the administrator")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_full_disk(small_disk: Path, tmp_path: Path) -> None:
    """2 MB for 20 images of 120 KB: refused with what to do, readable; with room it ends as if nothing had been."""
    export = noisy(tmp_path / "export", 20, 200)
    source = tree_digest(export)
    out = small_disk / "out.tap"
    small = clinic(tmp_path / "small")
    before = ingest([small], out).digest
    with pytest.raises(ArtefactError, match=r"No space left|disk") as caught:
        ingest([export], out)
    assert "make room" in caught.value.next_step
    assert open_archive(out).digest == before
    assert not list(out.rglob("*.part"))
    with pytest.raises(ArtefactError, match=r"No space left|disk"):
        ingest([export], out)  # again, on the full disk
    assert open_archive(out).digest == before
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    ingest([small], tmp_path / "whole.tap")
    whole = ingest([export], tmp_path / "whole.tap").digest
    assert ingest([export], out).digest == whole
    assert verify(out) == ()
    assert tree_digest(export) == source


def test_two_ingests_at_once(tmp_path: Path) -> None:
    """One wins or both take turns; a refused one says who writes; the archive is whole after each."""
    one, two = clinic(tmp_path / "one"), noisy(tmp_path / "two", 6, 60)
    out = tmp_path / "out.tap"
    ingest([one], out)
    command = [sys.executable, "-c", CHILD, str(two), str(out), "0"]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [child.communicate(timeout=300)[0] for child in children]
    codes = [child.returncode for child in children]
    assert set(codes) <= {0, 7}
    assert 0 in codes, said
    assert all("is writing" in text for text, code in zip(said, codes, strict=True) if code == 7)
    ingest([one], tmp_path / "whole.tap")
    assert open_archive(out).digest == ingest([two], tmp_path / "whole.tap").digest
    assert verify(out) == ()


def test_stopped_process_keeps_its_lock(tmp_path: Path) -> None:
    """A process that only sleeps is not dead: its lock stands until it ends."""
    export, out = clinic(tmp_path / "one"), tmp_path / "out.tap"
    script = (
        "import sys; from pathlib import Path; from tapetum.archive.store.catalog import Catalog\n"
        "c = Catalog(Path(sys.argv[1]) / 'catalog.sqlite')\n"
        "with c.writing():\n    print('held', flush=True); sys.stdin.readline()\n"
    )
    out.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", script, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(ArtefactError, match=f"process {holder.pid} is writing"):
                ingest([export], out)
        finally:
            holder.kill()
    assert ingest([export], out).images == 4
