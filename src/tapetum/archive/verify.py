"""`verify`: read everything back and say what is damaged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tapetum.archive.catalog import Catalog
from tapetum.archive.opened import open_archive
from tapetum.archive.vault import Vault
from tapetum.core.errors import ArtefactError
from tapetum.core.store import file_digest


def verify(path: Path | str) -> tuple[str, ...]:
    """What is damaged or missing in an archive; empty where all is well.

    The snapshot is checked against its digest, every image file against its name, the catalog by SQLite's own check.

    Raises:
        ArtefactError: there is no archive at `path`, or its snapshot cannot be read at all.
    """
    place = Path(path)
    archive = open_archive(place)
    vault, found = Vault(place / "vault"), list[str]()
    for record in archive.records:
        file = vault.place(record.image_id)
        if not file.is_file():
            found.append(f"{record.source}: image {record.image_id[:12]} is missing from the vault")
        elif file_digest(file) != record.image_id:
            found.append(f"{record.source}: image {record.image_id[:12]} has other bytes than it was stored with")
    found.extend(
        f"{part.relative_to(place)}: left by an interrupted ingest"
        for part in (*vault.leftovers(), *place.glob(".*.part"))
    )
    if not (place / "catalog.sqlite").is_file():
        return (*found, "catalog.sqlite is missing: the archive can be read, but not added to")
    try:
        catalog = Catalog(place / "catalog.sqlite")
    except (ArtefactError, sqlite3.Error) as error:
        return (*found, f"catalog.sqlite: {error}")
    try:
        damage = catalog.damage()
        if damage:
            found.append(f"catalog.sqlite: {damage}")
        elif set(catalog.image_ids()) != {r.image_id for r in archive.records}:
            found.append("catalog.sqlite: other images than the snapshot (run the last ingest again)")
    finally:
        catalog.close()
    return tuple(found)
