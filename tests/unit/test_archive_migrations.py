"""A catalog of the first version opens, keeps everything, and is never left half-way."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import tapetum.archive.store.migrations as migrations
from tapetum.archive.store.catalog import Catalog, SightRow
from tapetum.core.errors import ArtefactError

# As the first release wrote it.
VERSION_1 = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE writer (id INTEGER PRIMARY KEY CHECK (id = 1), pid INTEGER, boot TEXT, started TEXT);
CREATE TABLE statements (
  export TEXT NOT NULL, source TEXT NOT NULL, image_id TEXT NOT NULL, ordinal INTEGER NOT NULL, row INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('stored', 'refused')), reason TEXT NOT NULL, said TEXT NOT NULL,
  run INTEGER NOT NULL, PRIMARY KEY (source, image_id, ordinal));
CREATE TABLE patients (patient_id TEXT PRIMARY KEY, split TEXT NOT NULL);
CREATE TABLE images (image_id TEXT PRIMARY KEY, patient_id TEXT NOT NULL, state TEXT NOT NULL);
CREATE TABLE quarantine (file TEXT NOT NULL, row INTEGER NOT NULL, reason TEXT NOT NULL);
INSERT INTO schema_version VALUES (1);
INSERT INTO settings VALUES ('run', '3'), ('archive', '{"name": "old"}');
INSERT INTO patients VALUES ('p1', 'train');
"""
A = "a" * 64


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "catalog.sqlite"
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode=WAL")
    db.executescript(VERSION_1)
    db.execute(
        "INSERT INTO statements VALUES ('e', 'x.png', ?, 0, 2, 'stored', '', '{\"patient_id\": \"p1\"}', 3)", (A,)
    )
    db.execute("INSERT INTO images VALUES (?, 'p1', 'READY')", (A,))
    db.commit()
    db.close()
    (tmp_path / "meta.json").write_text(json.dumps({"digest": "d1"}))
    return path


def test_everything_said_before_is_kept(old: Path) -> None:
    catalog = Catalog(old)
    assert [(s.source, s.said) for s in catalog.statements()] == [("x.png", {"patient_id": "p1"})]
    assert catalog.image_ids() == (A,)
    assert {p: s.value for p, s in catalog.splits().items()} == {"p1": "train"}
    assert catalog.setting("archive") == '{"name": "old"}'
    assert list(catalog.sights()) == []
    with catalog.writing() as run:
        assert run == 4
        assert catalog.snapshots_with("p1") == ("d1",), "the snapshot of the first version counts too"
        catalog.write([], run, sights=[SightRow(A, {}, np.zeros(2), np.zeros(3, np.float32))])
    catalog.close()
    again = Catalog(old)
    assert again.sight(A) is not None
    again.close()


def test_failure_in_the_middle_leaves_version_1(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = migrations._VERSION_2 + "INSERT INTO no_such_table VALUES (1);"
    monkeypatch.setattr(migrations, "_STEPS", (migrations._VERSION_1, broken))
    with pytest.raises(ArtefactError, match="no_such_table"):
        Catalog(old)
    db = sqlite3.connect(old)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert "sights" not in tables
    assert db.execute("SELECT version FROM schema_version").fetchall() == [(1,)]
    db.close()
    monkeypatch.undo()
    catalog = Catalog(old)
    assert len(catalog.statements()) == 1
    catalog.close()


def test_new_and_migrated_catalog_have_the_same_tables(old: Path, tmp_path: Path) -> None:
    def shape(path: Path) -> set[str]:
        Catalog(path).close()
        db = sqlite3.connect(path)
        found = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")}
        db.close()
        return {" ".join(sql.split()) for sql in found}

    (tmp_path / "new").mkdir()
    assert shape(old) == shape(tmp_path / "new" / "catalog.sqlite")


@pytest.mark.parametrize(("version", "message"), [(99, "upgrade tapetum"), (0, "a number from 1")])
def test_version_from_elsewhere_is_refused(old: Path, version: int, message: str) -> None:
    db = sqlite3.connect(old)
    with db:
        db.execute("UPDATE schema_version SET version = ?", (version,))
    db.close()
    with pytest.raises(ArtefactError) as caught:
        Catalog(old)
    assert message in str(caught.value) + caught.value.next_step + caught.value.expected
