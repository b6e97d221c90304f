"""The catalog: what is written comes back, one transaction holds or nothing does, members of past snapshots."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tapetum.archive.store.catalog import Catalog, Identity, SightRow, Statement
from tapetum.archive.store.seal import broken_seal
from tapetum.core.errors import ArtefactError
from tapetum.core.types import Split

A, B = "a" * 64, "b" * 64


def said(
    patient: str = "p1", image_id: str = A, source: str = "x.png", reason: str = "", ordinal: int = 0
) -> Statement:
    return Statement("export", source, image_id, ordinal, 2, reason, {} if reason else {"patient_id": patient})


def sight(image_id: str = A) -> SightRow:
    return SightRow(image_id, {"width": 3}, np.array([0.5, -2.0, np.nan]), np.array([0.1, np.nan], dtype=np.float32))


@pytest.fixture
def catalog(tmp_path: Path):
    opened = Catalog(tmp_path / "catalog.sqlite")
    yield opened
    opened.close()


def test_sights_identities_and_digests_come_back(catalog: Catalog) -> None:
    sealed = Identity("patient", "PABC", b"\x00\x01")
    catalog.write([said()], 1, sights=[sight()], identities=[sealed], seen={"digest": A})
    found = catalog.sight(A)
    assert found is not None
    assert found.facts == {"width": 3}
    assert found.texture.dtype == np.float16
    np.testing.assert_array_equal(found.texture, np.array([0.5, -2.0, np.nan], np.float16))
    np.testing.assert_array_equal(found.quality, np.array([0.1, np.nan], np.float32))
    assert [s.image_id for s in catalog.sights()] == [A]
    assert catalog.sight(B) is None
    assert catalog.identities() == (sealed,)
    assert catalog.identity("patient", "PABC") == sealed
    assert catalog.identity("uid", "PABC") is None
    assert catalog.was_seen("digest") == A
    assert catalog.was_seen("other") is None


def test_write_as_before_needs_only_statements(catalog: Catalog) -> None:
    catalog.write([said(), said(source="gone.png", image_id="", reason="no file")], 1)
    assert [s.source for s in catalog.statements()] == ["gone.png", "x.png"]
    assert catalog.known(A) == {"patient_id": "p1"}
    assert list(catalog.sights()) == []


def test_write_is_all_or_nothing(catalog: Catalog) -> None:
    bad = dataclasses.replace(sight(B), facts={"x": object()})
    with pytest.raises(TypeError):
        catalog.write([said()], 1, seen={"d": A}, sights=[sight(), bad])
    assert catalog.statements() == ()
    assert catalog.sight(A) is None
    assert catalog.was_seen("d") is None


def test_cursor(catalog: Catalog) -> None:
    assert catalog.cursor("http://pacs/") is None
    catalog.set_cursor("http://pacs/", "41")
    catalog.set_cursor("http://pacs/", "42")
    assert catalog.cursor("http://pacs/") == "42"


def test_durability_settings(catalog: Catalog) -> None:
    asked = {name: catalog._db.execute(f"PRAGMA {name}").fetchone()[0] for name in
             ("journal_mode", "synchronous", "secure_delete")}  # fmt: skip
    assert asked == {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}


def test_members_of_past_snapshots_are_kept(tmp_path: Path) -> None:
    """Run 1 stores p1, run 2 adds p2, run 3 loses p1: each is known with the snapshots that held them."""
    for members, digest in ((["p1"], "d1"), (["p1", "p2"], "d2"), (["p2"], "d3")):
        catalog = Catalog(tmp_path / "catalog.sqlite")
        with catalog.writing():
            images = [(f"{i}" * 64, p) for i, p in enumerate(members)]
            catalog.write_outcome(images, [], dict.fromkeys(members, Split.TRAIN))
        catalog.close()
        (tmp_path / "meta.json").write_text(json.dumps({"digest": digest}))
    catalog = Catalog(tmp_path / "catalog.sqlite")
    with catalog.writing():
        assert catalog.snapshots_with("p1") == ("d1", "d2")
        assert catalog.snapshots_with("p2") == ("d2", "d3")
        assert catalog.snapshots_with("p9") == ()
    catalog.close()


def test_refused_transaction_leaves_the_file_as_it_was(catalog: Catalog) -> None:
    with pytest.raises(KeyError), catalog.transaction():  # noqa: PT012
        catalog.set_settings({"a": "1"})
        raise KeyError
    assert catalog.setting("a", "none") == "none"


def test_file_that_is_no_catalog_is_refused(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ArtefactError, match="damaged"):
        Catalog(tmp_path / "catalog.sqlite")


def test_second_writer_is_refused(tmp_path: Path) -> None:
    """The lock of a living process is respected, that of process 1 of another boot is not."""
    catalog = Catalog(tmp_path / "catalog.sqlite")
    with catalog.writing():
        catalog._db.execute("UPDATE writer SET pid = 1, started = (SELECT started FROM writer)")
        other = Catalog(tmp_path / "catalog.sqlite")
        other._db.execute("UPDATE writer SET boot = 'another boot'")
        with other.writing() as run:
            assert run == 2
        other.close()
    catalog.close()


def test_seal_is_written_on_close_and_finds_a_change(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    (tmp_path / "note.csv").write_text("a")
    catalog = Catalog(path)
    with catalog.writing():
        catalog.write([said()], 1)
    catalog.close()
    assert broken_seal(tmp_path) == ((), 1)
    for as_it_is in (False, True):
        Catalog(path, as_it_is=as_it_is).close()
        assert broken_seal(tmp_path) == ((), 1), "reading changes nothing"
    (tmp_path / "note.csv").write_text("b")
    assert broken_seal(tmp_path) == (("note.csv has other bytes than it was written with",), 1)
    (tmp_path / "note.csv").unlink()
    assert broken_seal(tmp_path) == (("note.csv is missing",), 1)
    seal = tmp_path / "archive.sha256"
    seal.write_text(seal.read_text().replace("# run 1", "# run 7"))
    assert broken_seal(tmp_path) == (("archive.sha256 has other bytes than it was written with",), 0)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="no sha256sum on this machine")
def test_seal_is_what_sha256sum_reads(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "catalog.sqlite")
    catalog.set_settings({"a": "1"})
    catalog.close()
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", "archive.sha256"], cwd=tmp_path, check=False, capture_output=True, text=True
    )  # fmt: skip
    assert (checked.returncode, checked.stdout) == (0, "catalog.sqlite: OK\n")
