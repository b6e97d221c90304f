"""The catalog: what the exports said, row by row, in SQLite (WAL, synchronous=FULL): a killed ingest loses nothing.

Only statements (one per row of an export) are written while images come in. What follows from them (records,
quarantine, splits) is computed from all statements at the end and written in one transaction: an ingest that was
interrupted and run again ends where an uninterrupted one does.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapetum.core.errors import ArtefactError
from tapetum.core.types import Split

SCHEMA_VERSION = 1
_TABLES = """
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


@dataclass(frozen=True)
class Statement:
    """What one row of an export says of one file.

    Attributes:
        export: name of the export's folder. source: the file inside it.
        image_id: SHA-256 of the file's bytes, empty where there was no file.
        ordinal: 0, 1, … where several rows name the same file. row: as a spreadsheet counts.
        reason: why it was refused, empty where it was stored. said: the record's fields.
    """

    export: str
    source: str
    image_id: str
    ordinal: int
    row: int
    reason: str
    said: Mapping[str, Any]


class Catalog:
    """The open catalog of one archive; `writing()` takes the single writer's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30)
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._create()
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ArtefactError(f"the catalog {path} is damaged: {error}", "an SQLite file", "") from None
        except BaseException:
            self._db.close()
            raise

    def _create(self) -> None:
        with self.transaction():
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name='schema_version'").fetchone():
                for command in _TABLES.split(";"):
                    self._db.execute(command)
                self._db.execute("INSERT INTO schema_version VALUES (?)", (SCHEMA_VERSION,))
        (version,) = self._db.execute("SELECT version FROM schema_version").fetchone()
        if version != SCHEMA_VERSION:
            raise ArtefactError(f"the catalog has schema {version}", f"schema {SCHEMA_VERSION}", "upgrade tapetum")

    def close(self) -> None:
        """Close the file; the write-ahead log is folded in."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """All or nothing, flushed to disk at the end."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextlib.contextmanager
    def writing(self) -> Generator[int, None, None]:
        """Hold the single writer's lock; yields the number of this run. A lock whose process is gone is taken over.

        Raises:
            ArtefactError: another process is writing.
        """
        me = (os.getpid(), _boot_id(), _started(os.getpid()))
        with self.transaction():
            held = self._db.execute("SELECT pid, boot, started FROM writer").fetchone()
            if held and held != me and _alive(*held):
                raise ArtefactError(f"process {held[0]} is writing to {self.path.parent}", "one writer at a time")
            self._db.execute("INSERT OR REPLACE INTO writer VALUES (1, ?, ?, ?)", me)
            run = int(self.setting("run", "0")) + 1
            self.set_settings({"run": str(run)})
        try:
            yield run
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("DELETE FROM writer WHERE pid = ?", (me[0],))

    def setting(self, key: str, default: str = "") -> str:
        """A setting of the archive, or the default."""
        row = self._db.execute("SELECT value FROM settings WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else default

    def set_settings(self, values: Mapping[str, str]) -> None:
        """Store settings."""
        self._db.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", list(values.items()))

    def known(self, image_id: str) -> dict[str, Any] | None:
        """What is known of an image that was stored before, so that it need not be decoded again."""
        row = self._db.execute(
            "SELECT said FROM statements WHERE image_id = ? AND state = 'stored' LIMIT 1", (image_id,)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def write(self, statements: Sequence[Statement], run: int) -> None:
        """Store what was said, in one transaction; earlier statements of the same file give way.

        All statements of one file must come in one call. A file's earlier refusal is forgotten, and so is what was
        said of the same bytes at the same place.
        """
        with self.transaction():
            for source, image_id in {(s.source, s.image_id) for s in statements}:
                self._db.execute(
                    "DELETE FROM statements WHERE source = ? AND run < ? AND (image_id = ? OR state = 'refused')",
                    (source, run, image_id),
                )
            self._db.executemany(
                "INSERT OR REPLACE INTO statements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (s.export, s.source, s.image_id, s.ordinal, s.row, "refused" if s.reason else "stored", s.reason,
                     json.dumps(dict(s.said), sort_keys=True), run)
                    for s in statements
                ],
            )  # fmt: skip

    def forget_refusals(self, export: str, run: int) -> None:
        """Drop the refusals of an export that its last complete reading did not repeat."""
        self._db.execute("DELETE FROM statements WHERE export = ? AND state = 'refused' AND run < ?", (export, run))

    def statements(self) -> tuple[Statement, ...]:
        """Everything that was said, in a fixed order."""
        rows = self._db.execute(
            "SELECT export, source, image_id, ordinal, row, reason, said FROM statements"
            " ORDER BY source, image_id, ordinal"
        )
        return tuple(Statement(*row[:6], said=json.loads(row[6])) for row in rows)

    def image_ids(self) -> tuple[str, ...]:
        """Images of the last finished ingest."""
        return tuple(row[0] for row in self._db.execute("SELECT image_id FROM images ORDER BY image_id"))

    def splits(self) -> dict[str, Split]:
        """The split of every patient that has one."""
        return {patient: Split(split) for patient, split in self._db.execute("SELECT patient_id, split FROM patients")}

    def write_outcome(
        self,
        images: Iterable[tuple[str, str]],
        quarantine: Iterable[tuple[str, int, str]],
        splits: Mapping[str, Split],
    ) -> None:
        """Store records' ids with patients, the quarantine and the patients' splits in one transaction."""
        with self.transaction():
            self._db.execute("DELETE FROM images")
            self._db.executemany("INSERT INTO images VALUES (?, ?, 'READY')", list(images))
            self._db.execute("DELETE FROM quarantine")
            self._db.executemany("INSERT INTO quarantine VALUES (?, ?, ?)", list(quarantine))
            self._db.executemany(
                "INSERT OR IGNORE INTO patients VALUES (?, ?)", [(p, s.value) for p, s in splits.items()]
            )

    def damage(self) -> str:
        """What SQLite's own check finds wrong, empty if nothing."""
        try:
            (found,) = self._db.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.DatabaseError as error:
            return str(error)
        return "" if found == "ok" else str(found)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """When a process started, in the kernel's ticks, so that a re-used number is not taken for the old process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _alive(pid: int, boot: str, started: str) -> bool:
    if boot != _boot_id():
        return False
    if started or os.name != "posix":
        return bool(started) and _started(pid) == started
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
