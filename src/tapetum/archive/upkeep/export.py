"""`export`: an archive as a plain folder of images with a table, for any other program and for `ingest`."""

from __future__ import annotations

import csv
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tapetum.archive.dicom.pixels import is_dicom
from tapetum.archive.exports.finding import PHANTOM_MARK
from tapetum.archive.opened import Archive, label_columns, open_archive
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.types import UNKNOWN, ImageRecord, Laterality, Split

TABLE = "images.csv"
# Names that `ingest` takes without being asked, then what only people and other programs read.
_COLUMNS = (
    "file", "patient", "eye", "report", "age", "sex", "date", "labels", "visit", "modality", "mm_per_pixel", "device",
    "split", "frames", "width", "height", "gradable", "quality", "image_id",
)  # fmt: skip
_MAGIC = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"II*\0": ".tif", b"MM\0*": ".tif"}


@dataclass(frozen=True)
class Exported:
    """What was written: the folder, images, patients, and the command that reads it again."""

    path: Path
    images: int
    patients: int
    command: str


def export(
    path: Path | str, out: Path | str, *, splits: Sequence[Split | str] = (), form: str = "folder"
) -> Exported:  # fmt: skip
    """Write an archive's images, a table and a card into a new folder.

    Args:
        path: the archive.
        out: a new or empty folder; it appears when all is written.
        splits: the parts of the patients to write; empty for all.
        form: `folder`, the only form.

    Raises:
        UsageError: an unknown form or split. ArtefactError: `out` is not empty, an image is missing or changed, or the
            disk is full; nothing stays behind.
    """
    if form != "folder":
        raise UsageError(f"form {form!r}", "folder", "form=folder")
    try:
        wanted = {Split(s) for s in splits}
    except ValueError as error:
        raise UsageError(str(error), ", ".join(s.value for s in Split), "splits=test") from None
    archive, place = open_archive(path), Path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise ArtefactError(f"{place} exists", "a new or empty folder", "choose another --out")
    records = [r for r in archive.records if not wanted or r.split in wanted]
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        command = _write(archive, records, part, place.name)
        if place.exists():
            place.rmdir()
        os.replace(part, place)
    except OSError as error:
        raise ArtefactError(
            f"writing {place} failed: {error}", "a disk with room that can be written", "make room and run it again"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(place, len(records), len({r.patient_id for r in records}), command)


def _write(archive: Archive, records: Sequence[ImageRecord], part: Path, name: str) -> str:
    """Fill the folder; the command that reads it again."""
    (part / "images").mkdir()
    rows = list[Sequence[object]]()
    labelled = sorted({column for record in records for column in label_columns(record)} - {""})
    for record in records:
        data = archive.data(record.image_id)
        file = f"images/{record.image_id[:16]}{_suffix(data, record.source)}"
        (part / file).write_bytes(data)
        rows.append([*_row(record, file), *_labels(record, labelled)])
    # A column that says nothing is left out: a table with reports refuses rows without one.
    used = [n for n, c in enumerate(_COLUMNS) if c != "report" or any(row[n] for row in rows)]
    names = (*_COLUMNS, *labelled)
    used = [n for n in used if not labelled or names[n] != "labels"] + list(range(len(_COLUMNS), len(names)))
    with (part / TABLE).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([names[n] for n in used])
        writer.writerows([row[n] for n in used] for row in rows)
    options = [f"pack={archive.pack}"] if archive.pack else []
    if labelled:
        options.append(f"labels='{'+'.join(labelled)}'")
    if archive.label_map:
        options.append(f"label_map='{','.join(f'{k}={v}' for k, v in sorted(archive.label_map.items()))}'")
    if _COLUMNS.index("report") in used and not all(r.report for r in records):
        options.append("report_required=false")
    command = " ".join([f"tapetum ingest {name} --out NEW.tap", *options])
    (part / "README.md").write_text("\n".join(_card(archive, records, command)), encoding="utf-8")
    if archive.phantom:
        (part / PHANTOM_MARK).write_text("Images of a digital phantom: no patient, no medicine.\n", encoding="utf-8")
    return command


def _row(record: ImageRecord, file: str) -> list[object]:
    def known(value: str) -> str:
        return "" if value == UNKNOWN else value

    def number(value: float) -> str:
        return "" if math.isnan(value) else repr(value)

    return [
        file, record.patient_id, "" if record.laterality is Laterality.UNKNOWN else record.laterality.value,
        record.report, number(record.age_years), known(record.sex), known(record.captured), ";".join(record.labels),
        known(record.visit_id), known(record.modality), number(record.mm_per_pixel), known(record.device),
        record.split.value, record.frames, record.width, record.height, number(record.gradable), record.quality,
        record.image_id,
    ]  # fmt: skip


def _labels(record: ImageRecord, columns: Sequence[str]) -> list[str]:
    """The cells of several columns of labels, as they were."""
    pairs = list(zip(record.labels, label_columns(record), strict=True))
    return [";".join(text.removeprefix(f"{name}:") for text, column in pairs if column == name) for name in columns]


def _suffix(data: bytes, source: str) -> str:
    for magic, suffix in _MAGIC.items():
        if data.startswith(magic):
            return suffix
    if is_dicom(data[:132]):
        return ".dcm"
    return "".join(PurePosixPath(source.partition("#")[0]).suffixes[-2:]).lower()


def _card(archive: Archive, records: Sequence[ImageRecord], command: str) -> Iterator[str]:
    yield f"# {archive.name}"
    yield ""
    yield f"{len(records)} images of {len({r.patient_id for r in records})} patients, written by `tapetum export`"
    yield f"from the archive with digest `{archive.digest}`. The parts of the patients are in the column `split`:"
    yield f"{_counts(r.split.value for r in records)}. `image_id` is the SHA-256 of a file's bytes."
    yield ""
    if archive.phantom:
        yield "The images are of a digital phantom: they prove mechanisms, not medicine."
    else:
        yield "These are patients' images, with what the archive holds of the patients: pseudonymised only if the"
        yield "archive is. A retina is a biometric; hand this on only under the terms that hold for the archive."
    yield ""
    yield f"Read it again with `{command}`."
    yield ""


def _counts(texts: Iterable[str]) -> str:
    found: dict[str, int] = {}
    for text in texts:
        found[text] = found.get(text, 0) + 1
    return ", ".join(f"{text} {n}" for text, n in sorted(found.items())) or "none"
