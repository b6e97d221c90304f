"""Another key for a whole archive: every pseudonym, UID and date in it changes, as if it had been ingested with it.

First the objects in the vault are written anew beside the old ones, then the catalog changes in one transaction, then
everything that follows from it is written and what is old is thrown away. A kill before the transaction leaves the old
archive, one after it the new one with old files that the next call takes out.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tapetum.archive.deidentify.key import Key, check_apart
from tapetum.archive.deidentify.rekeyed import is_object, pseudonym_in, rekeyed
from tapetum.archive.ingest import IngestSummary, finish
from tapetum.archive.intake.resolve import ORIGIN
from tapetum.archive.intake.veil import OBJECT, Veil
from tapetum.archive.store.catalog import FORGETTING, REDRAWN, ROTATING, Catalog, Identity, Statement
from tapetum.archive.store.vault import Vault, archive_vault, content_id
from tapetum.archive.upkeep import caches
from tapetum.archive.upkeep.rows import Rows
from tapetum.core.errors import ArtefactError, UsageError

_EARLIER = "an export that was ingested by this version"


@dataclass(frozen=True)
class Rotated:
    """What follows the new key now: images, those in quarantine left out, and their patients."""

    images: int
    patients: int


def rotate(path: Path | str, old: Key, new: Key, *, keep_splits: bool = False) -> Rotated:
    """Give an archive another key; the old one opens nothing in it afterwards.

    Files are read again at the next ingest, and found unchanged. Killed at any moment and run again, it ends in the
    same archive.

    Args:
        path: the archive.
        old: its present key.
        new: the key it is to have, not kept inside it.
        keep_splits: patients stay in their splits. Otherwise splits that the export does not give are drawn anew, as an
            ingest with the new key would: models of before must then be trained again, their test patients changed.

    Returns:
        How much follows the new key.

    Raises:
        UsageError: no archive with pseudonyms, one key twice, or a key inside the archive.
        ArtefactError: another key than the archive's, an archive of before keys could be changed, damage, a full disk,
            an unfinished `forget`, or another process writes.
    """
    place = Path(path)
    if not (place / "catalog.sqlite").is_file():
        raise ArtefactError(f"{place} has no catalog", "an archive that ingest wrote")
    for key in (old, new):
        if key.path is not None:
            check_apart(key.path, [place])
    if old.id == new.id:
        raise UsageError("the old key and the new one are the same", "a new key", "--new-key OTHER")
    try:
        catalog = Catalog(place / "catalog.sqlite")
        try:
            with catalog.writing():
                settings = _settings(catalog, old, new)
                vault, veil = archive_vault(place, settings), Veil(new, settings["deidentify"])
                if settings["key_id"] == old.id:
                    settings |= {"key_id": new.id}
                    _Rotation(catalog, vault, Veil(old, settings["deidentify"]), veil).run(settings, keep_splits)
                done = _complete(place, catalog, vault, settings, veil)
        finally:
            catalog.close()
    except (OSError, sqlite3.OperationalError) as error:
        raise ArtefactError(
            f"writing to {place} failed: {error}", "a disk with room that can be written",
            "make room and run the same again",
        ) from error  # fmt: skip
    return Rotated(done.images, done.patients)


def _settings(catalog: Catalog, old: Key, new: Key) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads(catalog.setting("archive", "{}"))
    if settings.get("deidentify", "none") == "none":
        raise UsageError("the archive holds no pseudonyms", "an archive that was ingested with a key", "")
    if settings["key_id"] not in (old.id, new.id):
        raise ArtefactError(f"the key is {old.id}", f"key {settings['key_id']}, the archive's own", "--key PATH")
    if catalog.setting(FORGETTING):
        raise ArtefactError("a patient is only half forgotten", "an archive at rest", "run the same tapetum forget")
    return settings


def _complete(place: Path, catalog: Catalog, vault: Vault, settings: Mapping[str, Any], veil: Veil) -> IngestSummary:
    """Records, quarantine and snapshot from the new statements; then nothing of before is left in any file."""
    done = finish(catalog, vault, place, dict(settings), (), veil)
    gone = frozenset(json.loads(catalog.setting(ROTATING, "[]")))
    vault.remove(sorted(gone))
    for file in caches.unknown_files(place / ".cache"):
        file.unlink(missing_ok=True)
    for shard in caches.shards(place / ".cache"):
        if caches.has_other_rows(shard, lambda i: i not in gone):
            caches.drop_rows(shard, lambda i: i not in gone)
    with catalog.transaction():
        catalog.connection.execute("DELETE FROM settings WHERE key = ?", (ROTATING,))
    Rows(catalog).overwrite()
    return done


class _Rotation:
    """What the catalog and the vault hold, under the new key."""

    def __init__(self, catalog: Catalog, vault: Vault, old: Veil, new: Veil) -> None:
        self._catalog, self._db, self._vault = catalog, catalog.connection, vault
        self._old, self._new = old, new
        self._known = {(i.kind, i.pseudonym): i.sealed for i in catalog.identities()}
        self._identities: dict[tuple[str, str], bytes] = {}
        self._images: dict[str, str] = {"": ""}

    def run(self, settings: Mapping[str, Any], keep_splits: bool) -> None:
        """New objects into the vault, then new rows into the catalog, all at once."""
        ids = Rows(self._catalog).image_ids()
        for image_id in sorted(ids):
            self._images[image_id] = self._object(image_id)
        query = "SELECT source, image_id, ordinal, run FROM statements"
        runs = {(source, image, ordinal): run for source, image, ordinal, run in self._db.execute(query)}
        rows = [(self._statement(s), runs[s.source, s.image_id, s.ordinal]) for s in self._catalog.statements()]
        members = self._of_patients("SELECT patient_id, first, last FROM members")
        splits = self._of_patients("SELECT patient_id, split FROM patients") if keep_splits else []
        # Those of an earlier rotation that was not through go as well.
        gone = (ids | set(json.loads(self._catalog.setting(ROTATING, "[]")))) - set(self._images.values())
        with self._catalog.transaction():
            for table in ("statements", "identities", "members", "patients", "images", "quarantine", "seen", "cursors"):
                self._db.execute(f"DELETE FROM {table}")
            self._db.executemany(
                "INSERT INTO statements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (s.export, s.source, s.image_id, s.ordinal, s.row, "refused" if s.reason else "stored", s.reason,
                     json.dumps(dict(s.said), sort_keys=True), run)
                    for s, run in rows
                ),
            )  # fmt: skip
            self._db.executemany("INSERT INTO members VALUES (?, ?, ?)", members)
            self._db.executemany("INSERT INTO patients VALUES (?, ?)", splits)
            self._db.executemany(
                "INSERT INTO identities VALUES (?, ?, ?)", ((*k, v) for k, v in self._identities.items())
            )
            self._sights()
            self._catalog.set_settings(
                {
                    "archive": json.dumps(dict(settings), sort_keys=True),
                    ROTATING: json.dumps(sorted(gone)),
                    **({} if keep_splits else {REDRAWN: self._catalog.setting("run", "0")}),
                }
            )

    def _sights(self) -> None:
        """Sights follow their images; those of images that no row speaks of go."""
        for (image_id,) in self._db.execute("SELECT image_id FROM sights").fetchall():
            made = self._images.get(image_id, "")
            if not made:
                self._db.execute("DELETE FROM sights WHERE image_id = ?", (image_id,))
            elif made != image_id:
                self._db.execute("UPDATE sights SET image_id = ? WHERE image_id = ?", (made, image_id))

    def _object(self, image_id: str) -> str:
        """The image's new id, its new bytes in the vault; other files than DICOM objects stay."""
        data = self._vault.read(image_id)
        if content_id(data) != image_id:
            raise ArtefactError(f"image {image_id[:12]} has other bytes than it was stored with", "", "tapetum verify")
        if not is_object(data):
            return image_id
        replaced: dict[str, str] = json.loads(self._original(OBJECT, image_id))
        patient = self._original("patient", pseudonym_in(data))
        made = rekeyed(data, self._old.names, self._new.names, patient, replaced)
        new_id = content_id(made)
        self._vault.put([(new_id, made)])
        self._keep(
            self._new.object(
                new_id, {self._renamed(pseudonym, original): original for pseudonym, original in replaced.items()}
            )
        )
        return new_id

    def _renamed(self, pseudonym: str, original: str) -> str:
        names = self._new.names
        return names.uid(original) if pseudonym.startswith("2.25.") else names.token(original, "accession")

    def _statement(self, statement: Statement) -> Statement:
        """A statement under new pseudonyms."""
        said, image_id = dict(statement.said), self._images[statement.image_id]
        export = self._file(statement.export)
        if not statement.reason:
            if ORIGIN not in said:
                raise ArtefactError("the archive does not keep what its pseudonyms follow from", _EARLIER, "ingest it")
            hidden = self._new.hide(self._old.origin(self._known[ORIGIN, said[ORIGIN]]))
            said |= {
                "patient_id": hidden.patient_id, "visit_id": hidden.visit_id, "captured": hidden.captured,
                ORIGIN: hidden.origin,
            }  # fmt: skip
            if hidden.report is not None:
                said["report"] = hidden.report
            self._keep(hidden.identities)
            return replace(statement, export=export, source=hidden.file, image_id=image_id, said=said)
        if "patient_id" in said:
            said["patient_id"] = self._patient(said["patient_id"])
        source = self._file(statement.source)
        reason = self._known.get(("reason", statement.source))
        if reason is not None:
            self._identities["reason", source] = self._new.names.seal(self._old.names.unseal(reason))
        return replace(statement, export=export, source=source, image_id=image_id, said=said)

    def _patient(self, pseudonym: str) -> str:
        original = self._original("patient", pseudonym)
        made = self._new.patient(original)
        self._identities["patient", made] = self._new.names.seal(original)
        return made

    def _of_patients(self, query: str) -> list[tuple[Any, ...]]:
        """Rows that begin with a patient, under new pseudonyms; those whom the archive no longer knows are left out."""
        rows = self._db.execute(query).fetchall()
        return [(self._patient(patient), *rest) for patient, *rest in rows if ("patient", patient) in self._known]

    def _file(self, token: str) -> str:
        original = self._original("file", token)
        self._keep(self._new.sealed(original))
        return self._new.file(original)

    def _original(self, kind: str, pseudonym: str) -> str:
        """What a pseudonym stands for.

        Raises:
            ArtefactError: it was not kept: the archive is of an earlier version.
        """
        sealed = self._known.get((kind, pseudonym))
        if sealed is None:
            raise ArtefactError(f"the archive does not keep what a {kind} stands for", _EARLIER, "ingest it again")
        return self._old.names.unseal(sealed)

    def _keep(self, identities: tuple[Identity, ...]) -> None:
        self._identities |= {(i.kind, i.pseudonym): i.sealed for i in identities}
