"""Rows of the catalog that must go: those of images that are gone, and those of a patient."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass

from tapetum.archive.intake.resolve import ORIGIN
from tapetum.archive.store.catalog import Catalog, Statement
from tapetum.core.errors import ArtefactError

# Kinds of identities that rows and images lead to.
_KINDS = ("patient", "file", "reason", "visit", "origin", "object")


@dataclass(frozen=True)
class Traces:
    """What a catalog holds of one patient.

    Attributes:
        statements: the patient's, all others that speak of the same images, and refusals that name the patient.
        images: ids of the patient's images. pseudonyms: the patient's id and what stands for other ids of the patient.
    """

    statements: tuple[Statement, ...]
    images: frozenset[str]
    pseudonyms: frozenset[tuple[str, str]]


def names(patient_id: str) -> re.Pattern[str]:
    """Finds a patient's id where it stands alone: `p1` in `p1_left.png`, not in `p12`."""
    return re.compile(rf"(?<![0-9A-Za-z]){re.escape(patient_id)}(?![0-9A-Za-z])")


class Rows:
    """The rows of an open catalog, for upkeep; deletions need the writer's lock."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._db = catalog.connection

    def image_ids(self) -> set[str]:
        """All images that a row speaks of, those in quarantine too."""
        return {i for (i,) in self._db.execute("SELECT DISTINCT image_id FROM statements WHERE image_id <> ''")}

    def delete_lost(self, known: Collection[str], *, dry_run: bool) -> int:
        """Delete sights and digests of images that are not known, and identities of which no row speaks.

        Returns:
            How many there are.
        """
        lost = [
            (table, image_id)
            for table in ("sights", "seen")
            for (image_id,) in self._db.execute(f"SELECT image_id FROM {table}")
            if image_id not in known
        ]
        strangers = self._strangers(known)
        if not dry_run:
            with self._catalog.transaction():
                for table, image_id in lost:
                    self._db.execute(f"DELETE FROM {table} WHERE image_id = ?", (image_id,))
                self._db.executemany("DELETE FROM identities WHERE kind = ? AND pseudonym = ?", strangers)
        return len(lost) + len(strangers)

    def traces(self, patient_id: str, images: Collection[str]) -> Traces:
        """What the catalog holds of a patient.

        Args:
            patient_id: as the archive knows it.
            images: known from elsewhere (the snapshot) to be the patient's.
        """
        everything, named = self._catalog.statements(), names(patient_id)
        own = {s.image_id for s in everything if s.said.get("patient_id") == patient_id} | {*images} - {""}
        found = tuple(
            s
            for s in everything
            if s.said.get("patient_id") == patient_id
            or s.image_id in own
            or (s.reason and (named.search(s.source) or named.search(s.reason)))
        )
        texts = "\n".join(f"{s.source}\n{json.dumps(dict(s.said), ensure_ascii=False)}" for s in found)
        return Traces(
            found,
            frozenset(own - {""}),
            frozenset(
                (i.kind, i.pseudonym)
                for i in self._catalog.identities()
                if i.pseudonym == patient_id or i.pseudonym in own or names(i.pseudonym).search(texts)
            ),
        )

    def knows(self, patient_id: str) -> bool:
        """Whether any table names the patient by id."""
        return any(
            self._db.execute(f"SELECT 1 FROM {table} WHERE patient_id = ?", (patient_id,)).fetchone()
            for table in ("patients", "images", "members")
        )

    def delete_patient(self, patient_id: str, traces: Traces) -> None:
        """Delete all that the catalog holds of a patient; to be called inside a transaction."""
        keys = [(s.source, s.image_id, s.ordinal) for s in traces.statements]
        self._db.executemany("DELETE FROM statements WHERE source = ? AND image_id = ? AND ordinal = ?", keys)
        for table in ("images", "sights", "seen"):
            self._db.executemany(f"DELETE FROM {table} WHERE image_id = ?", [(i,) for i in traces.images])
        for table in ("patients", "images", "members"):
            self._db.execute(f"DELETE FROM {table} WHERE patient_id = ?", (patient_id,))
        self._db.executemany("DELETE FROM identities WHERE kind = ? AND pseudonym = ?", list(traces.pseudonyms))
        # What an earlier ingest said of the patient, under pseudonyms that no row has any more.
        self._db.executemany(
            "DELETE FROM identities WHERE kind = ? AND pseudonym = ?", self._strangers(self.image_ids())
        )
        gone = {(s.source, s.row) for s in traces.statements}
        for number, file, row, reason in self._db.execute("SELECT rowid, * FROM quarantine").fetchall():
            if (file, row) in gone or names(patient_id).search(f"{file}\n{reason}"):
                self._db.execute("DELETE FROM quarantine WHERE rowid = ?", (number,))

    def _strangers(self, known: Collection[str]) -> list[tuple[str, str]]:
        """Identities that nothing in the catalog leads to: neither a row nor a known image."""
        spoken = set(known)
        for s in self._catalog.statements():
            spoken |= {s.export, s.source, *(str(s.said.get(name)) for name in ("patient_id", "visit_id", ORIGIN))}
        return [
            (i.kind, i.pseudonym) for i in self._catalog.identities() if i.kind in _KINDS and i.pseudonym not in spoken
        ]

    def overwrite(self) -> None:
        """Write the file anew without what was deleted, and empty the log that still holds it.

        Raises:
            ArtefactError: another process reads the catalog, so the log cannot be emptied.
        """
        self._db.execute("PRAGMA temp_store=MEMORY")  # no copy of the catalog in a temporary file
        self._db.execute("VACUUM")
        if not self._catalog.fold_log(wait_seconds=2.0):
            raise ArtefactError(
                "another process reads the catalog, so deleted rows cannot be overwritten yet", "no reader",
                "run the same again when it has ended",
            )  # fmt: skip
