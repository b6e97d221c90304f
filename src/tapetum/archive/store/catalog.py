"""The catalog: what the exports said, row by row, in SQLite (WAL, synchronous=FULL): a killed ingest loses nothing.

Only statements (one per row of an export) are written while images come in. What follows from them (records,
quarantine, splits) is computed from all statements at the end and written in one transaction: an ingest that was
interrupted and run again ends where an uninterrupted one does.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from tapetum.archive.store.migrations import migrate
from tapetum.archive.store.seal import write_seal
from tapetum.archive.store.writerlock import is_alive, this_process
from tapetum.core.errors import ArtefactError
from tapetum.core.store import META
from tapetum.core.types import Split

_WAIT_SECONDS = 30
FORGETTING = "forgetting"  # the setting that a `forget` keeps until it is through
ROTATING = "rotating"  # the same of a change of key: the images that are to go
REDRAWN = "redrawn"  # the run in which the parts of the patients were last drawn anew


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


@dataclass(frozen=True, eq=False)
class SightRow:
    """What was seen of an image when it was decoded, so that it need not be decoded again.

    Attributes:
        image_id: SHA-256 of the stored bytes. facts: size, format, pixel digest and so on; plain JSON values.
        texture: descriptor for the search of duplicates, kept as float16. quality: features, kept as float32.
    """

    image_id: str
    facts: Mapping[str, Any]
    texture: Float[np.ndarray, "d"]
    quality: Float32[np.ndarray, "q"]


@dataclass(frozen=True)
class Identity:
    """What a pseudonym stands for, sealed with a key that does not lie in the archive.

    Attributes:
        kind: `patient`, `accession`, `uid` and so on. pseudonym: as in the archive. sealed: opaque bytes.
    """

    kind: str
    pseudonym: str
    sealed: bytes


class Catalog:
    """The open catalog of one archive; `writing()` takes the single writer's lock.

    Args:
        path: of the SQLite file, made where there is none.
        as_it_is: for checking: an older schema is not brought to this version, nothing is written.

    Raises:
        ArtefactError: the file is damaged, or newer than this version of the package.
    """

    def __init__(self, path: Path, *, as_it_is: bool = False) -> None:
        self.path, self._as_it_is = path, as_it_is
        self._opened = self._stamp() if path.exists() else (0, 0)
        self._db = sqlite3.connect(path, isolation_level=None, timeout=_WAIT_SECONDS)
        try:
            if as_it_is:
                self.setting("run")
                return
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten, not only unlinked
            with self.transaction():
                migrate(self._db)
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise ArtefactError(f"the catalog {path} is damaged: {error}", "an SQLite file", "") from None
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file: the write-ahead log is folded in, and what was written is sealed against silent damage.

        Nothing is lost where that fails: the next close does it, and until then `verify` says that a run is unfinished.
        """
        changed, run = False, 0
        with contextlib.suppress(sqlite3.Error, ValueError):
            run = int(self.setting("run", "0"))
            # What a killed process left in the log changes the file too, when it is folded in; so does a clean-up.
            changed = not self._as_it_is and self.fold_log(wait_seconds=1.0) and self._stamp() != self._opened
        self._db.close()
        if changed:
            with contextlib.suppress(OSError):
                write_seal(self.path.parent, run)

    def _stamp(self) -> tuple[int, int]:
        """When the file was last written, and how long it is."""
        found = self.path.stat()
        return found.st_mtime_ns, found.st_size

    def fold_log(self, *, wait_seconds: float) -> bool:
        """Fold the write-ahead log into the file and empty it; False where a reader is still in the way."""
        self._db.execute(f"PRAGMA busy_timeout={int(wait_seconds * 1000)}")
        busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._db.execute(f"PRAGMA busy_timeout={_WAIT_SECONDS * 1000}")
        return not busy

    @property
    def connection(self) -> sqlite3.Connection:
        """The open database, for what looks after an archive."""
        return self._db

    @contextlib.contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """All or nothing, flushed to disk at the end."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def writing(self) -> Generator[int, None, None]:
        """Hold the single writer's lock; yields the number of this run. A lock whose process is gone is taken over.

        Raises:
            ArtefactError: another process is writing.
        """
        me = this_process()
        with self.transaction():
            held = self._db.execute("SELECT pid, boot, started FROM writer").fetchone()
            if held and held != me and is_alive(*held):
                raise ArtefactError(f"process {held[0]} is writing to {self.path.parent}", "one writer at a time")
            self._db.execute("INSERT OR REPLACE INTO writer VALUES (1, ?, ?, ?)", me)
            run = int(self.setting("run", "0")) + 1
            self.set_settings({"run": str(run)})
            self._note_snapshot()
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

    def write(
        self,
        statements: Sequence[Statement],
        run: int,
        *,
        sights: Iterable[SightRow] = (),
        identities: Iterable[Identity] = (),
        seen: Mapping[str, str] | None = None,
    ) -> None:
        """Store what was said and seen, in one transaction; earlier statements of the same file give way.

        All statements of one file must come in one call. A file's earlier refusal is forgotten, and so is what was
        said of the same bytes at the same place.

        Args:
            statements: one per row of an export.
            run: number of this run, as `writing()` gave it.
            sights: of the images that were decoded.
            identities: what the pseudonyms of these statements stand for.
            seen: keyed digest of a file as it was exported → id of the image that was stored for it.
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
            self._db.executemany(
                "INSERT OR REPLACE INTO sights VALUES (?, ?, ?, ?)",
                (
                    (s.image_id, json.dumps(dict(s.facts), sort_keys=True), np.asarray(s.texture, "<f2").tobytes(),
                     np.asarray(s.quality, "<f4").tobytes())
                    for s in sights
                ),
            )  # fmt: skip
            self._db.executemany(
                "INSERT OR REPLACE INTO identities VALUES (?, ?, ?)",
                ((i.kind, i.pseudonym, i.sealed) for i in identities),
            )
            self._db.executemany(
                "INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", ((d, i, run) for d, i in (seen or {}).items())
            )

    def sight(self, image_id: str) -> SightRow | None:
        """What was seen of an image, None where it was not looked at yet."""
        row = self._db.execute("SELECT * FROM sights WHERE image_id = ?", (image_id,)).fetchone()
        return None if row is None else _sight(row)

    def sights(self) -> Iterator[SightRow]:
        """All sights, sorted by image id, read one by one."""
        return map(_sight, self._db.execute("SELECT * FROM sights ORDER BY image_id"))

    def identities(self) -> tuple[Identity, ...]:
        """All sealed identities, sorted by kind and pseudonym."""
        return tuple(Identity(*row) for row in self._db.execute("SELECT * FROM identities ORDER BY kind, pseudonym"))

    def identity(self, kind: str, pseudonym: str) -> Identity | None:
        """What a pseudonym stands for, sealed; None where the archive does not know it."""
        row = self._db.execute(
            "SELECT * FROM identities WHERE kind = ? AND pseudonym = ?", (kind, pseudonym)
        ).fetchone()
        return None if row is None else Identity(*row)

    def was_seen(self, source_digest: str) -> str | None:
        """The image that was stored for a file with this keyed digest, None where none was."""
        row = self._db.execute("SELECT image_id FROM seen WHERE source_digest = ?", (source_digest,)).fetchone()
        return None if row is None else str(row[0])

    def cursor(self, source: str) -> str | None:
        """How far a source was read, as `set_cursor` left it; None where it never was."""
        row = self._db.execute("SELECT value FROM cursors WHERE source = ?", (source,)).fetchone()
        return None if row is None else str(row[0])

    def set_cursor(self, source: str, value: str) -> None:
        """Note how far a source was read; to be called after what was read is on disk."""
        self._db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?)", (source, value))

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
            run = self.setting("run", "0")
            self._db.execute(
                "INSERT INTO members SELECT DISTINCT patient_id, ?, ? FROM images WHERE true"
                " ON CONFLICT (patient_id) DO UPDATE SET last = excluded.last",
                (int(run), int(run)),
            )
            self.set_settings({"outcome_run": run})

    def snapshots_with(self, patient_id: str) -> tuple[str, ...]:
        """Digests of the snapshots that held a patient, the present one too where a run has begun since it was written.

        A patient who left and came back counts as present in between: rather one snapshot too many than one too few.
        """
        rows = self._db.execute(
            "SELECT digest FROM snapshots JOIN members ON run BETWEEN first AND last WHERE patient_id = ?"
            " ORDER BY run, digest",
            (patient_id,),
        )
        return tuple(digest for (digest,) in rows)

    def splits_of(self, digest: str) -> dict[str, Split] | None:
        """Whom an earlier snapshot held, and in which part of the patients; parts do not change between snapshots.

        Returns:
            Patient → part, `Split.NONE` for all where the parts were drawn anew since; None for a digest that is not
            known here.
        """
        if not self.has("snapshots"):
            return None
        found = self._db.execute("SELECT run FROM snapshots WHERE digest = ? ORDER BY run DESC", (digest,)).fetchone()
        if found is None:
            return None
        rows = self._db.execute("SELECT patient_id FROM members WHERE ? BETWEEN first AND last", found)
        told = found[0] >= int(self.setting(REDRAWN, "0"))
        splits = self.splits() if told else {}
        return {patient: splits.get(patient, Split.NONE) for (patient,) in rows}

    def has(self, table: str) -> bool:
        """Whether a table is there; an older schema that was opened as it is lacks some."""
        return self._db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None

    def damage(self) -> str:
        """What SQLite's own check finds wrong, empty if nothing."""
        try:
            (found,) = self._db.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.DatabaseError as error:
            return str(error)
        return "" if found == "ok" else str(found)

    def _note_snapshot(self) -> None:
        """Keep the digest of the snapshot that stands now: which patients it held must be known after it is replaced.

        Called when a run begins, before anything can replace it.
        """
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            digest = json.loads((self.path.parent / META).read_text(encoding="utf-8"))["digest"]
            run = int(self.setting("outcome_run", "0"))
            self._db.execute("INSERT OR IGNORE INTO snapshots VALUES (?, ?)", (digest, run))


def _sight(row: tuple[str, str, bytes, bytes]) -> SightRow:
    return SightRow(row[0], json.loads(row[1]), np.frombuffer(row[2], "<f2"), np.frombuffer(row[3], "<f4"))
