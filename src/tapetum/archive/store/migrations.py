"""The catalog's schema, version by version: each step is applied once, in the transaction that raises the version.

A step is never edited after a release; a new table or column is a new step. A process killed in the middle leaves the
old version whole.
"""

from __future__ import annotations

import sqlite3

from tapetum.core.errors import ArtefactError

_VERSION_1 = """
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
"""
# What was seen of an image (texture as float16, quality as float32, both little-endian); who a pseudonym is, sealed;
# which files were taken before; how far a source was read. `snapshots` and `members` say which patients a past
# snapshot held: a patient is in every snapshot whose run lies between their first and their last.
_VERSION_2 = """
CREATE TABLE sights (image_id TEXT PRIMARY KEY, facts TEXT NOT NULL, texture BLOB NOT NULL, quality BLOB NOT NULL);
CREATE TABLE identities (
  kind TEXT NOT NULL, pseudonym TEXT NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY (kind, pseudonym));
CREATE TABLE seen (source_digest TEXT PRIMARY KEY, image_id TEXT NOT NULL, run INTEGER NOT NULL);
CREATE TABLE cursors (source TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE snapshots (digest TEXT PRIMARY KEY, run INTEGER NOT NULL);
CREATE TABLE members (patient_id TEXT PRIMARY KEY, first INTEGER NOT NULL, last INTEGER NOT NULL);
CREATE INDEX statements_by_image ON statements (image_id);
CREATE INDEX seen_by_image ON seen (image_id);
INSERT INTO members SELECT DISTINCT patient_id, 0, 0 FROM images;
"""
_STEPS = (_VERSION_1, _VERSION_2)
SCHEMA_VERSION = len(_STEPS)


def migrate(db: sqlite3.Connection) -> None:
    """Bring a new or older catalog to this version; to be called inside a transaction.

    Raises:
        ArtefactError: the catalog is newer than this version of the package.
    """
    version = _version(db)
    if version > SCHEMA_VERSION:
        raise ArtefactError(f"the catalog has schema {version}", f"schema {SCHEMA_VERSION} or older", "upgrade tapetum")
    if version == SCHEMA_VERSION:
        return
    for step in _STEPS[version:]:
        for command in step.split(";"):
            if command.strip():
                db.execute(command)
    db.execute("DELETE FROM schema_version")
    db.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION,))


def _version(db: sqlite3.Connection) -> int:
    """The catalog's version, 0 where it is empty."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name='schema_version'").fetchone():
        return 0
    row = db.execute("SELECT version FROM schema_version").fetchone()
    if row is None or not isinstance(row[0], int) or row[0] < 1:
        raise ArtefactError(f"the catalog's schema version is {row}", f"a number from 1 to {SCHEMA_VERSION}")
    return row[0]
