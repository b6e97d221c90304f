"""Vendor OCT files as rows: each volume one, and its localiser (`file#slo`) or photograph (`file#fundus`) another.

A row's bytes are a DICOM multi-frame object made here, with spacing and side and without the patient; the same file
gives the same bytes.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tapetum.archive import fields
from tapetum.archive.rows import INTERNAL, Row
from tapetum.archive.sandbox import apart
from tapetum.archive.volumes import heyex, topcon
from tapetum.archive.volumes.multiframe import OPT_CLASS, PHOTO_CLASS, volume_dicom
from tapetum.core.errors import DataError
from tapetum.core.types import UNKNOWN, Laterality

SLO = "slo"
_IDENTIFIERS = {"name": "name", "birth_date": "born"}
_SIDE = {"R": Laterality.RIGHT, "L": Laterality.LEFT, "OD": Laterality.RIGHT, "OS": Laterality.LEFT}


def vendor_rows(path: Path, file: str) -> Iterator[Row]:
    """The volumes and localisers of one vendor file.

    Args:
        path: of the file.
        file: its place inside the export.

    Raises:
        DataError: it cannot be read, or a volume in it contradicts itself. MissingExtraError: eyepy is needed (`.e2e`).
    """
    with path.open("rb") as stream:
        mark = stream.read(8)
        if mark.startswith(heyex.MARK):
            stream.seek(0)
            yield from _vol_rows(path, file, heyex.read_vol_header(stream))
            return
    module = f"tapetum.archive.volumes.{'topcon' if mark.startswith(topcon.MARK) else 'vendor'}"
    volumes: list[dict[str, Any]] = apart(f"{module}:describe", str(path))
    if not volumes:
        raise DataError("the file holds no OCT volume", "at least one")
    for index, facts in enumerate(volumes):
        if "error" in facts:
            raise DataError(f"volume {index + 1} of {len(volumes)}: {facts['error']}", "volumes that can be read")
    for index, facts in enumerate(volumes):
        yield from _rows(path, file if len(volumes) == 1 else f"{file}#{index + 1}", index, facts, module)


def _vol_rows(path: Path, file: str, header: heyex.VolHeader) -> Iterator[Row]:
    where = {"laterality": "vol ScanPosition", "device": "vol file version"}
    patient = header.patient_id
    if patient:
        where["patient_id"] = "vol PatientID"
    elif header.internal_id:
        patient, where["patient_id"] = f"heyex-{header.internal_id}", f"vol PID ({INTERNAL})"
    age = math.nan
    if UNKNOWN not in (header.born, header.visited):
        years = int(header.visited[:4]) - int(header.born[:4]) - (header.visited[5:] < header.born[5:])
        age = float(years) if 0 <= years <= fields.OLDEST_YEARS else math.nan
        where["age_years"] = "vol DOB and VisitDate"
    identifiers = {"birth_date": header.born} if header.born != UNKNOWN else {}
    row = functools.partial(
        Row, row=0, patient_id=patient, visit_id=header.visit_id or UNKNOWN, laterality=header.laterality,
        age_years=age, captured=header.visited, device="Heidelberg Engineering Spectralis", identifiers=identifiers,
    )  # fmt: skip
    note = f"a {header.pattern} scan; samples of {header.row_mm:.5g} × {header.column_mm:.5g} mm are not square"
    yield row(
        file=file, read=functools.partial(_vol_volume, path), modality="oct", frames=header.count,
        provenance={**where, "modality": "vol file"}, notes=() if header.row_mm == header.column_mm else (note,),
        mm_per_pixel=header.row_mm if header.row_mm == header.column_mm else math.nan,
    )  # fmt: skip
    if header.slo_width and header.slo_height:
        where = {**where, "modality": "vol localiser"} | (
            {} if math.isnan(header.slo_mm) else {"mm_per_pixel": "vol ScaleXSlo"}
        )
        yield row(
            file=f"{file}#{SLO}", read=functools.partial(_vol_slo, path), modality=SLO, mm_per_pixel=header.slo_mm,
            provenance=where,
        )  # fmt: skip


def _vol_volume(path: Path) -> bytes:
    with path.open("rb") as stream:
        header = heyex.read_vol_header(stream)
    return volume_dicom(
        heyex.vol_bscans(path), seed=_digest(path), sop_class=OPT_CLASS, laterality=header.laterality,
        spacing_mm=(header.row_mm, header.column_mm), between_mm=header.between_mm,
    )  # fmt: skip


def _vol_slo(path: Path) -> bytes:
    with path.open("rb") as stream:
        header = heyex.read_vol_header(stream)
    spacing = None if math.isnan(header.slo_mm) else (header.slo_mm, header.slo_mm)
    return volume_dicom(
        heyex.vol_slo(path), seed=f"{_digest(path)} slo", sop_class=PHOTO_CLASS, spacing_mm=spacing,
        laterality=header.laterality,
    )  # fmt: skip


def _rows(path: Path, file: str, index: int, facts: dict[str, Any], module: str) -> Iterator[Row]:
    """Rows of what a child said of one volume."""
    where: dict[str, str] = {"modality": "vendor file"}
    sources: dict[str, str] = facts.get("where", {})
    said = str(facts.get("laterality", ""))
    eye = _SIDE.get(said, Laterality.UNKNOWN)
    for key in ("patient_id", "device", "captured"):
        where |= {key: sources.get(key, f"vendor {key}")} if facts.get(key) else {}
    if eye != Laterality.UNKNOWN:
        where["laterality"] = sources.get("laterality", "vendor laterality")
    captured, _ = fields.iso_date(str(facts.get("captured", "")))
    sex, _ = fields.sex(str(facts.get("sex", "")))
    row = functools.partial(
        Row, row=0, patient_id=str(facts.get("patient_id", "")), laterality=eye, sex=sex, captured=captured,
        device=str(facts.get("device", UNKNOWN)),
        identifiers={key: facts[fact] for key, fact in _IDENTIFIERS.items() if facts.get(fact)},
    )  # fmt: skip
    row_mm, column_mm = float(facts["row_mm"]), float(facts["column_mm"])
    notes = ["the maker does not describe this kind of file: look at a few before trusting side and spacing"]
    notes += [f"side {said!r} is not understood"] if said and eye == Laterality.UNKNOWN else []
    notes += facts.get("remarks", [])
    spacing = (row_mm, column_mm) if row_mm and column_mm else None
    read = functools.partial(_bytes, path, module, index)
    yield row(
        file=file, frames=int(facts["count"]), modality="oct", provenance=where, notes=tuple(notes),
        mm_per_pixel=row_mm if spacing and row_mm == column_mm else math.nan,
        read=functools.partial(read, "bscans", spacing, float(facts["between_mm"]), eye.value),
    )  # fmt: skip
    if second := str(facts["second"]):
        square_mm = float(facts["second_mm"])
        spacing = (square_mm, square_mm) if square_mm else None
        yield row(
            file=f"{file}#{second}" if "#" not in file else f"{file}.{second}", modality=second, provenance=where,
            mm_per_pixel=square_mm or math.nan, read=functools.partial(read, second, spacing, 0.0, eye.value),
        )  # fmt: skip


def _bytes(
    path: Path, module: str, index: int, part: str, spacing: tuple[float, float] | None, between_mm: float, eye: str
) -> bytes:
    frames = apart(f"{module}:pixels", str(path), index, part)
    return volume_dicom(
        frames, seed=f"{_digest(path)} {index} {part}", sop_class=OPT_CLASS if part == "bscans" else PHOTO_CLASS,
        spacing_mm=spacing, between_mm=between_mm, laterality=Laterality(eye),
    )  # fmt: skip


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
