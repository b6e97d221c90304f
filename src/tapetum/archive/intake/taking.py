"""One export into vault and catalog, batch by batch; each batch is on disk before the next begins.

Files are read here, looked at by children with limits, and written here: one process writes. A file that was taken
before is told by its digest and neither decoded nor written again.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from tapetum.archive.exports.finding import Export
from tapetum.archive.intake.laterality import of_file_name
from tapetum.archive.intake.resolve import FILE_EYE
from tapetum.archive.intake.sight import LOOK, VERSION, Cleaning, Sight, unpacked
from tapetum.archive.intake.veil import OpenVeil
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.sandbox import Outcome, children
from tapetum.archive.store.catalog import Catalog, Identity, Statement
from tapetum.archive.store.vault import Vault, content_id
from tapetum.core.errors import DataError, TapetumError, UsageError
from tapetum.core.types import UNKNOWN

BATCH_FILES = 64
BATCH_BYTES = 64 * 2**20
SHOWN_REMARKS = 20
_PROPER = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".dcm": "DICOM",
}  # fmt: skip
Progress = Callable[[int, int], None]
Item = Row | Refusal


@dataclass(frozen=True)
class Place:
    """Where an export is taken: the archive's parts, the run's number, and what may be written down.

    Attributes:
        modality: of images that do not say theirs. ocr: search pixels for text.
        whole: decode every frame at full size too, of files that were taken before as well.
        engine: `ray` looks at files on Ray's workers, otherwise this machine's children do.
    """

    catalog: Catalog
    vault: Vault
    run: int
    veil: OpenVeil
    modality: str = ""
    ocr: bool = False
    engine: str = ""
    whole: bool = False

    def map(self, function: str, items: Iterator[tuple[Any, ...]]) -> Iterator[Outcome]:
        """Run a function on every item, apart from this process, in order.

        Raises:
            UsageError: an unknown engine.
        """
        if self.engine == "ray":
            from tapetum.archive.sandbox.rayshards import map_on_ray

            return map_on_ray(function, items)
        if self.engine:
            raise UsageError(f"engine={self.engine!r}", "ray, or nothing for this machine's children", "engine=ray")
        return children().map(function, items)


@dataclass
class _File:
    """One file on its way: what was said of it, its bytes, and what came of them."""

    name: str
    items: Sequence[Item]
    data: bytes = b""
    digest: str = ""
    image_id: str = ""
    reason: str = ""
    sight: Sight | None = None
    ask: tuple[bytes, Cleaning | None, bool] | None = None
    notes: list[str] = field(default_factory=list[str])


def take(
    export: Export, items: Sequence[Item | Note], place: Place, progress: Progress | None, *, whole: bool = True
) -> list[str]:
    """Take one export, or a portion of it.

    Args:
        export: where it comes from.
        items: everything its reader said, in order.
        place: where it goes.
        progress: called with (files done, files in all) after every batch reached the disk.
        whole: whether the items are everything the export holds, so that a refusal not repeated is gone.

    Returns:
        Remarks for the person at the screen.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        if not isinstance(item, Note):
            groups.setdefault(item.file, []).append(item)
    done, remarks, source = (
        0,
        list[tuple[str, str]](),
        place.veil.file(export.name) if place.veil.hides else export.name,
    )
    for batch in _batches(_looked_at(groups, place)):
        place.vault.put((file.image_id, file.data) for file in batch if file.data and not file.reason)
        statements, identities = list[Statement](), list(place.veil.sealed(export.name))
        for file in batch:
            _write_down(source, file, place, statements, identities, remarks)
        place.catalog.write(
            statements, place.run, identities=identities,
            sights=[file.sight.row(file.image_id) for file in batch if file.sight],
            seen={file.digest: file.image_id for file in batch if file.digest and file.image_id and not file.reason},
        )  # fmt: skip
        done += len(batch)
        if progress:
            progress(done, len(groups))
    if whole:
        place.catalog.forget_refusals(source, place.run)
    said = [place.veil.remark(item.text) for item in items if isinstance(item, Note)]
    return said + _gathered(remarks)


def _gathered(remarks: Sequence[tuple[str, str]]) -> list[str]:
    """One line for equal remarks on several files, and not too many lines."""
    files: dict[str, list[str]] = {}
    for file, text in remarks:
        files.setdefault(text, []).append(file)
    lines = [
        f"{where[0]}: {text}" if len(where) == 1 else f"{len(where)} files: {text}; first {where[0]}"
        for text, where in files.items()
    ]
    more = [f"… and {len(lines) - SHOWN_REMARKS} more such remarks"] if len(lines) > SHOWN_REMARKS else []
    return lines[:SHOWN_REMARKS] + more


def _looked_at(groups: Mapping[str, Sequence[Item]], place: Place) -> Iterator[_File]:
    """The files in order, each with its sight, its refusal, or neither where it is known."""
    waiting: deque[_File] = deque()

    def asked() -> Iterator[tuple[bytes, Cleaning | None, bool]]:
        for name, items in groups.items():
            file = _read(name, items, place)
            waiting.append(file)
            if file.ask:
                yield file.ask

    for outcome in place.map(LOOK, asked()):
        while waiting[0].ask is None:
            yield waiting.popleft()
        file = waiting.popleft()
        if outcome.error is None:
            changed, file.sight = unpacked(outcome.value)
            file.data = changed or file.data
            file.image_id = content_id(file.data) if changed or not file.image_id else file.image_id
        else:
            _refuse(file, outcome.error)
        file.ask = None
        yield file
    yield from waiting


def _read(name: str, items: Sequence[Item], place: Place) -> _File:
    file = _File(name, items)
    row = next((item for item in items if isinstance(item, Row)), None)
    if row is None:
        return file
    try:
        file.data = row.read()
    except DataError as error:
        _refuse(file, error)
        return file
    except OSError as error:
        file.reason = f"the file cannot be read: {error.strerror or type(error).__name__}"
        return file
    file.digest = place.veil.source_digest(file.data)
    known = place.catalog.was_seen(file.digest) if place.veil.hides else file.digest
    kept = place.catalog.sight(known) if known and known in place.vault and not place.whole else None
    if known and kept and kept.facts["version"] == VERSION:
        file.image_id, file.data = known, b""
        return file
    file.image_id = "" if place.veil.hides else file.digest
    modality = row.modality if row.modality != UNKNOWN else place.modality or UNKNOWN
    file.ask = (file.data, place.veil.cleaning(row, modality=modality, ocr=place.ocr), place.whole)
    return file


def _refuse(file: _File, error: TapetumError) -> None:
    if not isinstance(error, DataError):
        raise error
    file.reason = f"{error.found} (expected: {error.expected})" if error.expected else error.found
    file.data, file.sight = b"", None


def _batches(files: Iterator[_File]) -> Iterator[list[_File]]:
    batch: list[_File] = []
    size = 0
    for file in files:
        batch.append(file)
        size += len(file.data)
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write_down(
    source: str,
    file: _File,
    place: Place,
    statements: list[Statement],
    identities: list[Identity],
    remarks: list[tuple[str, str]],
) -> None:
    """What the rows of one file say, as it may be written down."""
    veil, known = place.veil, [item.patient_id for item in file.items if isinstance(item, Row)]
    told = veil.file(file.name)
    if file.sight:
        form = file.sight.probe.format
        suffix = PurePosixPath(file.name.partition("#")[0]).suffix.lower()
        if _PROPER.get(suffix, form) != form:
            remarks.append((told, f"a {form} file by its content; read as such"))
        remarks.extend((told, note) for note in file.sight.notes)
    reasons = list[str]()
    for ordinal, item in enumerate(file.items):
        if isinstance(item, Row) and not file.reason:
            written = veil.write(item)
            identities.extend(written.identities)
            where = f"{told}, row {item.row}" if item.row else told
            remarks.extend((where, note) for note in written.row.notes)
            said = {**_said(written.row, place), FILE_EYE: of_file_name(file.name).value}
            statements.append(Statement(source, told, file.image_id, ordinal, item.row, "", {**said, **written.more}))
            continue
        taken = isinstance(item, Row)
        reasons.append(file.reason if taken else item.reason)
        hidden = veil.remark(reasons[-1], (*known, file.name))
        # Who it was is kept, so that a refused file too can be forgotten.
        said = {"patient_id": veil.patient(item.patient_id)} if taken else {}
        image_id = "" if taken or file.reason else file.image_id
        statements.append(Statement(source, told, image_id, ordinal, item.row, hidden, said))
    if reasons:
        identities.extend(veil.sealed(file.name, reasons, known))
    if file.sight and not file.reason:
        identities.extend(veil.object(file.image_id, file.sight.replaced))


def _said(row: Row, place: Place) -> dict[str, Any]:
    modality = row.modality if row.modality != UNKNOWN else place.modality or UNKNOWN
    return {
        "patient_id": row.patient_id, "visit_id": row.visit_id, "laterality": row.laterality.value,
        "modality": modality, "mm_per_pixel": None if math.isnan(row.mm_per_pixel) else row.mm_per_pixel,
        "age_years": None if math.isnan(row.age_years) else row.age_years, "sex": row.sex, "captured": row.captured,
        "report": row.report, "labels": list(row.labels), "split": row.split.value, "device": row.device,
        "provenance": dict(row.provenance),
    }  # fmt: skip
