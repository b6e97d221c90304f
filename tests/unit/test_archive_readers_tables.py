"""Tables in the shapes in which clinics export them, and what they say joined to the files."""

from __future__ import annotations

import csv
import datetime
import math
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.workbook import Workbook

from tapetum.archive import fields
from tapetum.archive.config import IngestConfig
from tapetum.archive.exports.finding import find_export
from tapetum.archive.readers.folder import folder
from tapetum.archive.rows import Note, Row
from tapetum.archive.tables import spreadsheets
from tapetum.archive.tables.settings import TableSettings
from tapetum.archive.tables.table import map_columns, read_table
from tapetum.core.errors import DataError, UsageError


def workbook(path: Path, *sheets: list[list[object]]) -> None:
    book = Workbook()
    book.remove(book.active)  # type: ignore[arg-type]
    for number, lines in enumerate(sheets, start=1):
        sheet = book.create_sheet(f"S{number}")
        for line in lines:
            sheet.append(line)
    book.save(path)


def test_excel_cells_as_a_person_reads_them(tmp_path: Path) -> None:
    lines: list[list[object]] = [
        ["file", "pid", "age", "date", "note", None],
        ["a.png", 17, 60.5, datetime.datetime(2021, 4, 3), "=1+1"],
        ["b.png", 18.0, None, datetime.datetime(2021, 4, 3, 9, 30), "two\nlines"],
        [None, None],
        ["c.png", "007"],
    ]
    workbook(tmp_path / "t.xlsx", lines, [])
    table = read_table(tmp_path / "t.xlsx")
    assert table.columns == ("file", "pid", "age", "date", "note")
    assert [number for number, _ in table.rows] == [2, 3, 5]
    first, second, third = (cells for _, cells in table.rows)
    assert (first["pid"], first["age"], first["date"]) == ("17", "60.5", "2021-04-03")
    assert first["note"] == ""  # a formula that was never computed has no value
    assert (second["pid"], second["date"], second["note"]) == ("18", "2021-04-03 09:30:00", "two\nlines")
    assert (third["pid"], third["age"]) == ("007", "")
    assert table.encoding == "sheet S1"


def test_several_sheets_are_not_guessed_between(tmp_path: Path) -> None:
    workbook(tmp_path / "t.xlsx", [["file", "patient"], ["a.png", "1"]], [["file", "patient"], ["a.png", "2"]])
    with pytest.raises(UsageError, match="2 sheets: S1, S2"):
        read_table(tmp_path / "t.xlsx")
    assert read_table(tmp_path / "t.xlsx", sheet="S2").rows[0][1]["patient"] == "2"
    with pytest.raises(UsageError, match="no sheet 'S3'"):
        read_table(tmp_path / "t.xlsx", sheet="S3")
    (tmp_path / "a.png").touch()
    said = list(folder(tmp_path, TableSettings(table="t.xlsx#S2")))
    assert [item.patient_id for item in said if isinstance(item, Row)] == ["2"]


def test_broken_and_oversized_excel_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.xlsx", "b.xls"):
        (tmp_path / name).write_bytes(b"junk" * 100)
        with pytest.raises(DataError, match=r"does not open"):
            read_table(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "c.xlsx", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("xl/workbook.xml", b"0" * 1_000_000)
    monkeypatch.setattr(spreadsheets, "MAX_UNPACKED_BYTES", 500_000)
    with pytest.raises(DataError, match="unpacks to"):
        spreadsheets.sheet_rows(str(tmp_path / "c.xlsx"), "", 1)
    book = openpyxl.Workbook()
    book.save(tmp_path / "empty.xlsx")
    with pytest.raises(DataError, match="no header"):
        read_table(tmp_path / "empty.xlsx")


def test_titles_above_the_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Eye clinic; export\n\nfile|patient\na.png|1\n")
    table = read_table(tmp_path / "t.csv", header_row=3)
    assert table.rows == ((4, {"file": "a.png", "patient": "1"}),)
    workbook(tmp_path / "t.xlsx", [["Eye clinic"], ["file", "patient"], ["a.png", 1]])
    assert read_table(tmp_path / "t.xlsx", header_row=2).rows == ((3, {"file": "a.png", "patient": "1"}),)
    with pytest.raises(UsageError, match="header_row=0"):
        read_table(tmp_path / "t.csv", header_row=0)
    with pytest.raises(DataError, match="no header"):
        read_table(tmp_path / "t.csv", header_row=9)


def test_empty_columns_at_the_end_and_an_excel_hint(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\nfile;patient;;\na.png;1;;\nb.png;2\nc.png;3;x;\n")
    table = read_table(tmp_path / "t.csv")
    assert table.columns == ("file", "patient")
    assert [cells["file"] for _, cells in table.rows] == ["a.png", "b.png"]
    assert table.ragged == ((4, "4 cells where the header of t.csv has 2"),)


def test_a_nul_refuses_its_row_only(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"file,patient\na.png,1\0\nb.png,2\n")
    table = read_table(tmp_path / "t.csv")
    assert [cells["file"] for _, cells in table.rows] == ["b.png"]
    assert table.ragged == ((2, "a cell of t.csv holds a NUL character"),)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("gb18030", "视网膜出血和渗出物"), ("shift_jis", "網膜出血があります"), ("cp1251", "кровоизлияние сетчатки")],
)
def test_encodings_are_named_not_guessed(tmp_path: Path, encoding: str, text: str) -> None:
    (tmp_path / "t.csv").write_bytes(f"file,patient,report\na.png,1,{text}\n".encode(encoding))
    with pytest.raises(DataError, match="encoding of") as caught:
        read_table(tmp_path / "t.csv")
    assert encoding in caught.value.expected
    assert read_table(tmp_path / "t.csv", encoding).rows[0][1]["report"] == text


@pytest.mark.parametrize(
    ("text", "order", "day"),
    [
        ("03.04.21", "", "unknown"), ("03.04.21", "dmy", "2021-04-03"), ("03/04/98", "mdy", "1998-03-04"),
        ("2021-04-03 09:30:00", "", "2021-04-03"), ("3.4.2021 09:30", "", "2021-04-03"),
        ("2021-04-03T09:30:00Z", "", "2021-04-03"), ("12 OCT 2020", "", "2020-10-12"), ("44289", "", "unknown"),
        ("2021.04.03", "", "2021-04-03"), ("31/04/2021", "dmy", "unknown"),
    ],
)  # fmt: skip
def test_dates(text: str, order: str, day: str) -> None:
    found, note = fields.iso_date(text, order)
    assert found == day
    assert bool(note) == (day == "unknown")


def test_spanish_sexes_are_told_by_the_column() -> None:
    assert fields.is_spanish_sex(["M", "H", ""])
    assert not fields.is_spanish_sex(["M", "F"])
    assert [fields.sex(text, spanish=True)[0] for text in "HMF"] == ["M", "F", "F"]
    assert fields.sex("H")[0] == "unknown"


@pytest.mark.parametrize(
    ("text", "mm"), [("0,0117", 0.0117), ("11.5 µm", 0.0115), ("", math.nan), ("0", math.nan), ("wide", math.nan)]
)
def test_spacing(text: str, mm: float) -> None:
    found, note = fields.spacing_mm(text)
    assert found == pytest.approx(mm, nan_ok=True)
    assert bool(note) == (text in ("0", "wide"))


def test_names_and_phones_are_for_scrubbing_only(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter=";")
        table.writerow(["file", "patient", "Vorname", "Nachname", "Geburtsdatum", "Telefon", "mobile", "mm_per_pixel",
                        "Kamera", "sex"])  # fmt: skip
        table.writerow(["a.png", "1", "Anna", "Müller", "01.05.1960", "030 1", "0170 2", "0,01", "Zenit", "w"])
    said = list(folder(tmp_path, TableSettings()))
    row = next(item for item in said if isinstance(item, Row))
    assert row.identifiers == {
        "name": "Anna Müller", "birth_date": "01.05.1960", "phone": "030 1", "phone_2": "0170 2",
    }  # fmt: skip
    assert (row.mm_per_pixel, row.device, row.sex) == (0.01, "Zenit", "F")
    assert row.provenance["mm_per_pixel"] == "column mm_per_pixel"
    assert "phone_2=mobile" in next(item.text for item in said if isinstance(item, Note))


def test_a_name_column_that_names_the_images_is_no_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Name,patient_id\na.png,1\n")
    table = read_table(tmp_path / "t.csv")
    assert map_columns(table, "image=Name", required=("image",)) == {"image": "Name", "patient": "patient_id"}
    assert map_columns(table, "", required=())["name"] == "Name"


def test_what_is_said_of_a_table_may_stand_with_the_reader(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Eye clinic\nfoto,pid\na.png,1\n")
    (tmp_path / "u.csv").write_text("file,patient\na.png,2\n")
    (tmp_path / "a.png").touch()

    def patients(**settings: Any) -> list[str]:
        return [
            item.patient_id for item in find_export(tmp_path, IngestConfig(**settings)).read() if isinstance(item, Row)
        ]

    columns = "image=foto,patient=pid"
    assert patients(map=columns, table="t.csv", header_row=2) == ["1"]
    assert patients(reader=f"folder(header_row=2, columns='{columns}', table='t.csv', every_seconds=2.0)") == ["1"]
    assert patients(reader="folder(table='t.csv', header_row=2)", map=columns, header_row=2) == ["1"]
    assert patients(reader="folder", table="u.csv") == ["2"]
    with pytest.raises(UsageError, match=r"table=t.csv and reader=folder\(table='u.csv'\)"):
        patients(reader="folder(table='u.csv')", table="t.csv")
    with pytest.raises(UsageError, match="header_row='2'"):
        patients(reader="folder(header_row='2')")
    with pytest.raises(UsageError, match="unknown option 'window' of dicom"):
        patients(reader="dicom(window='0,1')")
