"""Keys and what follows from them."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat

import pytest

from tapetum.archive.deidentify.key import Key, default_key_path
from tapetum.archive.deidentify.pseudonyms import ALPHABET, Pseudonyms
from tapetum.archive.deidentify.reidentify import check_log, log_path, reidentify, write_log
from tapetum.core.errors import ArtefactError, DataError, UsageError


def names(profile="longitudinal", fill=7):
    return Pseudonyms(Key(bytes([fill]) * 32), profile)


def test_a_key_comes_back_and_only_its_owner_reads_it(tmp_path):
    made = Key.create(tmp_path / "k" / "clinic.key.json")
    read = Key.load(tmp_path / "k" / "clinic.key.json")
    assert read.secret == made.secret
    assert read.id == made.id
    assert len(read.secret) == 32
    assert stat.S_IMODE((tmp_path / "k" / "clinic.key.json").stat().st_mode) == 0o600
    assert made.secret.hex() not in repr(made)
    assert "secret=" not in repr(made)


def test_a_key_is_never_overwritten(tmp_path):
    Key.create(tmp_path / "a")
    with pytest.raises(ArtefactError, match="exists"):
        Key.create(tmp_path / "a")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_key_that_others_may_read_is_refused_with_the_command(tmp_path):
    Key.create(tmp_path / "a")
    (tmp_path / "a").chmod(0o640)
    with pytest.raises(ArtefactError, match="chmod 600"):
        Key.load(tmp_path / "a")


def test_a_key_never_lies_in_an_archive_or_export(tmp_path):
    (tmp_path / "x.tap" / "deep").mkdir(parents=True)
    (tmp_path / "x.tap" / "catalog.sqlite").touch()
    with pytest.raises(UsageError, match="inside the archive"):
        Key.create(tmp_path / "x.tap" / "deep" / "key")
    with pytest.raises(UsageError, match="would lie inside"):
        Key.create(tmp_path / "export" / "key", away_from=[tmp_path / "export"])
    assert not (tmp_path / "export").exists()
    Key.create(tmp_path / "key")
    (tmp_path / "link").symlink_to(tmp_path / "x.tap")
    with pytest.raises(UsageError):
        Key.load(tmp_path / "link" / "key")


@pytest.mark.parametrize("spoil", ["secret", "id", "created", "tapetum_key", "junk"])
def test_a_damaged_key_is_refused(tmp_path, spoil):
    Key.create(tmp_path / "a")
    said = json.loads((tmp_path / "a").read_text())
    if spoil == "junk":
        (tmp_path / "a").write_text("[]")
    else:
        said.pop(spoil) if spoil != "secret" else said.update(secret="A" + said["secret"][1:-4] + "AAA=")
        (tmp_path / "a").write_text(json.dumps(said))
    with pytest.raises(ArtefactError):
        Key.load(tmp_path / "a")


def test_the_default_place_is_outside(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_key_path("eyes.tap") == tmp_path / "tapetum" / "keys" / "eyes.key.json"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert default_key_path("../../etc/eyes").name == "eyes.key.json"


def test_a_pseudonym_is_the_digest_written_out_by_hand():
    secret = bytes([7]) * 32
    subkey = hmac.new(secret, b"tapetum v1 patient", hashlib.sha256).digest()
    message = (5).to_bytes(8, "big") + b"12345" + (0).to_bytes(8, "big")
    number = int.from_bytes(hmac.new(subkey, message, hashlib.sha256).digest()[:8], "big")
    expected = "P"
    for _ in range(12):
        number, low = divmod(number, 32)
        expected += ALPHABET[low]
    assert names().patient("12345") == expected
    assert len(set(ALPHABET)) == 32
    assert not set("01IO") & set(ALPHABET)


def test_pseudonyms_depend_on_key_kind_and_issuer():
    one = names()
    assert one.patient("1") != names(fill=8).patient("1")
    assert one.patient("1", "A") != one.patient("1", "B") != one.patient("1")
    assert one.patient("ab", "c") != one.patient("a", "bc")
    assert one.token("x", "file") != one.token("x", "folder")
    assert one.token("x", "file")[0] == "F"
    assert len(one.token("x", "file")) == 13
    assert one.patient("\u00e9") == one.patient("e\u0301")
    with pytest.raises(DataError):
        one.patient("  ")


def test_uids_are_valid_and_stable():
    uid = names().uid("1.2.3.4")
    assert uid == names().uid("1.2.3.4\0")
    assert uid.startswith("2.25.")
    assert len(uid) <= 64
    assert int(uid[5:]) < 2**128
    assert not uid[5:].startswith("0")


def test_dates():
    one = names()
    assert one.date("2023-13-01", "1") == "unknown" == one.date("2023", "1")
    assert names("basic").date("2023-05-02", "1") == "unknown"
    with pytest.raises(UsageError, match="profile"):
        names("longitudnal")


def test_sealed_text_opens_only_with_its_key():
    one = names()
    sealed = one.seal("Müller, Änne|1950-01-02")
    assert one.unseal(sealed) == "Müller, Änne|1950-01-02"
    assert b"ller" not in sealed
    assert one.seal("a") == one.seal("a") != one.seal("b")
    with pytest.raises(ArtefactError, match="does not open"):
        names(fill=8).unseal(sealed)
    with pytest.raises(ArtefactError):
        one.unseal(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(ArtefactError):
        one.unseal(b"")


def archive_of(tmp_path, names):
    from tapetum.archive.store.catalog import Catalog, Identity

    (tmp_path / "a.tap").mkdir()
    catalog = Catalog(tmp_path / "a.tap" / "catalog.sqlite")
    catalog.write([], 1, identities=[Identity("patient", names.patient("4711"), names.seal("4711"))])
    catalog.close()
    return tmp_path / "a.tap"


def test_reidentification_needs_role_key_and_reason_and_is_written_down(tmp_path):
    key = Key.create(tmp_path / "keys" / "k.json", roles=["data manager", "ethics board"])
    one = Pseudonyms(key)
    archive = archive_of(tmp_path, one)
    before = {p: p.read_bytes() for p in archive.rglob("*")}
    (row,) = reidentify(archive, [one.patient("4711")], key=key.path, role="ethics board", reason="incidental finding")
    assert (row.kind, row.original) == ("patient", "4711")
    for role, reason in (("nurse", "curious"), ("data manager", " ")):
        with pytest.raises(UsageError):
            reidentify(archive, [one.patient("4711")], key=key, role=role, reason=reason)
    with pytest.raises(ArtefactError, match="knows no pseudonym"):
        reidentify(archive, ["P23456789ABCD"], key=key, role="data manager", reason="audit")
    other = Key.create(tmp_path / "keys" / "other.json")
    with pytest.raises(ArtefactError, match="does not open"):
        reidentify(archive, [one.patient("4711")], key=other, role="data manager", reason="audit")
    lines = [json.loads(line) for line in log_path(key).read_text().splitlines()]
    assert [line["result"] for line in lines] == ["asked", "unknown pseudonym"]
    assert lines[0]["role"] == "ethics board"
    assert "4711" not in log_path(key).read_text()
    assert {p: p.read_bytes() for p in archive.rglob("*")} == before


def test_a_changed_log_is_noticed(tmp_path):
    key = Key.create(tmp_path / "k.json")
    for number in range(3):
        write_log(key, {"number": number})
    whole = log_path(key).read_text()
    check_log(log_path(key))
    lines = whole.splitlines(keepends=True)
    for spoilt in (lines[0] + lines[2], lines[1] + lines[2], whole.replace('"number": 0', '"number": 9')):
        log_path(key).write_text(spoilt)
        with pytest.raises(ArtefactError, match="was changed"):
            check_log(log_path(key))
