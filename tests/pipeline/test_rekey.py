"""Another key for a whole archive: the same as a fresh ingest with it, whatever fails on the way, nothing old left."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_canaries import spoil
from test_ingest_faults import Faults

from tapetum.archive import IngestConfig, ingest, open_archive, verify
from tapetum.archive.deidentify import Key, Pseudonyms
from tapetum.archive.store.catalog import Catalog
from tapetum.archive.upkeep import forget, gc
from tapetum.archive.upkeep.rotate import rotate
from tapetum.core.errors import ArtefactError, DataError, TapetumError, UsageError
from tapetum.core.types import Split
from tapetum.phantom import ClinicConfig, make_clinic


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch)


def keys(folder: Path) -> tuple[Key, Key]:
    return Key.create(folder / "old.json"), Key.create(folder / "new.json")


def config(key: Key, profile: str) -> IngestConfig:
    return IngestConfig(deidentify=profile, key=str(key.path))


def export(folder: Path, form: str, patients: int = 3) -> Path:
    """A clinic with refused files, names everywhere, and one photograph that no row names."""
    clinic = make_clinic(folder, ClinicConfig(patients=patients, size=96, form=form, identifiers=True)).path
    spoil(clinic)
    return clinic


def contents(place: Path) -> dict[str, Any]:
    """Everything that a catalog holds, but for the number of its runs and what a past run noted."""
    catalog = Catalog(place / "catalog.sqlite", as_it_is=True)
    rows = {
        table: sorted(map(repr, catalog.connection.execute(f"SELECT {columns} FROM {table}")))
        for table, columns in (
            ("statements", "export, source, image_id, ordinal, row, state, reason, said"), ("sights", "*"),
            ("identities", "*"), ("patients", "*"), ("images", "*"), ("quarantine", "*"), ("members", "patient_id"),
        )
    }  # fmt: skip
    settings = json.loads(catalog.setting("archive"))
    catalog.close()
    return rows | {"settings": settings | {"name": ""}}


def pseudonyms(place: Path) -> set[bytes]:
    """All that stands for something, and what the pseudonyms of dates came to."""
    catalog = Catalog(place / "catalog.sqlite", as_it_is=True)
    found = {i.pseudonym for i in catalog.identities()} | {catalog.statements()[0].export}
    found |= {str(s.said[k]) for s in catalog.statements() for k in ("patient_id", "visit_id") if k in s.said}
    catalog.close()
    return {p.encode() for p in found - {"unknown"}}


def left_in(place: Path, words: set[bytes]) -> list[str]:
    files = [p for p in place.rglob("*") if p.is_file()]
    return [f"{w!r} in {p.name}" for p in files for w in words if w in p.read_bytes() or w in p.name.encode()]


@pytest.mark.parametrize("profile", ["longitudinal", "basic"])
@pytest.mark.parametrize("form", ["jpeg", "dicom"])
def test_equals_a_fresh_ingest(tmp_path: Path, form: str, profile: str) -> None:
    clinic, (old, new) = export(tmp_path / "c", form), keys(tmp_path)
    place, fresh = tmp_path / "a.tap", tmp_path / "f.tap"
    ingest(clinic, place, config(old, profile))
    ingest(clinic, fresh, config(new, profile))
    before, dates = pseudonyms(place), {r.captured for r in open_archive(place).records}
    same = {r.image_id for r in open_archive(place).records} & {r.image_id for r in open_archive(fresh).records}
    assert len(same) == (0 if form == "dicom" else 4)
    shard = open_archive(place).cache / "rows" / "x.npz"
    shard.parent.mkdir()
    ids = [r.image_id for r in open_archive(place).records]
    np.savez(shard, ids=np.array(ids), values=np.zeros((len(ids), 2)))
    done = rotate(place, old, new)
    assert (done.images, done.patients) == (4, len({r.patient_id for r in open_archive(fresh).records}))
    assert repr(open_archive(place).records) == repr(open_archive(fresh).records)  # NaN is not NaN
    assert open_archive(place).quarantine == open_archive(fresh).quarantine
    assert open_archive(place).digest == open_archive(fresh).digest
    assert contents(place) == contents(fresh)
    assert verify(place) == ()
    assert left_in(place, before | {old.id.encode()}) == []
    assert bool(list((place / ".cache").rglob("*.npz"))) == (form == "jpeg")
    if profile == "longitudinal":
        assert not dates & {r.captured for r in open_archive(place).records}
    again = ingest(clinic, place, config(new, profile))
    assert (again.added, again.digest) == (0, open_archive(fresh).digest)
    assert verify(place) == ()


def test_the_old_key_opens_nothing(tmp_path: Path) -> None:
    clinic, (old, new) = export(tmp_path / "c", "dicom"), keys(tmp_path)
    place = tmp_path / "a.tap"
    ingest(clinic, place, config(old, "longitudinal"))
    rotate(place, old, new)
    catalog = Catalog(place / "catalog.sqlite", as_it_is=True)
    identities = catalog.identities()
    catalog.close()
    assert {i.kind for i in identities} == {"patient", "file", "visit", "origin", "object", "reason"}
    for identity in identities:
        with pytest.raises(ArtefactError, match="does not open"):
            Pseudonyms(old).unseal(identity.sealed)
        assert Pseudonyms(new).unseal(identity.sealed)
    with pytest.raises(ArtefactError, match="the archive's own"):
        ingest(clinic, place, config(old, "longitudinal"))
    with pytest.raises(ArtefactError, match="the archive's own"):
        rotate(place, old, Key(bytes(32)))


def test_there_and_back_again(tmp_path: Path) -> None:
    clinic, (old, new) = export(tmp_path / "c", "dicom"), keys(tmp_path)
    place = tmp_path / "a.tap"
    before = ingest(clinic, place, config(old, "longitudinal")).digest
    first = contents(place)
    assert rotate(place, old, new) == rotate(place, old, new)  # the second has nothing to do
    assert open_archive(place).digest != before
    rotate(place, new, old)
    assert open_archive(place).digest == before
    assert contents(place) == first


def test_splits_stay_where_asked(tmp_path: Path) -> None:
    make_clinic(tmp_path / "c", ClinicConfig(patients=12, size=64, identifiers=True))
    old, new = keys(tmp_path)
    place = tmp_path / "a.tap"
    ingest(tmp_path / "c", place, config(old, "longitudinal"))
    shutil.copytree(place, tmp_path / "b.tap")
    first = open_archive(place)
    before = {r.image_id: r.split for r in first.records}
    rotate(place, old, new, keep_splits=True)
    kept = open_archive(place)
    assert {r.image_id: r.split for r in kept.records} == before
    assert kept.splits_at(first.digest) == {r.patient_id: r.split for r in kept.records}
    rotate(tmp_path / "b.tap", old, new)
    drawn = open_archive(tmp_path / "b.tap")
    assert {r.image_id: r.split for r in drawn.records} != before
    earlier = drawn.splits_at(first.digest)
    assert earlier == dict.fromkeys({r.patient_id for r in drawn.records}, Split.NONE), (
        "who was tested then is not known"
    )


def test_refuses_what_it_cannot_do(tmp_path: Path) -> None:
    make_clinic(tmp_path / "c", ClinicConfig(patients=1, size=64))
    old, new = keys(tmp_path)
    ingest(tmp_path / "c", tmp_path / "open.tap")
    with pytest.raises(UsageError, match="holds no pseudonyms"):
        rotate(tmp_path / "open.tap", old, new)
    with pytest.raises(ArtefactError, match="no catalog"):
        rotate(tmp_path / "c", old, new)
    place = tmp_path / "a.tap"
    ingest(tmp_path / "c", place, config(old, "longitudinal"))
    with pytest.raises(UsageError, match="the same"):
        rotate(place, old, old)
    with pytest.raises(UsageError, match="would lie inside"):
        rotate(place, old, Key(bytes(32), path=place / "new.json"))
    catalog = Catalog(place / "catalog.sqlite")
    catalog.connection.execute("DELETE FROM identities WHERE kind = 'file'")
    catalog.close()
    with pytest.raises(ArtefactError, match="does not keep what a file stands for"):
        rotate(place, old, new)
    assert open_archive(place).records


def test_every_failing_call(tmp_path: Path, faults: Faults) -> None:
    """Old or new after every failure, and the same call again ends it."""
    clinic, (old, new) = export(tmp_path / "c", "dicom", 2), keys(tmp_path)
    base, out, whole = tmp_path / "base.tap", tmp_path / "out.tap", tmp_path / "whole.tap"
    before = ingest(clinic, base, config(old, "longitudinal")).digest
    words = pseudonyms(base)
    shutil.copytree(base, whole)
    rotate(whole, old, new)
    after, rows = open_archive(whole).digest, contents(whole)
    at = failed = 0
    while True:
        at += 1
        faults.arm(0)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(base, out)
        faults.arm(at)
        try:
            rotate(out, old, new)
            finished = True
        except (TapetumError, OSError, sqlite3.Error):
            finished, failed = False, failed + 1
        happened = faults.happened
        faults.arm(0)
        archive = open_archive(out)
        assert archive.digest in ((after,) if finished else (before, after)), at
        assert all(len(archive.data(r.image_id)) > 0 for r in archive.records), at
        rotate(out, old, new)
        assert open_archive(out).digest == after, at
        assert contents(out) == rows, at
        assert verify(out) == (), at
        assert left_in(out, words) == [], at
        if not happened:
            break
    assert at > 10
    assert failed > 5


@pytest.mark.parametrize("form", ["jpeg", "dicom"])
def test_forget_leaves_neither_pseudonym_nor_what_it_stands_for(tmp_path: Path, form: str) -> None:
    clinic, (key, _) = export(tmp_path / "c", form), keys(tmp_path)
    place, names = tmp_path / "a.tap", Pseudonyms(key)
    ingest(clinic, place, config(key, "longitudinal"))
    patient = open_archive(place).records[0].patient_id
    catalog = Catalog(place / "catalog.sqlite", as_it_is=True)
    own = {s.image_id for s in catalog.statements() if s.said.get("patient_id") == patient} - {""}
    (number,) = {names.unseal(i.sealed) for i in catalog.identities() if i.pseudonym == patient}
    theirs = [
        i
        for i in catalog.identities()
        if i.pseudonym == patient or i.pseudonym in own or number in names.unseal(i.sealed)
    ]
    catalog.close()
    assert {"patient", "origin"} | ({"object"} if form == "dicom" else set()) <= {i.kind for i in theirs}
    forget(place, patient)
    words = {i.pseudonym.encode() for i in theirs if i.kind != "file"} | {i.sealed for i in theirs if i.kind != "file"}
    assert left_in(place, words) == []
    catalog = Catalog(place / "catalog.sqlite", as_it_is=True)
    assert not [i for i in catalog.identities() if number in names.unseal(i.sealed)]
    catalog.close()
    assert gc(place).rows == 0
    assert verify(place) == ()
    with pytest.raises(DataError):
        forget(place, patient)


def test_what_was_said_before_is_forgotten_too(tmp_path: Path) -> None:
    """A report that was corrected: the first one lies sealed in the catalog until somebody clears up."""
    clinic, (key, _) = make_clinic(tmp_path / "c", ClinicConfig(patients=1, size=64, identifiers=True)), keys(tmp_path)
    place = tmp_path / "a.tap"
    ingest(clinic.path, place, config(key, "longitudinal"))
    before = pseudonyms(place)
    with clinic.table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    with clinic.table.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows({**row, "report": f"Corrected. {row['report']}"} for row in rows)
    ingest(clinic.path, place, config(key, "longitudinal"))
    assert len(pseudonyms(place) - before) >= 1
    assert before <= pseudonyms(place)
    assert gc(place).rows >= 1
    assert not before <= pseudonyms(place)
