"""A clinic's export as it comes: each thing that can be wrong is named with file and row, the rest is taken."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tapetum.archive import IngestConfig, IngestSummary, ingest, open_archive, verify
from tapetum.core.errors import ArtefactError, DataError, TapetumError, UsageError
from tapetum.core.types import Laterality, Split

HEADER = "file,patient,eye,age,sex,report,label\n"


def picture(number: int, form: str = "PNG") -> bytes:
    image = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form)
    return buffer.getvalue()


def clinic(root: Path, rows: dict[str, str] | None = None) -> Path:
    """Four good rows (2 to 5), then `rows`: file → rest of the line."""
    (root / "images").mkdir(parents=True)
    lines = [f"{i}.png,p{i},OD,{50 + i},F,a report {i},{'AB'[i % 2]}\n" for i in range(4)]
    for i in range(4):
        (root / "images" / f"{i}.png").write_bytes(picture(i))
    lines += [f"{file},{rest}\n" for file, rest in (rows or {}).items()]
    (root / "clinic.csv").write_text(HEADER + "".join(lines), encoding="utf-8")
    return root


def take(export: Path, **config: object) -> IngestSummary:
    return ingest([export], export.parent / "out.tap", IngestConfig(**config))  # type: ignore[arg-type]


def test_good_export_is_taken_whole_and_again_changes_nothing(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export")
    first = take(export)
    assert (first.added, first.unchanged, first.quarantined) == (4, 0, 0)
    again = take(export)
    assert (again.added, again.unchanged, again.quarantined, again.digest) == (0, 4, 0, first.digest)
    archive = open_archive(tmp_path / "out.tap")
    record = next(r for r in archive.records if r.source == "images/2.png")
    assert (record.patient_id, record.laterality, record.age_years, record.sex) == ("p2", Laterality.RIGHT, 52.0, "F")
    assert (record.report, record.labels, record.width, record.bits) == ("a report 2", ("A",), 24, 8)
    assert archive.data(record.image_id) == picture(2)
    assert archive.pixels(record.image_id, min_side=12).shape == (12, 12, 3)
    assert archive.name == "out"
    assert verify(tmp_path / "out.tap") == ()


def grey16() -> bytes:
    return cv2.imencode(".png", np.zeros((8, 8), np.uint16))[1].tobytes()


BAD: dict[str, tuple[str, Callable[[], bytes] | None, str]] = {
    "missing file": ("x.png,p9,OD,60,F,text,A", None, "there is no file 'x.png'"),
    "broken image": ("x.png,p9,OD,60,F,text,A", lambda: b"no image at all", "no image that is read here"),
    "truncated image": ("x.png,p9,OD,60,F,text,A", lambda: picture(9)[:400], "does not decode"),
    "empty file": ("x.png,p9,OD,60,F,text,A", lambda: b"", "an empty file"),
    "16 bits": ("x.png,p9,OD,60,F,text,A", grey16, "16 bits per sample"),
    "empty report": ("x.png,p9,OD,60,F,  ,A", lambda: picture(9), "the report is empty"),
    "no patient": ("x.png,,OD,60,F,text,A", lambda: picture(9), "no patient"),
    "unknown eye": ("x.png,p9,third,60,F,text,A", lambda: picture(9), "laterality 'third' is not understood"),
    "NaN label": ("x.png,p9,OD,60,F,text,NaN", lambda: picture(9), "label 'NaN' is not a number"),
    "traversal": ("../x.png,p9,OD,60,F,text,A", lambda: picture(9), "leaves the export's folder"),
    "absolute path": ("/etc/hostname,p9,OD,60,F,text,A", None, "leaves the export's folder"),
    "too few cells": ("x.png,p9", lambda: picture(9), "2 cells where the header of clinic.csv has 7"),
    "other sex": ("x.png,p1,OD,51,M,text,A", lambda: picture(9), "contradicts itself: sex F and M"),
    "other age": ("x.png,p1,OD,71,F,text,A", lambda: picture(9), "ages 51 and 71 years without dates"),
    "same bytes": ("x.png,p1,OD,51,F,text,A", lambda: picture(1), "duplicate of images/1.png, row 3"),
    "same bytes, other patient": ("x.png,p9,OD,51,F,text,A", lambda: picture(1), "two patients claim the same image"),
    "same row twice": ("1.png,p1,OD,51,F,text,A", None, "duplicate of images/1.png, row 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_row_is_quarantined_with_file_and_row_and_the_rest_taken(tmp_path: Path, case: str) -> None:
    line, content, reason = BAD[case]
    export = clinic(tmp_path / "export", {line.split(",")[0]: line.partition(",")[2]})
    if content:
        (export / "images" / "x.png").write_bytes(content())
    first = take(export)
    lost = 1 if case.startswith(("other", "same bytes, other")) else 0
    assert first.images == 4 - lost
    assert first.quarantined == 1 + lost
    told = [r for r in first.reasons if reason in r.reason]
    assert told, [str(r) for r in first.reasons]
    assert any(r.row == 6 for r in told)
    assert "row 6" in " ".join(map(str, told))
    again = take(export)
    assert (again.added, again.digest, again.reasons) == (0, first.digest, first.reasons)
    archive = open_archive(tmp_path / "out.tap")
    assert archive.quarantine == first.reasons
    assert len((tmp_path / "out.tap" / "quarantine.csv").read_text().splitlines()) == 1 + first.quarantined


def test_link_out_of_the_folder_is_quarantined(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export", {"link.png": "p9,OD,60,F,text,A"})
    (tmp_path / "secret.png").write_bytes(picture(9))
    (export / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    found = take(export)
    assert found.images == 4
    assert "link out of the export" in found.reasons[0].reason


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ("name,patient\n", DataError, "no column for image in clinic.csv"),
        ("file,who\n", DataError, "no column for patient in clinic.csv"),
        ("", DataError, "clinic.csv has no header"),
    ],
)
def test_table_that_cannot_be_read_stops_before_anything_is_written(
    tmp_path: Path, table: str, error: type[TapetumError], message: str
) -> None:
    export = clinic(tmp_path / "export")
    (export / "clinic.csv").write_text(table)
    with pytest.raises(error, match=message) as caught:
        take(export)
    assert caught.value.expected
    assert not (tmp_path / "out.tap").exists()


def test_unknown_encoding_stops_with_the_next_step(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export")
    (export / "clinic.csv").write_bytes((HEADER + "0.png,p0,OD,50,F,眼底出血,A\n").encode("gb18030"))
    with pytest.raises(DataError, match=r"encoding of clinic\.csv is unknown") as caught:
        take(export)
    assert "encoding=" in caught.value.next_step
    assert take(export, encoding="gb18030").images == 1


def test_two_tables_are_not_guessed_between(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export")
    (export / "other.csv").write_text(HEADER)
    with pytest.raises(UsageError, match="2 tables"):
        take(export)
    assert take(export, table="clinic.csv").images == 4
    assert ingest([export / "clinic.csv"], tmp_path / "two.tap").images == 4


def test_content_decides_over_the_file_name_and_is_noted(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export", {"x.jpg": "p9,OD,60,F,text,A"})
    (export / "images" / "x.jpg").write_bytes(picture(9))
    found = take(export)
    assert (found.images, found.quarantined) == (5, 0)
    assert "images/x.jpg: a PNG file by its content; read as such" in found.notes


def test_missing_eye_age_and_report_where_allowed(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export", {"x.png": "p9,,,,,"})
    (export / "images" / "x.png").write_bytes(picture(9))
    assert take(export, report_required=False).images == 5
    record = next(r for r in open_archive(tmp_path / "out.tap").records if r.patient_id == "p9")
    assert record.laterality == Laterality.UNKNOWN
    assert np.isnan(record.age_years)
    assert (record.report, record.labels) == ("", ())


def test_one_class_only_is_a_warning(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export")
    text = (export / "clinic.csv").read_text()
    (export / "clinic.csv").write_text(text.replace(",B\n", ",A\n"))
    assert any("one class only: every label is 'A'" in w for w in take(export).warnings)


def test_mended_rows_leave_the_quarantine(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export", {"../x.png": "p9,OD,60,F,text,A", "y.png": "p9,OD,60,F,text,A"})
    (export / "images" / "x.png").write_bytes(picture(9))
    (export / "images" / "y.png").write_bytes(b"broken")
    assert take(export).quarantined == 2
    text = (export / "clinic.csv").read_text()
    (export / "clinic.csv").write_text(text.replace("../x.png", "x.png"))
    (export / "images" / "y.png").write_bytes(picture(10))
    mended = take(export)
    assert (mended.added, mended.unchanged, mended.quarantined) == (2, 4, 0)


def test_patients_added_later_leave_the_others_where_they_were(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export")
    take(export)
    before = {r.patient_id: r.split for r in open_archive(tmp_path / "out.tap").records}
    later = tmp_path / "later"
    later.mkdir()
    (later / "9.png").write_bytes(picture(9))
    (later / "t.csv").write_text("file,patient,report\n9.png,p9,text\n")
    ingest([later], tmp_path / "out.tap")
    after = {r.patient_id: r.split for r in open_archive(tmp_path / "out.tap").records}
    assert {p: after[p] for p in before} == before
    assert after["p9"] != Split.NONE


def test_wrong_places_are_refused(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export")
    with pytest.raises(UsageError, match="inside the export"):
        ingest([export], export / "out.tap")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "holiday.jpg").touch()
    with pytest.raises(ArtefactError, match="is no archive"):
        ingest([export], tmp_path / "full")
    with pytest.raises(DataError, match="there is no"):
        ingest([tmp_path / "nowhere"], tmp_path / "out.tap")
    with pytest.raises(UsageError, match="no source"):
        ingest([], tmp_path / "out.tap")


def test_settings_of_an_archive_are_not_changed_by_a_later_ingest(tmp_path: Path) -> None:
    export = clinic(tmp_path / "export")
    take(export, name="first")
    assert take(export).digest
    for changed in ({"name": "second"}, {"seed": 3}, {"fractions": (0.5, 0.25, 0.25)}, {"label_map": "A=cataract"}):
        with pytest.raises(UsageError, match="but this archive has"):
            take(export, **changed)
    with pytest.raises(UsageError, match="label_map"):
        take(export, label_map="A")
