"""The C-STORE receiver: on disk before it is acknowledged, out of the inbox when the archive has it."""

from __future__ import annotations

import io
import socket
import stat
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from fake_pacs import OP, SR, image, report, uid_of
from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.archive.feeds.cstore import cstore
from tapetum.archive.pacs.inbox import Listener, _Receiving, receive
from tapetum.archive.pacs.source import NoMemory, held_folder
from tapetum.archive.rows import Row
from tapetum.core.errors import ArtefactError, DataError, UsageError

pynetdicom: Any = pytest.importorskip("pynetdicom", reason="needs the extra pacs")
# Its sending side leaves a socket open each time that nobody listens yet.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def associated(ae: Any, port: int, called: str = "HERE") -> Any:
    """The association, once somebody listens."""
    for _ in range(200):
        link = ae.associate("127.0.0.1", port, ae_title=called)
        if link.is_established or link.is_rejected:
            return link
        time.sleep(0.05)
    raise AssertionError("nobody listens")


def send(port: int, *files: bytes, caller: str = "SENDER", called: str = "HERE") -> list[int]:
    """What the receiver answers to each object; `[]` where it takes no association."""
    ae = pynetdicom.AE(ae_title=caller)
    for sop_class in (OP, SR):
        ae.add_requested_context(sop_class)
    link = associated(ae, port, called)
    if not link.is_established:
        return []
    try:
        return [int(link.send_c_store(pydicom.dcmread(io.BytesIO(data))).Status) for data in files]
    finally:
        link.release()


def listener(port: int, idle: float) -> Listener:
    return Listener("HERE", "127.0.0.1", port, idle_seconds=idle, settle_seconds=0.1)


def while_receiving(work: Any) -> list[Any]:
    """Run the sending side beside the receiving one; what it returns is filled in when it has ended."""
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    results.append(thread)
    return results


def options(port: int, inbox: Path, **more: Any) -> IngestConfig:
    said = {"idle_seconds": 5, "settle_seconds": 0.3, "inbox": str(inbox), **more}
    reader = "cstore(" + ", ".join(f"{k}={v!r}" for k, v in said.items()) + ")"
    return IngestConfig(reader=reader, deidentify="none")


def test_what_is_sent_is_taken_and_leaves_the_inbox(port: int, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    objects = [image(1), image(2), report(3, study=2, text="Drusen at the macula.")]
    said = while_receiving(lambda: send(port, *objects))
    summary = ingest(f"cstore:HERE@127.0.0.1:{port}", tmp_path / "out.tap", options(port, inbox))
    said[0].join()
    assert said[1] == [0, 0, 0]
    assert summary.images == 2
    assert [r.report.strip() for r in open_archive(tmp_path / "out.tap").records if r.report] == [
        "Drusen at the macula."
    ]
    assert [p.name for p in inbox.iterdir()] == [".lock"]
    assert stat.S_IMODE(inbox.stat().st_mode) == 0o700


def test_what_a_killed_run_left_is_taken_by_the_next_and_again_changes_nothing(port: int, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    receiving = receive(Listener("HERE", "127.0.0.1", port, idle_seconds=30, settle_seconds=0.3), inbox=inbox)
    said = while_receiving(lambda: send(port, image(1), image(2)))
    portion = next(receiving)  # taken by nobody: the process died here
    receiving.close()
    said[0].join()
    assert sorted(i.file for i in portion.items if isinstance(i, Row)) == [f"{uid_of(1)}.dcm", f"{uid_of(2)}.dcm"]
    (inbox / ".1.2.3.99.part").write_bytes(b"half")
    first = ingest(f"cstore:HERE@127.0.0.1:{port}", tmp_path / "out.tap", options(port, inbox, idle_seconds=0.2))
    assert (first.added, first.unchanged) == (2, 0)
    assert [p.name for p in inbox.iterdir()] == [".lock"]
    said = while_receiving(lambda: send(port, image(1), image(2)))
    second = ingest(f"cstore:HERE@127.0.0.1:{port}", tmp_path / "out.tap", options(port, inbox))
    said[0].join()
    assert said[1] == [0, 0]
    assert (second.added, second.unchanged, second.digest) == (0, 2, first.digest)


def test_what_the_archive_refuses_stays_in_the_inbox(port: int, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    said = while_receiving(lambda: send(port, image(1), image(2, PatientID="")))
    summary = ingest(f"cstore:HERE@127.0.0.1:{port}", tmp_path / "out.tap", options(port, inbox))
    said[0].join()
    assert said[1] == [0, 0]
    assert (summary.images, summary.quarantined) == (1, 1)
    assert [p.name for p in inbox.glob("*.dcm")] == [f"{uid_of(2)}.dcm"]
    assert any("stay in the inbox" in note for note in summary.notes)


def test_only_named_callers_that_call_it_by_its_name(port: int, tmp_path: Path) -> None:
    strict = Listener("HERE", "127.0.0.1", port, allow=("SENDER",), idle_seconds=5, settle_seconds=0.1)
    answers: list[list[int]] = []

    def work() -> None:
        answers.append(send(port, image(1), caller="STRANGER"))
        answers.append(send(port, image(1), called="OTHER"))
        answers.append(send(port, image(1)))

    said = while_receiving(work)
    taken = [item for portion in receive(strict, inbox=tmp_path / "in") for item in portion.items]
    said[0].join()
    assert answers == [[], [], [0]]
    assert len([item for item in taken if isinstance(item, Row)]) == 1


@pytest.mark.parametrize("uid", ["../../evil", "", "1.2/3", "." * 9, "1" * 65])
def test_names_that_are_no_uid_touch_no_file(tmp_path: Path, uid: str) -> None:
    event = SimpleNamespace(
        assoc=None, request=SimpleNamespace(AffectedSOPInstanceUID=uid), encoded_dataset=lambda: image(1)
    )
    assert _Receiving(None, tmp_path / "in").stored(event) == 0xC000
    assert not list(tmp_path.rglob("*"))


def test_an_object_under_another_name_than_its_own_is_refused(tmp_path: Path) -> None:
    event = SimpleNamespace(
        assoc=None, request=SimpleNamespace(AffectedSOPInstanceUID=uid_of(2)), encoded_dataset=lambda: image(1)
    )
    assert _Receiving(None, tmp_path).stored(event) == 0xA900
    assert not list(tmp_path.rglob("*"))


def test_a_disk_that_is_full_is_not_acknowledged(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tapetum.archive.pacs.inbox._flush", full)
    receiving = receive(Listener("HERE", "127.0.0.1", port, idle_seconds=5, settle_seconds=0.1), inbox=tmp_path / "in")
    said = while_receiving(lambda: send(port, image(1)))
    list(receiving)
    said[0].join()
    assert said[1] == [0xA700]
    assert not list((tmp_path / "in").glob(".*.part"))


def test_an_object_beyond_all_measure_ends_the_association(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapetum.archive.pacs.inbox.MAX_OBJECT_BYTES", 50_000)
    big = image(1, PixelData=bytes(200_000))
    answers: list[Any] = []

    def work() -> None:
        ae = pynetdicom.AE(ae_title="SENDER")
        ae.add_requested_context(OP)
        link = associated(ae, port)
        answers.append("Status" in link.send_c_store(pydicom.dcmread(io.BytesIO(big))))
        answers.append(send(port, image(2)))

    receiving = receive(Listener("HERE", "127.0.0.1", port, idle_seconds=5, settle_seconds=0.1), inbox=tmp_path / "in")
    said = while_receiving(work)
    taken = [item.file for portion in receiving for item in portion.items if isinstance(item, Row)]
    said[0].join()
    assert answers == [False, [0]]
    assert taken == [f"{uid_of(2)}.dcm"]


@pytest.mark.parametrize("address", ["HERE", "HERE@11112", "HERE@127.0.0.1", "@127.0.0.1:1", "HERE@127.0.0.1:99999"])
def test_wrong_addresses_are_told(address: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        ingest(f"cstore:{address}", tmp_path / "out.tap")
    assert not (tmp_path / "out.tap").exists()


def test_nobody_listens_to_everybody() -> None:
    with pytest.raises(UsageError, match="to everybody"):
        Listener.of("HERE@0.0.0.0:11112")
    assert Listener.of("HERE@0.0.0.0:11112", allow=("A",)).allow == ("A",)


def test_a_port_that_is_taken_and_an_inbox_in_use_are_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        feed = cstore(f"HERE@127.0.0.1:{taken.getsockname()[1]}", inbox=str(tmp_path / "in"))
        with pytest.raises(ArtefactError, match="cannot listen"):
            list(feed.portions(NoMemory()))
    with (
        held_folder(tmp_path / "in", None),
        pytest.raises(ArtefactError, match="another process uses"),
        held_folder(tmp_path / "in", None),
    ):
        pass


def test_the_inbox_lies_apart_from_the_archive(port: int, tmp_path: Path) -> None:
    with pytest.raises((UsageError, DataError, ArtefactError), match="inside the archive"):
        ingest(f"cstore:HERE@127.0.0.1:{port}", tmp_path / "out.tap", options(port, tmp_path / "out.tap" / "inbox"))
