"""`forget`: take a patient out of everything that an archive holds, so that the bytes are gone.

A killed `forget` is gone on with by running it again: what is left to do stands in the catalog until all is done.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tapetum.archive.opened import Archive, open_archive
from tapetum.archive.store.catalog import FORGETTING, Catalog
from tapetum.archive.store.snapshot import KIND, write_snapshot
from tapetum.archive.store.vault import archive_vault
from tapetum.archive.upkeep import caches
from tapetum.archive.upkeep.descent import descendants
from tapetum.archive.upkeep.rows import Rows, Traces, names
from tapetum.core.errors import ArtefactError, DataError
from tapetum.core.store import META, atomic_write, read_meta


@dataclass(frozen=True)
class Forgotten:
    """What a patient left behind, and where the patient is still to be found.

    Attributes:
        images: ids of the images that were deleted. files: other files that were written anew or deleted.
        checkpoints: folders of models that were trained on a snapshot with the patient, or on such a model.
        artefacts: folders of embeddings, predictions and other results made from such a snapshot or model.
        mentions: texts of other patients that name this one; they were left alone, a person must look at them.
    """

    images: tuple[str, ...]
    files: tuple[str, ...]
    checkpoints: tuple[Path, ...]
    artefacts: tuple[Path, ...]
    mentions: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """What is to be done, as the catalog keeps it until it is."""

    patient: str
    images: tuple[str, ...]
    refused: tuple[tuple[str, int], ...]
    digests: tuple[str, ...]


def forget(path: Path | str, patient_id: str, *, search: Iterable[Path | str] = ()) -> Forgotten:
    """Delete a patient from vault, catalog, snapshot, quarantine and caches, and say which models saw the patient.

    Images that another patient claims too go as well. The export that they came from is not touched: ingested again,
    it brings the patient back.

    Args:
        path: the archive.
        patient_id: as the archive knows it (the pseudonym where the archive is pseudonymised).
        search: folders below which checkpoints and other artefacts are looked for.

    Raises:
        DataError: the archive knows no such patient. ArtefactError: no archive, a damaged one, or it is in use.
    """
    place = Path(path)
    if not (place / "catalog.sqlite").is_file():
        raise ArtefactError(f"{place} has no catalog", "an archive that ingest wrote")
    archive = open_archive(place) if (place / META).exists() else None
    catalog = Catalog(place / "catalog.sqlite")
    try:
        with catalog.writing():
            rows = Rows(catalog)
            task = _begin(catalog, rows, archive, patient_id)
            files = _rewrite(place, archive, task)
            vault = archive_vault(place, json.loads(catalog.setting("archive", "{}")))
            vault.remove(task.images)
            for part in (*vault.leftovers(), *place.glob(".*.part")):
                part.unlink(missing_ok=True)
                files.append(part.relative_to(place).as_posix())
            files += _clean_cache(place, task.images)
            rows.overwrite()
            with catalog.transaction():
                catalog.connection.execute("DELETE FROM settings WHERE key = ?", (FORGETTING,))
            mentions = _mentions(catalog, patient_id)
    finally:
        catalog.close()
    checkpoints, others = descendants(task.digests, search)
    return Forgotten(task.images, tuple(files), checkpoints, others, mentions)


def _begin(catalog: Catalog, rows: Rows, archive: Archive | None, patient_id: str) -> _Task:
    """Delete the patient's rows; what else is to be done is noted in the same transaction."""
    waiting = json.loads(catalog.setting(FORGETTING, "null")) or {"patient": patient_id}
    if waiting["patient"] != patient_id:
        raise ArtefactError(
            "an earlier forget of another patient was interrupted", "one at a time",
            f"tapetum forget {waiting['patient']} …",
        )  # fmt: skip
    records = archive.records if archive else ()
    traces = rows.traces(patient_id, {r.image_id for r in records if r.patient_id == patient_id})
    if not (traces.statements or traces.images or len(waiting) > 1 or traces.pseudonyms or rows.knows(patient_id)):
        raise DataError(f"the archive knows no patient {patient_id!r}", "a patient_id of its records")
    digests = {*waiting.get("digests", ()), *catalog.snapshots_with(patient_id)}
    if archive and any(r.patient_id == patient_id for r in records):
        digests.add(archive.digest)
    refused = {(s.source, s.row) for s in traces.statements}
    refused |= {(str(file), int(row)) for file, row in waiting.get("refused", ())}
    images = {*waiting.get("images", ()), *traces.images}
    task = _Task(patient_id, tuple(sorted(images)), tuple(sorted(refused)), tuple(sorted(digests)))
    with catalog.transaction():
        catalog.set_settings({FORGETTING: json.dumps(dataclasses.asdict(task))})
        rows.delete_patient(patient_id, Traces(traces.statements, frozenset(images), traces.pseudonyms))
    return task


def _rewrite(place: Path, archive: Archive | None, task: _Task) -> list[str]:
    """Write the snapshot without the patient; the one before is deleted with it."""
    if archive is None:
        return []
    named, refused, images = names(task.patient), set(task.refused), set(task.images)
    records = [r for r in archive.records if r.patient_id != task.patient and r.image_id not in images]
    quarantine = [
        q for q in archive.quarantine if (q.file, q.row) not in refused and not named.search(f"{q.file}\n{q.reason}")
    ]
    write_snapshot(place, records, quarantine, read_meta(place, KIND).config)
    # The command line that is kept with a snapshot would name the patient.
    meta = json.loads((place / META).read_text(encoding="utf-8"))
    atomic_write(place / META, json.dumps({**meta, "command": "tapetum forget"}, indent=1) + "\n")
    return sorted(p.name for p in place.iterdir() if p.name == META or p.suffix in (".parquet", ".csv"))


def _clean_cache(place: Path, images: Sequence[str]) -> list[str]:
    """Drop the images' rows from the caches; files that cannot be read as rows are deleted, they can be made again."""
    cache, gone = place / ".cache", set(images)
    changed = list(caches.unknown_files(cache))
    for file in changed:
        file.unlink(missing_ok=True)
    for shard in caches.shards(cache):
        if caches.has_other_rows(shard, lambda i: i not in gone):
            caches.drop_rows(shard, lambda i: i not in gone)
            changed.append(shard)
    return [f.relative_to(place).as_posix() for f in changed]


def _mentions(catalog: Catalog, patient_id: str) -> tuple[str, ...]:
    """Where rows of other patients name this one."""
    named = names(patient_id)
    return tuple(
        f"row {s.row} of {s.export}: {s.image_id[:12] or 'no image'}"
        for s in catalog.statements()
        if named.search(s.source) or named.search(json.dumps(dict(s.said), ensure_ascii=False))
    )
