"""A real Orthanc on this machine: phantom patients by DICOMweb and by C-STORE, both sides killed in the middle.

In the end every image is there once, and the archive is that of a folder with the same objects.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.archive.pacs.pull import pull
from tapetum.archive.pacs.qido import Wanted
from tapetum.archive.rows import Row

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("Orthanc") and shutil.which("storescu")),
        reason="needs Orthanc and dcmtk: make integration",
    ),
]
TAPETUM = [sys.executable, "-c", "import sys; from tapetum.cli import main; sys.exit(main())"]
USER, PASSWORD = "tester", "s3cret"
PATIENTS, IMAGES = 25, 100
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Orthanc:
    """One server with its own storage; `kill()` and `start()` as often as wanted."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.process = folder, None
        self.http, self.dicom, self.ours = free_port(), free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"
        folder.mkdir()
        peers = {
            "sender": {
                "AET": "TESTSCU",
                "Host": "127.0.0.1",
                "Port": free_port(),
                "AllowStore": True,
                "AllowEcho": True,
            },
            "tapetum": {"AET": "TAPETUM", "Host": "127.0.0.1", "Port": self.ours},
        }
        config = {
            "Name": "testpacs", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "Plugins": [PLUGIN], "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": "TESTPACS",
            "RemoteAccessAllowed": False, "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD},
            "DicomAlwaysAllowStore": False, "DicomAlwaysAllowEcho": False, "DicomCheckModalityHost": True,
            "DicomCheckCalledAet": True, "DicomModalities": peers, "OverwriteInstances": False,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": True, "Ssl": False,
                         "Host": f"127.0.0.1:{self.http}"},
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(config))

    def start(self) -> None:
        log = (self.folder / "orthanc.log").open("ab")
        self.process = subprocess.Popen(
            ["Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log, cwd=self.folder
        )  # fmt: skip
        log.close()
        for _ in range(120):
            with contextlib.suppress(OSError):
                self.rest("/system")
                return
            time.sleep(0.25)
        raise AssertionError((self.folder / "orthanc.log").read_text()[-2000:])

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it and wait: a second one would find port and database busy."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def rest(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(self.url + path, data=None if body is None else json.dumps(body).encode())
        login = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        login.add_password(None, self.url, USER, PASSWORD)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(login))
        with opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def instances(self) -> int:
        return int(self.rest("/statistics")["CountInstances"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's objects, each under its own UID as the readers of a PACS call it."""
    clinic = tmp_path_factory.mktemp("clinic")
    words = [f"patients={PATIENTS}", "visits=2", "form=dicom", "size=256", "degraded=0"]
    subprocess.run([*TAPETUM, "phantom", "--out", str(clinic / "made"), *words], check=True)
    named = clinic / "objects"
    named.mkdir()
    for path in sorted((clinic / "made").rglob("*.dcm")):
        shutil.copy(path, named / f"{pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID}.dcm")
    assert len(list(named.iterdir())) == IMAGES
    return named


@pytest.fixture(scope="module")
def direct(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The key, and the digest of the archive made from the folder itself."""
    place = tmp_path_factory.mktemp("direct")
    summary = ingest(folder, place / "direct.tap", IngestConfig(key=str(place / "key.json")))
    assert (summary.images, summary.quarantined) == (IMAGES, 0)
    return place / "key.json", summary.digest


@pytest.fixture
def orthanc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Orthanc]:
    for name, value in {
        "TAPETUM_PACS_USER": USER, "TAPETUM_PACS_PASSWORD": PASSWORD, "XDG_STATE_HOME": str(tmp_path / "state"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    server = Orthanc(tmp_path / "orthanc")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def store(orthanc: Orthanc, files: list[Path], port: int = 0, called: str = "TESTPACS") -> int:
    """Send by dcmtk; the number of objects that were acknowledged."""
    words = ["storescu", "-v", "-aet", "TESTSCU", "-aec", called, "-xy", "127.0.0.1", str(port or orthanc.dicom)]
    done = subprocess.run([*words, *map(str, files)], capture_output=True, text=True, check=False, timeout=300)
    return (done.stdout + done.stderr).count("Store Response (Success)")


def begun(source: str, out: Path, key: Path, reader: str = "") -> subprocess.Popen[bytes]:
    """An ingest in a process of its own, as a user starts it."""
    words = [*TAPETUM, "ingest", source, "--out", str(out), f"key={key}"]
    return subprocess.Popen(
        [*words, *([f"reader={reader}"] if reader else [])], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def newer(folder: Path, began: float) -> list[Path]:
    """Objects that came since, in a folder that another process fills and empties."""
    found = list[Path]()
    for path in folder.rglob("*.dcm"):
        with contextlib.suppress(FileNotFoundError):
            found += [path] if path.stat().st_mtime > began else []
    return found


def no_object_is_left(tmp_path: Path) -> bool:
    return not [p for p in (tmp_path / "state").rglob("*") if p.is_file() and p.name != ".lock"]


def test_dicomweb_with_both_sides_killed_in_the_middle(
    orthanc: Orthanc, folder: Path, direct: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, (key, digest) = sorted(folder.iterdir()), direct
    assert store(orthanc, files) == IMAGES
    web, out = f"dicomweb:{orthanc.url}/dicom-web", tmp_path / "web.tap"
    # Ours, while it fetches: objects wait in the spool.
    ours = begun(web, out, key)
    spool = tmp_path / "state"
    while ours.poll() is None and len(list(spool.rglob("*.dcm"))) < 30:
        time.sleep(0.005)
    ours.kill()
    assert ours.wait() == -signal.SIGKILL
    assert list(spool.rglob("*.dcm"))
    # Ours again, and Orthanc in the middle.
    ours = begun(web, out, key)
    began = time.time()
    while ours.poll() is None and len(newer(spool, began)) < 20:
        time.sleep(0.005)
    orthanc.stop(signal.SIGKILL)
    assert ours.wait(120) == 1
    assert no_object_is_left(tmp_path)
    orthanc.start()
    assert orthanc.instances() == IMAGES
    summary = ingest(web, out, IngestConfig(key=str(key)))
    assert (summary.images, summary.quarantined, summary.digest) == (IMAGES, 0, digest)
    assert len({r.image_id for r in open_archive(out).records}) == IMAGES
    assert no_object_is_left(tmp_path)
    again = ingest(web, out, IngestConfig(key=str(key)))
    assert (again.added, again.unchanged, again.digest) == (0, IMAGES, digest)
    assert any(note.startswith("0 objects were fetched") for note in again.notes)
    # Without the feed of changes, the objects themselves are known.
    listed = ingest(web, out, IngestConfig(key=str(key), reader="dicomweb(changes='no')"))
    assert any(note.startswith(f"0 objects were fetched, {IMAGES} were here") for note in listed.notes)
    assert orthanc.instances() == IMAGES


def test_dicomweb_in_small_portions_takes_each_object_once(
    orthanc: Orthanc, folder: Path, direct: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half, then the other half behind the cursor; Orthanc dies after portions that are kept."""
    files, (key, _) = sorted(folder.iterdir()), direct
    # A patient's split is drawn when they first come: the folder is taken in the same two steps.
    (tmp_path / "half").mkdir()
    for path in files[::2]:
        shutil.copy(path, tmp_path / "half")
    ingest(tmp_path / "half", tmp_path / "folder.tap", IngestConfig(key=str(key)))
    digest = ingest(folder, tmp_path / "folder.tap", IngestConfig(key=str(key))).digest
    monkeypatch.setattr("tapetum.archive.pacs.pull.PORTION_FILES", 8)
    assert store(orthanc, files[::2]) == IMAGES // 2
    web, out = f"dicomweb:{orthanc.url}/dicom-web", tmp_path / "web.tap"
    assert ingest(web, out, IngestConfig(key=str(key))).images == IMAGES // 2
    assert store(orthanc, files) == IMAGES
    done: list[int] = []

    def kill_orthanc(count: int, _: int) -> None:
        done.append(count)
        if len(done) == 3:
            orthanc.stop(signal.SIGKILL)

    with contextlib.suppress(Exception):
        ingest(web, out, IngestConfig(key=str(key)), progress=kill_orthanc)
    assert len(done) == 3
    orthanc.start()
    summary = ingest(web, out, IngestConfig(key=str(key)))
    assert (summary.images, summary.digest) == (IMAGES, digest)
    fetched = int(next(note for note in summary.notes if "were fetched" in note).split()[0])
    assert 0 < fetched < IMAGES // 2


def test_cstore_with_both_sides_killed_in_the_middle(
    orthanc: Orthanc, folder: Path, direct: tuple[Path, str], tmp_path: Path
) -> None:
    files, (key, digest) = sorted(folder.iterdir()), direct
    source, out = f"cstore:TAPETUM@127.0.0.1:{orthanc.ours}", tmp_path / "sent.tap"
    reader = "cstore(allow='TESTSCU,TESTPACS',idle_seconds=6,settle_seconds=1)"
    inbox = tmp_path / "state" / "tapetum" / "inbox"

    def listening(ours: subprocess.Popen[bytes]) -> None:
        words = ["echoscu", "-aet", "TESTSCU", "-aec", "TAPETUM", "127.0.0.1", str(orthanc.ours)]
        while ours.poll() is None and subprocess.run(words, capture_output=True, check=False).returncode:
            time.sleep(0.1)
        assert ours.poll() is None

    assert store(orthanc, files[20:]) == IMAGES - 20
    # Ours, while dcmtk sends: what was acknowledged is in the inbox.
    ours = begun(source, out, key, reader)
    listening(ours)
    words = ["storescu", "-v", "-aet", "TESTSCU", "-aec", "TAPETUM", "-xy", "127.0.0.1", str(orthanc.ours)]
    sending = subprocess.Popen([*words, *map(str, files)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while sending.poll() is None and len(list(inbox.rglob("*.dcm"))) < 20:
        time.sleep(0.002)
    ours.kill()
    ours.wait()
    acknowledged = sending.communicate(timeout=60)[0].count("Store Response (Success)")
    assert 0 < acknowledged <= len(list(inbox.rglob("*.dcm"))) < IMAGES
    # Orthanc sends and is killed; then it is started anew and sends everything, while ours was killed in the taking.
    ours = begun(source, out, key, reader)
    listening(ours)
    patients = orthanc.rest("/patients")
    orthanc.rest("/modalities/tapetum/store", {"Resources": patients[: len(patients) // 2], "Asynchronous": True})
    time.sleep(0.2)
    orthanc.stop(signal.SIGKILL)
    time.sleep(2.0)
    ours.kill()
    ours.wait()
    orthanc.start()
    ours = begun(source, out, key, reader)
    listening(ours)
    sent = orthanc.rest("/modalities/tapetum/store", {"Resources": patients})
    assert sent["FailedInstancesCount"] == 0
    assert store(orthanc, files[:25], orthanc.ours, "TAPETUM") == 25
    assert ours.wait(300) == 0
    archive = open_archive(out)
    assert len(archive.records) == len({r.image_id for r in archive.records}) == IMAGES
    assert archive.digest == digest
    assert no_object_is_left(tmp_path)


def test_the_bytes_are_those_of_an_independent_client(orthanc: Orthanc, folder: Path, tmp_path: Path) -> None:
    client = pytest.importorskip("dicomweb_client.api")
    sessions = pytest.importorskip("dicomweb_client.session_utils")
    session = sessions.create_session_from_user_pass(USER, PASSWORD)
    other = client.DICOMwebClient(f"{orthanc.url}/dicom-web", session=session)
    other.set_http_retry_params(retry=False)
    sent = [pydicom.dcmread(path) for path in sorted(folder.iterdir())[:6]]
    answer = other.store_instances(datasets=sent)
    # 200 is not enough: every object must be named as stored.
    assert {item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence} == {d.SOPInstanceUID for d in sent}
    rows = [
        (pydicom.dcmread(io.BytesIO(item.read())), item)
        for portion in pull(f"{orthanc.url}/dicom-web", wanted=Wanted(), spool=tmp_path / "spool")
        for item in portion.items
        if isinstance(item, Row)
    ]
    assert len(rows) == 6
    for ours, row in rows:
        theirs = other.retrieve_instance(
            ours.StudyInstanceUID, ours.SeriesInstanceUID, ours.SOPInstanceUID,
            media_types=(("application/dicom", "*"),),
        )  # fmt: skip
        assert theirs == ours
        assert row.file == f"{ours.SOPInstanceUID}.dcm"
