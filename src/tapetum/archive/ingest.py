"""A clinic's export in, an archive out; what cannot be taken is quarantined with its reason, the rest is taken.

Running again changes nothing. Killed at any moment and run again, it ends in the same archive.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tapetum.archive.catalog import Catalog, Statement
from tapetum.archive.exports import Export, find_export
from tapetum.archive.pixels import probe
from tapetum.archive.resolve import Resolved, record, resolve
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.snapshot import write_snapshot
from tapetum.archive.split import assign_splits, rarest_label
from tapetum.archive.vault import Vault, content_id
from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.types import UNKNOWN, Split

BATCH_FILES = 64
SHOWN_REMARKS = 20
BATCH_BYTES = 64 * 2**20
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class IngestConfig:
    """How an export is read.

    Attributes:
        map: which column plays which role, `"patient=pid,image=file,eye=side,report=text"`.
        labels: name of the column with labels (letters, numbers, or several separated by `,` `;` `|`).
        label_map: label text → finding, `"D=diabetic_retinopathy,…"`; `"-="` says that `-` means no label.
        pack: domain pack. modality: of images that do not say theirs. name: of the archive; default its folder's.
        fractions: train, validation and test part of the patients. seed: of the split.
        dataset: read the source as this public set. reader: `folder` or `dicom`; recognised if empty.
        table: file name of the table, if the folder has several. encoding: of the table, recognised if empty.
        date_order: `dmy` or `mdy`, for dates with slashes. report_required: an empty report refuses the row.
    """

    map: str = ""
    labels: str = ""
    label_map: str = ""
    pack: str = ""
    modality: str = ""
    name: str = ""
    fractions: tuple[float, ...] = (0.6, 0.15, 0.25)
    seed: int = 0
    dataset: str = ""
    reader: str = ""
    table: str = ""
    encoding: str = ""
    date_order: str = ""
    report_required: bool = True


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did.

    Attributes:
        added, unchanged: images new in the archive, and there before. quarantined: rows and files refused.
        reasons: the refusals, each with file and row. warnings: what makes a later result doubtful. notes: remarks.
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


def ingest(
    sources: Sequence[Path | str] | Path | str,
    out: Path | str,
    config: IngestConfig = IngestConfig(),
    *,
    progress: Progress | None = None,
) -> IngestSummary:
    """Take exports into the archive at `out`, new or existing.

    Args:
        sources: folders, files, or `"odir:PATH"` for a public set by name.
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
                settings = _settings(catalog, exports, config, place)
                notes = list[str]()
                for export, items in zip(exports, said, strict=True):
                    notes += _take(export, items, catalog, place, run, config, progress)
                return _finish(catalog, place, settings, notes)
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


def _settings(catalog: Catalog, exports: Sequence[Export], config: IngestConfig, place: Path) -> dict[str, Any]:
    """The archive's settings: fixed by its first ingest; a later one may leave them out but not change them."""
    card = next((e.card for e in exports if e.card), None)
    label_map = dict(card.label_map) if card else {}
    label_map |= parse_label_map(config.label_map)
    asked: dict[str, Any] = {
        "name": config.name or place.name.removesuffix(".tap"),
        "pack": config.pack or (card.pack if card else ""),
        "label_map": label_map,
        "fractions": list(config.fractions),
        "seed": config.seed,
        "phantom": any(e.phantom for e in exports),
    }
    assign_splits({}, given={}, fractions=config.fractions, seed=config.seed)
    stored = json.loads(catalog.setting("archive", "null"))
    if stored is None:
        check_labels(asked["pack"], label_map)
        catalog.set_settings({"archive": json.dumps(asked, sort_keys=True)})
        return asked
    if asked["phantom"] != stored["phantom"]:
        raise UsageError("phantom and real images in one archive", "an archive for each", "--out OTHER")
    for key, given in (
        ("name", config.name), ("pack", config.pack), ("label_map", label_map),
        ("fractions", asked["fractions"] if config.fractions != IngestConfig.fractions else None),
        ("seed", config.seed or None),
    ):  # fmt: skip
        if given and asked[key] != stored[key]:
            raise UsageError(f"{key}={asked[key]!r}, but this archive has {stored[key]!r}", "the same", "--out OTHER")
    return stored


def parse_label_map(text: str) -> dict[str, str]:
    """Read `"D=diabetic_retinopathy,G=glaucoma"`.

    Raises:
        UsageError: a part has no `=`.

    Example:
        >>> parse_label_map("1=glaucoma, -=")
        {'1': 'glaucoma', '-': ''}
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    for label, equals, _ in pairs:
        if not equals:
            raise UsageError(
                f"cannot read {label!r} in label_map", "LABEL=finding", 'label_map="D=diabetic_retinopathy"'
            )
    return {label.strip(): finding.strip() for label, _, finding in pairs}


def check_labels(pack: str, label_map: dict[str, str]) -> None:
    """Refuse a label map that names a finding which the pack does not know.

    Raises:
        UsageError: an unknown pack or finding; the nearest is named.
    """
    if pack:
        from tapetum.knowledge import load_pack

        known = load_pack(pack)
        for finding in label_map.values():
            if finding:
                known.resolve(finding)


def _take(
    export: Export, items: Sequence[Row | Refusal | Note], catalog: Catalog, place: Path, run: int,
    config: IngestConfig, progress: Progress | None,
) -> list[str]:  # fmt: skip
    """Take one export into vault and catalog, batch by batch; each batch is on disk before the next begins."""
    groups: dict[str, list[Row | Refusal]] = {}
    for item in items:
        if not isinstance(item, Note):
            groups.setdefault(item.file, []).append(item)
    vault, done, remarks = Vault(place / "vault"), 0, list[str]()
    for batch in _batches(groups, export, catalog, vault, config, remarks):
        vault.put((image_id, data) for _, image_id, data in batch if data)
        catalog.write([s for statements, _, _ in batch for s in statements], run)
        done += len(batch)
        if progress:
            progress(done, len(groups))
    catalog.forget_refusals(export.name, run)
    more = [f"… and {len(remarks) - SHOWN_REMARKS} more such remarks"] if len(remarks) > SHOWN_REMARKS else []
    return [item.text for item in items if isinstance(item, Note)] + remarks[:SHOWN_REMARKS] + more


Taken = tuple[list[Statement], str, bytes]


def _batches(
    groups: dict[str, list[Row | Refusal]], export: Export, catalog: Catalog, vault: Vault, config: IngestConfig,
    notes: list[str],
) -> Iterator[list[Taken]]:  # fmt: skip
    batch: list[Taken] = []
    size = 0
    for file, items in groups.items():
        taken = _read_file(export, file, items, catalog, vault, config, notes)
        batch.append(taken)
        size += len(taken[2])
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _read_file(
    export: Export, file: str, items: Sequence[Row | Refusal], catalog: Catalog, vault: Vault, config: IngestConfig,
    notes: list[str],
) -> Taken:  # fmt: skip
    """All rows that name one file, with the file's bytes where it is an image that decodes."""
    image_id, data, reason, shape = "", b"", "", {}
    row = next((item for item in items if isinstance(item, Row)), None)
    if row:
        try:
            data = row.read()
            image_id = content_id(data)
            shape = _shape(image_id, data, file, catalog, vault, notes)
        except DataError as error:
            data, reason = b"", f"{error.found} (expected: {error.expected})"
        except OSError as error:
            data, reason = b"", f"the file cannot be read: {error.strerror or error}"
    statements: list[Statement] = []
    for ordinal, item in enumerate(items):
        if isinstance(item, Refusal):
            statements.append(Statement(export.name, file, image_id, ordinal, item.row, item.reason, {}))
            continue
        where = f"{file}, row {item.row}: " if item.row else f"{file}: "
        notes.extend(where + note for note in item.notes)
        said = {} if reason else {**_said(item, config, export), **shape}
        statements.append(Statement(export.name, file, image_id, ordinal, item.row, reason, said))
    return statements, image_id, data


def _shape(image_id: str, data: bytes, file: str, catalog: Catalog, vault: Vault, notes: list[str]) -> dict[str, int]:
    known = catalog.known(image_id)
    if known and image_id in vault:
        return {key: known[key] for key in ("width", "height", "channels", "bits")}
    found = probe(data)
    suffix = PurePosixPath(file).suffix.lower()
    proper = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".dcm": "DICOM"}
    if proper.get(suffix, found.format) != found.format:
        notes.append(f"{file} is a {found.format} file by its content; read as such")
    return {"width": found.width, "height": found.height, "channels": found.channels, "bits": found.bits}


def _said(row: Row, config: IngestConfig, export: Export) -> dict[str, Any]:
    modality = row.modality if row.modality != UNKNOWN else config.modality or export.modality or UNKNOWN
    return {
        "patient_id": row.patient_id, "visit_id": row.visit_id, "laterality": row.laterality.value,
        "modality": modality, "mm_per_pixel": None if math.isnan(row.mm_per_pixel) else row.mm_per_pixel,
        "age_years": None if math.isnan(row.age_years) else row.age_years, "sex": row.sex, "captured": row.captured,
        "report": row.report, "labels": list(row.labels), "split": row.split.value,
    }  # fmt: skip


def _finish(catalog: Catalog, place: Path, settings: dict[str, Any], notes: Iterable[str]) -> IngestSummary:
    """Everything that follows from the statements, computed anew and written whole."""
    resolved = resolve(catalog.statements())
    splits = _splits(resolved, catalog, settings)
    before = set(catalog.image_ids())
    records = tuple(record(s, splits[s.said["patient_id"]]) for s in resolved.kept)
    refused = resolved.quarantine
    catalog.write_outcome(
        ((r.image_id, r.patient_id) for r in records), (dataclasses.astuple(r) for r in refused), splits
    )
    digest = write_snapshot(place, records, refused, settings)
    for leftover in (*Vault(place / "vault").leftovers(), *place.glob(".*.part")):
        leftover.unlink(missing_ok=True)
    ids = {r.image_id for r in records}
    return IngestSummary(
        added=len(ids - before), unchanged=len(ids & before), quarantined=len(refused), reasons=refused,
        images=len(records), patients=len({r.patient_id for r in records}), digest=digest,
        warnings=_warnings(resolved), notes=tuple(notes),
    )  # fmt: skip


def _splits(resolved: Resolved, catalog: Catalog, settings: dict[str, Any]) -> dict[str, Any]:
    labels_of: dict[str, set[str]] = {}
    given = catalog.splits()
    for s in resolved.kept:
        labels_of.setdefault(s.said["patient_id"], set()).update(s.said["labels"])
        if s.said["split"] != Split.NONE.value:
            given.setdefault(s.said["patient_id"], Split(s.said["split"]))
    return assign_splits(rarest_label(labels_of), given=given, fractions=settings["fractions"], seed=settings["seed"])


def _warnings(resolved: Resolved) -> tuple[str, ...]:
    found: list[str] = []
    labels = Counter(label for s in resolved.kept for label in s.said["labels"])
    if len(labels) == 1:
        found.append(f"one class only: every label is {next(iter(labels))!r}; nothing can be measured against it")
    if not resolved.kept:
        found.append("the archive has no image")
    elif len({s.said["patient_id"] for s in resolved.kept}) < 3:
        found.append("fewer than three patients: no split by patient is possible")
    return tuple(found)
