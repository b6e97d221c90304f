"""DICOMweb against a PACS that is slow, overloaded, broken or hostile: one object is refused, the rest is taken."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from fake_pacs import Pacs, image, report, serving, study_uid, uid_of
from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.archive.feeds.dicomweb import dicomweb
from tapetum.archive.pacs.pull import pull
from tapetum.archive.pacs.qido import Wanted, studies
from tapetum.archive.pacs.web import Patience, Server, one_part
from tapetum.archive.rows import Refusal, Row
from tapetum.core.errors import DataError, UsageError

HASTY = Patience(tries=3, silence=0.3, seconds=0.4, pause=0.01, longest=0.02)
PLAIN = IngestConfig(deidentify="none")


@pytest.fixture
def pacs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pacs]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    for name in ("TAPETUM_PACS_USER", "TAPETUM_PACS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with serving(Pacs()) as server:
        for number in (1, 2, 3, 4):
            server.add(image(number))
        yield server


def taken(pacs: Pacs, spool: Path, **options: object) -> tuple[list[str], list[Refusal]]:
    """Files of the rows, and what was refused."""
    items = []
    wanted = options.pop("wanted", Wanted())
    for portion in pull(pacs.url, wanted=wanted, spool=spool, patience=HASTY, **options):  # type: ignore[arg-type]
        items += portion.items
        for item in portion.items:
            if isinstance(item, Row):
                assert item.read() == pacs.objects[item.file.removesuffix(".dcm")]
        portion.done()
    return [i.file for i in items if isinstance(i, Row)], [i for i in items if isinstance(i, Refusal)]


def test_everything_comes_byte_for_byte_and_the_spool_is_empty_afterwards(pacs: Pacs, tmp_path: Path) -> None:
    files, refused = taken(pacs, tmp_path / "spool")
    assert sorted(files) == [f"{uid_of(n)}.dcm" for n in (1, 2, 3, 4)]
    assert not refused
    assert [p.name for p in (tmp_path / "spool").iterdir()] == [".lock"]
    assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
    assert any("transfer-syntax=*" in accept for accept in pacs.accepts)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("empty", "200 and holds no object"),
        ("nothing", "200 and holds no object"),
        ("html", "neither multipart nor DICOM"),
        ("absent", "does not have it (404)"),
        ("broken", "status 500"),
        ("redirect", "sends elsewhere (302)"),
        ("wrong", "another object than was asked for"),
        ("two", "several objects"),
        ("huge", "10,000,000,000,000 bytes"),
    ],
)
def test_one_bad_answer_refuses_one_object(pacs: Pacs, tmp_path: Path, fault: str, told: str) -> None:
    pacs.faults[uid_of(2)] = [fault]
    files, refused = taken(pacs, tmp_path / "spool")
    assert sorted(files) == [f"{uid_of(n)}.dcm" for n in (1, 3, 4)]
    assert [r.file for r in refused] == [f"{uid_of(2)}.dcm"]
    assert told in refused[0].reason
    assert pacs.fetched().count(uid_of(2)) == 1


@pytest.mark.parametrize("fault", ["busy", "many", "drop", "cut", "unclosed", "drip"])
def test_what_may_pass_is_asked_for_again(pacs: Pacs, tmp_path: Path, fault: str) -> None:
    pacs.faults[uid_of(2)] = [fault]
    files, refused = taken(pacs, tmp_path / "spool")
    assert len(files) == 4
    assert not refused
    assert pacs.fetched().count(uid_of(2)) == 2


@pytest.mark.parametrize("fault", ["drop", "cut", "unclosed", "drip"])
def test_an_object_that_never_comes_whole_is_refused_and_the_rest_is_taken(
    pacs: Pacs, tmp_path: Path, fault: str
) -> None:
    pacs.faults[uid_of(2)] = [fault] * 9
    files, refused = taken(pacs, tmp_path / "spool")
    assert len(files) == 3
    assert [r.file for r in refused] == [f"{uid_of(2)}.dcm"]
    assert "broke off" in refused[0].reason or "cut short" in refused[0].reason


def test_an_answer_without_end_is_given_up(pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tapetum.archive.pacs.pull.MAX_OBJECT_BYTES", 4 * 2**20)
    pacs.faults[uid_of(2)] = ["endless"]
    files, refused = taken(pacs, tmp_path / "spool")
    assert len(files) == 3
    assert "5,242,880 bytes or more" in refused[0].reason


@pytest.mark.parametrize("fault", ["busy", "many"])
def test_a_pacs_that_stays_busy_ends_the_run(pacs: Pacs, tmp_path: Path, fault: str) -> None:
    pacs.faults[uid_of(2)] = [fault] * 9
    with pytest.raises(DataError, match="is busy"):
        taken(pacs, tmp_path / "spool")


def test_a_pacs_that_dies_ends_the_run_and_the_next_one_fetches_the_rest(pacs: Pacs, tmp_path: Path) -> None:
    out = tmp_path / "out.tap"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tapetum.archive.pacs.pull.PORTION_FILES", 1)
        patch.setattr("tapetum.archive.pacs.pull.pull.__kwdefaults__", {**pull.__kwdefaults__, "patience": HASTY})  # type: ignore[attr-defined]
        pacs.down_after = 2
        with pytest.raises(DataError, match=r"no connection|stopped answering"):
            ingest(f"dicomweb:{pacs.url}", out, PLAIN)
        pacs.down, pacs.asked[:] = False, []
        summary = ingest(f"dicomweb:{pacs.url}", out, PLAIN)
    assert sorted(pacs.fetched()) == [uid_of(3), uid_of(4)]
    assert summary.images == 4
    assert {r.patient_id for r in open_archive(out).records} == {"p1", "p2", "p3", "p4"}


def test_again_fetches_nothing_and_changes_nothing(pacs: Pacs, tmp_path: Path) -> None:
    first = ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    pacs.asked.clear()
    second = ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    assert (first.added, second.added, second.unchanged) == (4, 0, 4)
    assert first.digest == second.digest
    assert pacs.fetched() == []
    pacs.add(image(5))
    assert ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN).added == 1
    assert pacs.fetched() == [uid_of(5)]
    again = IngestConfig(deidentify="none", reader="dicomweb(again=True)")
    assert ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", again).unchanged == 5
    assert len(pacs.fetched()) == 6


def test_the_archive_is_that_of_the_folder_with_the_same_objects(pacs: Pacs, tmp_path: Path) -> None:
    pacs.add(report(9, study=2, text="Drusen at the macula."))
    (tmp_path / "folder").mkdir()
    for uid, data in pacs.objects.items():
        (tmp_path / "folder" / f"{uid}.dcm").write_bytes(data)
    key = IngestConfig(key=str(tmp_path / "k.json"))
    folder = ingest(tmp_path / "folder", tmp_path / "folder.tap", key)
    web = ingest(f"dicomweb:{pacs.url}", tmp_path / "web.tap", key)
    assert web.digest == folder.digest
    assert [r.report for r in open_archive(tmp_path / "web.tap").records if r.report]
    written = b"".join(p.read_bytes() for p in (tmp_path / "web.tap").rglob("*") if p.is_file())
    for secret in (b"Testperson", b"1.2.826.0.1.3680043.8.498.7", b"127.0.0.1"):
        assert secret not in written


def test_pseudonyms_are_written_unless_somebody_says_otherwise(pacs: Pacs, tmp_path: Path) -> None:
    ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", IngestConfig(key=str(tmp_path / "k.json")))
    assert all(r.patient_id.startswith("P") for r in open_archive(tmp_path / "out.tap").records)


def test_a_missing_object_stands_in_the_quarantine_until_it_comes(pacs: Pacs, tmp_path: Path) -> None:
    pacs.faults[uid_of(2)] = ["empty"]
    first = ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    assert (first.images, first.quarantined) == (3, 1)
    assert "holds no object" in first.reasons[0].reason
    assert any("did not come" in note for note in first.notes)
    second = ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    assert (second.images, second.quarantined) == (4, 0)


def test_a_report_that_comes_later_is_joined_to_the_images_of_its_study(pacs: Pacs, tmp_path: Path) -> None:
    pacs.add(image(12, study=2, PatientID="p2"))
    ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    assert not any(r.report for r in open_archive(tmp_path / "out.tap").records)
    pacs.add(report(9, study=2, text="Drusen at the macula."))
    pacs.asked.clear()
    ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    assert [r.report.strip() for r in open_archive(tmp_path / "out.tap").records if r.visit_id == study_uid(2)] == [
        "Drusen at the macula.",
    ] * 2
    assert sorted(pacs.fetched()) == sorted([uid_of(9), uid_of(2), uid_of(12)])
    pacs.asked.clear()
    ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    assert pacs.fetched() == []


def test_fewer_objects_than_promised_is_said(pacs: Pacs, tmp_path: Path) -> None:
    pacs.claims[study_uid(3)] = 2
    files, refused = taken(pacs, tmp_path / "spool")
    assert len(files) == 4
    assert [r.reason for r in refused] == ["the PACS lists 1 objects of the study and says that there are 2"]


def test_paging_goes_on_to_the_end_also_where_the_server_knows_none(pacs: Pacs, tmp_path: Path) -> None:
    for number in range(20, 30):
        pacs.add(image(number, study=1, PatientID="p1"))
    assert len(taken(pacs, tmp_path / "spool")[0]) == 14
    pacs.deaf = True
    assert len(taken(pacs, tmp_path / "spool")[0]) == 14


@pytest.mark.parametrize("deaf", [False, True])
def test_filters_hold_whatever_the_server_makes_of_them(pacs: Pacs, tmp_path: Path, deaf: bool) -> None:
    pacs.add(image(7, Modality="XC"))
    pacs.add(image(8, study=3, PatientID="p3", Modality="XC"))
    pacs.add(report(9, study=3, text="text"))
    pacs.deaf = deaf

    def numbers(**said: str) -> list[int]:
        wanted = Wanted.of(**{"modality": "", "since": "", "until": "", "patients": "", **said})
        return sorted(int(file.split(".")[-2]) for file in taken(pacs, tmp_path / "spool", wanted=wanted)[0])

    assert numbers(modality="OP") == [1, 2, 3, 4]
    assert numbers(modality="op,xc") == [1, 2, 3, 4, 7, 8]
    assert numbers(patients="p2,p4") == [2, 4]
    assert numbers(since="2021-04-03", until="2021-04-04") == [2, 3, 8]
    assert numbers(until="20210402") == [1]
    assert numbers(patients="p3", modality="XC") == [8]


def test_changes_are_followed_from_where_the_last_run_came_to(pacs: Pacs, tmp_path: Path) -> None:
    pacs.orthanc = True
    for number in (5, 6, 7):
        pacs.add(image(number))
    first = ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    assert first.images == 7
    assert len(pacs.fetched()) == 7
    pacs.asked.clear()
    assert ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN).unchanged == 7
    assert not any("/studies?" in p and "limit=1" not in p for p in pacs.asked)
    assert any("since=7" in p for p in pacs.asked)
    pacs.add(image(8))
    pacs.asked.clear()
    assert ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN).added == 1
    assert pacs.fetched() == [uid_of(8)]


def test_the_cursor_stays_before_an_object_that_did_not_come(pacs: Pacs, tmp_path: Path) -> None:
    pacs.orthanc = True
    pacs.faults[uid_of(2)] = ["absent"]
    assert ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN).images == 3
    pacs.asked.clear()
    assert ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN).images == 4
    assert pacs.fetched() == [uid_of(2)]


def test_a_pacs_that_was_set_up_anew_is_read_from_the_beginning(pacs: Pacs, tmp_path: Path) -> None:
    pacs.orthanc = True
    ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    pacs.objects = {}
    pacs.add(image(11))
    summary = ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN)
    assert (summary.added, summary.images) == (1, 5)
    assert any("anew" in note for note in summary.notes)


def test_credentials_come_from_outside_the_command_line(
    pacs: Pacs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs.password = "Basic dXM6cHc="  # us:pw
    with pytest.raises(UsageError, match="asks for credentials"):
        dicomweb(pacs.url).check()
    with pytest.raises(UsageError, match="holds credentials"):
        Server(pacs.url.replace("127", "us:pw@127"))
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login us password pw\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert ingest(f"dicomweb:{pacs.url}", tmp_path / "out.tap", PLAIN).images == 4
    pacs.password = "Bearer t0k"
    monkeypatch.setenv("TAPETUM_PACS_TOKEN", "t0k")
    server = Server(pacs.url)
    assert len(list(studies(server, Wanted()))) == 4
    server.close()


def test_no_pacs_makes_no_archive(tmp_path: Path, pacs: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    pacs.objects.clear()
    monkeypatch.setattr("tapetum.archive.pacs.pull.check.__kwdefaults__", {"patience": HASTY})
    for url in ("http://127.0.0.1:9/dicom-web", pacs.url + "/elsewhere"):
        with pytest.raises(DataError):
            ingest(f"dicomweb:{url}", tmp_path / "out.tap", PLAIN)
        assert not (tmp_path / "out.tap").exists()


@pytest.mark.parametrize("url", ["ftp://h/x", "http://h:x/y", "http:///x", "h/dicom-web", "http://h/w?a=b"])
def test_wrong_urls_are_told(url: str) -> None:
    with pytest.raises(UsageError):
        Server(url)


def test_wrong_options_are_told(tmp_path: Path) -> None:
    for reader in ("dicomweb(modalty='OP')", "folder", "dicomweb(since='yesterday')", "dicomweb(changes='maybe')"):
        with pytest.raises(UsageError):
            ingest("dicomweb:http://127.0.0.1:9/w", tmp_path / "out.tap", IngestConfig(reader=reader))
    with pytest.raises(UsageError, match="table"):
        ingest("dicomweb:http://127.0.0.1:9/w", tmp_path / "out.tap", IngestConfig(table="t.csv"))


def test_multipart_with_a_preamble_and_a_quoted_boundary() -> None:
    body = b"preamble\r\n--a b\r\nX: y\r\n\r\n\r\nDATA\r\n--\r\n--a b--\r\nepilogue"
    assert one_part('multipart/related; boundary="a b"', body) == b"\r\nDATA\r\n--"


def certificate(folder: Path) -> Path:
    """A certificate of this machine that nobody but itself vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a clinic's own authority")])
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(today - timedelta(days=1)).not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    place = folder / "pacs.pem"
    place.write_bytes(made.public_bytes(Encoding.PEM) + secret)
    return place


def test_over_tls_the_authority_must_be_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    place = certificate(tmp_path)
    with serving(Pacs(), place) as pacs:
        pacs.add(image(1))
        assert pacs.url.startswith("https://")
        monkeypatch.delenv("SSL_CERT_FILE", raising=False)
        with pytest.raises(DataError, match=r"is not trusted\n.*\n.*SSL_CERT_FILE"):
            taken(pacs, tmp_path / "spool")
        assert not pacs.accepts
        monkeypatch.setenv("SSL_CERT_FILE", str(place))
        assert taken(pacs, tmp_path / "spool") == ([f"{uid_of(1)}.dcm"], [])
