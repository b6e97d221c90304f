"""`verify`: read everything back and say what is damaged."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tapetum.archive.opened import open_archive
from tapetum.archive.store.catalog import FORGETTING, ROTATING, Catalog
from tapetum.archive.store.seal import broken_seal
from tapetum.archive.store.vault import Vault, archive_vault
from tapetum.core.errors import ArtefactError, TapetumError
from tapetum.core.store import META
from tapetum.core.types import ImageRecord

_READERS = 8
UNFINISHED = "changed by a run that did not finish; run the last ingest, forget or gc again"


def verify(path: Path | str) -> tuple[str, ...]:
    """What is damaged or missing in an archive; empty where all is well. Nothing is written.

    Every image file is read and held against its name, the snapshot against its digest, every other file against the
    seal, the catalog by SQLite's own check; snapshot, catalog and vault must speak of the same images.

    Raises:
        ArtefactError: there is no archive at `path`, or its first ingest never finished.
    """
    place, found = Path(path), list[str]()
    records: Sequence[ImageRecord] = ()
    settings: dict[str, Any] = {}
    changed, sealed_run = broken_seal(place)  # before anything is opened: opening a catalog may fold its log in
    try:
        archive = open_archive(place)
        records, settings = archive.records, json.loads((place / META).read_text(encoding="utf-8"))["config"]
        readable = True
    except (TapetumError, ValueError, KeyError, TypeError, AttributeError) as error:
        if not (place / META).exists() and not changed:
            raise
        found.append(f"the snapshot cannot be read: {str(error).splitlines()[0]}")
        readable = False
    run, catalogued, notes = _catalog(place, records if readable else None)
    if changed and run > sealed_run > 0:
        found.append(f"{', '.join(line.split()[0] for line in changed)}: {UNFINISHED}")
    else:
        found.extend(changed)
    found.extend(notes)
    try:
        vault = archive_vault(place, settings)
        found.extend(_images(vault, records, catalogued))
        found.extend(f"{part.relative_to(place)}: left by an interrupted run" for part in vault.leftovers())
        found.extend(f"{vault}/{name} is no image of the vault" for name in vault.strangers())
    except TapetumError as error:
        found.append(error.found)
    found.extend(f"{part.name}: left by an interrupted run" for part in sorted(place.glob(".*.part")))
    return tuple(found)


def _images(vault: Vault, records: Sequence[ImageRecord], catalogued: dict[str, str] | None) -> list[str]:
    """Images that are missing, changed, or that nothing speaks of; each is named by the file it came from."""
    wanted = {**(catalogued or {}), **{r.image_id: r.source for r in records}}
    there = vault.ids()
    found = [
        f"{wanted[i]}: image {i[:12]} is missing from the vault" for i in sorted(wanted.keys() - set(there))
    ]  # fmt: skip
    with ThreadPoolExecutor(_READERS) as readers:
        for image_id, digest in zip(there, readers.map(vault.digest, there), strict=True):
            source = wanted.get(image_id, "no row")
            if digest != image_id:
                found.append(f"{source}: image {image_id[:12]} has other bytes than it was stored with")
            elif catalogued is not None and image_id not in wanted:
                found.append(f"image {image_id[:12]} lies in the vault, but no row speaks of it (tapetum gc)")
    return found


def _catalog(
    place: Path, records: Sequence[ImageRecord] | None
) -> tuple[int, dict[str, str] | None, list[str]]:  # fmt: skip
    """The number of the last run, the images that the catalog speaks of (None if it cannot be read), what is wrong."""
    file = place / "catalog.sqlite"
    if not file.is_file():
        return 0, None, ["catalog.sqlite is missing: the archive can be read, but not added to"]
    try:
        catalog = Catalog(file, as_it_is=True)
    except (ArtefactError, sqlite3.Error) as error:
        return 0, None, [f"catalog.sqlite: {str(error).splitlines()[0]}"]
    try:
        damage = catalog.damage()
        if damage:
            return 0, None, [f"catalog.sqlite: {damage}"]
        stored = {s.image_id: s.source for s in catalog.statements() if not s.reason}
        found = list[str]()
        if records is not None and set(catalog.image_ids()) != {r.image_id for r in records}:
            found.append("catalog.sqlite: other images than the snapshot (run the last ingest again)")
        if catalog.setting(FORGETTING):
            found.append("catalog.sqlite: a patient is only half forgotten (run the same tapetum forget again)")
        if catalog.setting(ROTATING):
            found.append("catalog.sqlite: a change of key is not through (run the same tapetum rekey again)")
        if catalog.has("sights"):
            lost = [s.image_id for s in catalog.sights() if s.image_id not in stored]
            found.extend(
                f"catalog.sqlite: a sight of image {i[:12]}, of which no row speaks (tapetum gc)" for i in lost
            )
        return int(catalog.setting("run", "0")), stored, found
    except (sqlite3.Error, ValueError, KeyError, TypeError) as error:
        return 0, None, [f"catalog.sqlite: {type(error).__name__}: {error}"]
    finally:
        catalog.close()
