"""A clinic's export in, an archive out; what cannot be taken is quarantined with its reason, the rest is taken.

Running again changes nothing. Killed at any moment and run again, it ends in the same archive.
"""

from __future__ import annotations

import dataclasses
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tapetum.archive.config import IngestConfig
from tapetum.archive.exports.finding import Export, find_export
from tapetum.archive.intake.memory import CatalogMemory
from tapetum.archive.intake.resolve import Resolved, record, resolve
from tapetum.archive.intake.settings import settle, tells_who
from tapetum.archive.intake.sight import disc_side
from tapetum.archive.intake.split import assign_splits, rarest_label
from tapetum.archive.intake.taking import Place, Progress, take
from tapetum.archive.intake.veil import OpenVeil, Veil
from tapetum.archive.quality import QUALITY_FEATURES, THRESHOLD, judge
from tapetum.archive.rows import Refusal
from tapetum.archive.store.catalog import Catalog, SightRow, Statement
from tapetum.archive.store.snapshot import write_snapshot
from tapetum.archive.store.vault import Vault, archive_vault
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.store import command_line
from tapetum.core.types import ImageRecord, Split

_PLAIN = IngestConfig()


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did.

    Attributes:
        added, unchanged: images new in the archive, and there before. quarantined: rows and files refused.
        reasons: the refusals, each with file and row. warnings: what makes a later result doubtful. notes: remarks.
        ungradable: fundus photographs of which a reader could probably make nothing, by reason.
        profile: `none`, or the profile of the pseudonyms. key_id, key_file: of the key that they follow from.
    """

    added: int
    unchanged: int
    quarantined: int
    reasons: tuple[Refusal, ...]
    images: int
    patients: int
    digest: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    ungradable: Mapping[str, int] = field(default_factory=dict[str, int])
    profile: str = "none"
    key_id: str = ""
    key_file: str = ""


def ingest(
    sources: Sequence[Path | str] | Path | str,
    out: Path | str,
    config: IngestConfig = _PLAIN,
    *,
    progress: Progress | None = None,
) -> IngestSummary:
    """Take exports into the archive at `out`, new or existing.

    Args:
        sources: folders, files, `"odir:PATH"` for a public set by name, `"dicomweb:URL"` or `"cstore:TITLE@HOST:PORT"`.
        out: the archive's folder.
        config: how the exports are read.
        progress: called with (files done, files in all) after every batch reached the disk.

    Returns:
        Counts, and every refusal with file, row and reason.

    Raises:
        DataError: an export as a whole cannot be read. UsageError: a setting is wrong or contradicts the archive.
        ArtefactError: another process writes, or the disk is full (what was taken stays; run again).
    """
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    exports = [find_export(source, config) for source in listed]
    if not exports:
        raise UsageError("no source", "a folder with images and a table", "tapetum ingest FOLDER --out ARCHIVE")
    place = Path(out)
    _may_write(place, exports)
    # An export that cannot be read as a whole is found here, before anything is written.
    said = [list(export.read()) for export in exports]
    place.mkdir(parents=True, exist_ok=True)
    try:
        catalog = Catalog(place / "catalog.sqlite")
        try:
            with catalog.writing() as run:
                named = any(tells_who(items) for items in said) or any(export.stream for export in exports)
                settings, key = settle(catalog, exports, config, place, named=named)
                veil = Veil(key, settings["deidentify"]) if key else OpenVeil()
                vault = archive_vault(place, settings)
                notes = list[str]()
                for export, items in zip(exports, said, strict=True):
                    modality = config.modality or export.modality or settings["modality"]
                    where = Place(
                        catalog, vault, run, veil, modality, config.ocr, config.engine, config.verify_pixels
                    )  # fmt: skip
                    if export.stream is None:
                        notes += take(export, items, where, progress)
                        continue
                    for portion in export.stream(CatalogMemory(where)):
                        notes += take(export, portion.items, where, progress, whole=False)
                        portion.done()
                return finish(catalog, vault, place, settings, notes, veil)
        finally:
            catalog.close()
    except (OSError, sqlite3.OperationalError) as error:
        raise ArtefactError(
            f"writing to {place} failed: {error}",
            "a disk with room that can be written",
            "make room and run the same again",
        ) from error


def _may_write(place: Path, exports: Sequence[Export]) -> None:
    if place.exists() and not (place / "catalog.sqlite").exists() and (not place.is_dir() or any(place.iterdir())):
        raise ArtefactError(f"{place} exists and is no archive", "a new or empty folder", "choose another --out")
    for export in exports:
        if place.resolve().is_relative_to(export.root.resolve()):
            raise UsageError(f"the archive {place} would lie inside the export", "a folder beside it", "--out OTHER")


def finish(
    catalog: Catalog, vault: Vault, place: Path, settings: dict[str, Any], notes: Iterable[str], veil: OpenVeil
) -> IngestSummary:
    """Everything that follows from the statements, computed anew and written whole."""
    sights = {sight.image_id: sight for sight in catalog.sights()}
    resolved = resolve(catalog.statements(), {image_id: disc_side(s.facts) for image_id, s in sights.items()})
    splits = _splits(resolved, catalog, settings, sights)
    before = set(catalog.image_ids())
    records = tuple(_record(s, splits[s.said["patient_id"]], sights.get(s.image_id)) for s in resolved.kept)
    refused = resolved.quarantine
    catalog.write_outcome(
        ((r.image_id, r.patient_id) for r in records), (dataclasses.astuple(r) for r in refused), splits
    )
    digest = write_snapshot(place, records, refused, settings, command=veil.command(command_line()))
    for leftover in (*vault.leftovers(), *place.glob(".*.part")):
        leftover.unlink(missing_ok=True)
    ids = {r.image_id for r in records}
    return IngestSummary(
        added=len(ids - before), unchanged=len(ids & before), quarantined=len(refused), reasons=refused,
        images=len(records), patients=len({r.patient_id for r in records}), digest=digest,
        warnings=_warnings(resolved, settings), notes=tuple(notes),
        ungradable=dict(Counter(r.quality for r in records if r.quality).most_common()),
        profile=settings["deidentify"], key_id=settings["key_id"], key_file=veil.key_file,
    )  # fmt: skip


def _record(statement: Statement, split: Split, sight: SightRow | None) -> ImageRecord:
    """A record with the verdict on its quality; only fundus photographs are judged."""
    if sight is None:
        return record(statement, split, {})
    judged = statement.said["modality"] == "fundus" and len(sight.quality) == len(QUALITY_FEATURES)
    if not judged or np.isnan(sight.quality).any():
        return record(statement, split, sight.facts)
    verdict = judge(sight.quality)
    reason = verdict.reason if verdict.gradable < THRESHOLD else ""
    return record(statement, split, sight.facts, gradable=verdict.gradable, quality=reason)


def _splits(
    resolved: Resolved, catalog: Catalog, settings: dict[str, Any], sights: Mapping[str, SightRow]
) -> dict[str, Split]:
    """Old patients stay where they are; new ones who share a picture go to one part."""
    labels_of: dict[str, set[str]] = {}
    given = catalog.splits()
    for s in resolved.kept:
        labels_of.setdefault(s.said["patient_id"], set()).update(s.said["labels"])
        if s.said["split"] != Split.NONE.value:
            given.setdefault(s.said["patient_id"], Split(s.said["split"]))
    # Equal pictures only: to look for near ones costs more than the ingest itself, and `audit` does it.
    sharing: dict[str, set[str]] = {}
    for s in resolved.kept:
        if s.image_id in sights:
            sharing.setdefault(sights[s.image_id].facts["pixels"], set()).add(s.said["patient_id"])
    return assign_splits(
        rarest_label(labels_of), given=given, fractions=settings["fractions"], seed=settings["seed"],
        together=[patients for patients in sharing.values() if len(patients) > 1],
    )  # fmt: skip


def _warnings(resolved: Resolved, settings: Mapping[str, Any]) -> tuple[str, ...]:
    found: list[str] = []
    harmless = settings["phantom"] or settings.get("public")
    if settings["deidentify"] == "none" and not harmless:
        found.append("patient numbers, dates, file names and reports are kept as exported; key=FILE writes pseudonyms")
    labels = Counter(label for s in resolved.kept for label in s.said["labels"])
    if len(labels) == 1:
        found.append(f"one class only: every label is {next(iter(labels))!r}; nothing can be measured against it")
    if not resolved.kept:
        found.append("the archive has no image")
    elif len({s.said["patient_id"] for s in resolved.kept}) < 3:
        found.append("fewer than three patients: no split by patient is possible")
    return tuple(found)
