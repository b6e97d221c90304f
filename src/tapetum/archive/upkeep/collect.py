"""`gc`: what crashes, changed exports and changed settings left behind, and nothing needs any more."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

from tapetum.archive.opened import open_archive
from tapetum.archive.store.catalog import Catalog
from tapetum.archive.store.snapshot import snapshot_file
from tapetum.archive.store.vault import archive_vault
from tapetum.archive.upkeep import caches
from tapetum.archive.upkeep.rows import Rows


@dataclass(frozen=True)
class Collected:
    """What was thrown away, or would be.

    Attributes:
        images: ids of images in the vault that no row speaks of. files: leftovers, by their path in the archive.
        bytes: of both. rows: of the catalog. dry_run: nothing was touched.
    """

    images: tuple[str, ...]
    files: tuple[str, ...]
    bytes: int
    rows: int
    dry_run: bool


def gc(path: Path | str, *, dry_run: bool = False) -> Collected:
    """Throw away what nothing needs: orphans in the vault, parts of files, old snapshots, rows of images that are gone.

    Images in quarantine stay: a later ingest may release them.

    Args:
        path: the archive.
        dry_run: only say what would go.

    Raises:
        ArtefactError: no archive there, a damaged one (`tapetum verify` first), or another process is writing.
    """
    place = Path(path)
    archive = open_archive(place)  # a damaged snapshot stops here: nothing is thrown away on its word
    # To look needs no lock and must leave no trace; an older schema is brought to this version first.
    catalog = Catalog(place / "catalog.sqlite", as_it_is=dry_run and _is_current(place))
    try:
        with contextlib.nullcontext() if dry_run else catalog.writing():
            settings = json.loads(catalog.setting("archive", "{}"))
            vault, rows = archive_vault(place, settings), Rows(catalog)
            known = rows.image_ids() | {r.image_id for r in archive.records}
            images = tuple(i for i in vault.ids() if i not in known)
            stale = [s for s in caches.shards(place / ".cache") if caches.has_other_rows(s, known.__contains__)]
            leftovers = [
                *vault.leftovers(),
                *sorted(place.glob(".*.part")),
                *sorted(f for f in place.glob("records-*.parquet") if f != snapshot_file(place, archive.digest)),
            ]
            size = sum(map(vault.size, images)) + sum(f.stat().st_size for f in leftovers)
            number = rows.delete_lost(known, dry_run=dry_run)
            if not dry_run:
                vault.remove(images)
                for file in leftovers:
                    file.unlink(missing_ok=True)
                for shard in stale:
                    caches.drop_rows(shard, known.__contains__)
    finally:
        catalog.close()
    files = tuple(f.relative_to(place).as_posix() for f in (*leftovers, *stale))
    return Collected(images, files, size, number, dry_run)


def _is_current(place: Path) -> bool:
    """Whether the catalog has all tables of this version."""
    catalog = Catalog(place / "catalog.sqlite", as_it_is=True)
    try:
        return catalog.has("sights")
    finally:
        catalog.close()
