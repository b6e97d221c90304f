"""Cells and tables: what is understood, what stays unknown, what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tapetum.archive import fields
from tapetum.archive.places import Places
from tapetum.archive.tables.table import map_columns, read_table
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Laterality

TEXT = "file,patient,report\na.png,1,œdème près de la papille\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_encodings_and_delimiters_are_recognised(tmp_path: Path, encoding: str, delimiter: str) -> None:
    place = tmp_path / "t.csv"
    place.write_bytes(TEXT.replace(",", delimiter).encode(encoding))
    table = read_table(place)
    assert table.columns == ("file", "patient", "report")
    assert table.rows == ((2, {"file": "a.png", "patient": "1", "report": "œdème près de la papille"}),)


def test_another_code_page_is_an_error_and_can_be_named(tmp_path: Path) -> None:
    place = tmp_path / "t.csv"
    place.write_bytes("file,patient,report\na.png,1,视网膜出血\n".encode("gb18030"))
    with pytest.raises(DataError, match=r"the encoding of t\.csv is unknown"):
        read_table(place)
    assert read_table(place, "gb18030").rows[0][1]["report"] == "视网膜出血"
    with pytest.raises(UsageError, match="unknown encoding"):
        read_table(place, "klingon")
    with pytest.raises(DataError, match="not ascii"):
        read_table(place, "ascii")


def test_rows_are_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    place = tmp_path / "t.csv"
    place.write_text('file,patient\n"a\nb",1\n\nc\nd,2\n')
    table = read_table(place)
    assert [number for number, _ in table.rows] == [2, 5]
    assert table.ragged == ((4, "1 cells where the header of t.csv has 2"),)


@pytest.mark.parametrize("text", ["", "\n", 'file,patient\n"a,1\n', "file,file\n"])
def test_what_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    place = tmp_path / "t.csv"
    place.write_text(text)
    with pytest.raises(DataError, match=r"t\.csv"):
        read_table(place)


def test_columns_by_exact_name_by_mapping_and_missing(tmp_path: Path) -> None:
    place = tmp_path / "t.csv"
    place.write_text("File,pid,Eye,findings\n")
    table = read_table(place)
    assert map_columns(table, "patient=pid", labels="findings", required=("image", "patient")) == {
        "patient": "pid",
        "labels": "findings",
        "image": "File",
        "eye": "Eye",
    }
    assert "eye" not in map_columns(table, "patient=pid,eye=", required=())
    with pytest.raises(DataError, match=r"no column for patient in t\.csv .*pid"):
        map_columns(table, "", required=("image", "patient"))
    with pytest.raises(DataError, match="no column 'pidd'") as caught:
        map_columns(table, "patient=pidd", required=())
    assert "'pid'" in caught.value.expected
    with pytest.raises(UsageError, match="unknown role 'patent'"):
        map_columns(table, "patent=pid", required=())


def test_two_columns_for_one_role_are_not_guessed(tmp_path: Path) -> None:
    place = tmp_path / "t.csv"
    place.write_text("file,patient,report,keywords\n")
    with pytest.raises(UsageError, match="report and keywords for report"):
        map_columns(read_table(place), "", required=())


@pytest.mark.parametrize(
    ("text", "eye"),
    [("OD", "OD"), (" right ", "OD"), ("l", "OS"), ("Both", "OU"), ("", "unknown"), ("not paired", "not paired")],
)
def test_laterality(text: str, eye: str) -> None:
    assert fields.laterality(text) == Laterality(eye)


@pytest.mark.parametrize("text", ["links?", "0", "OD/OS", "nan"])
def test_laterality_that_is_not_understood(text: str) -> None:
    with pytest.raises(DataError, match="not understood"):
        fields.laterality(text)


@pytest.mark.parametrize(
    ("text", "years"), [("60", 60), ("061Y", 61), ("18M", 1.5), ("60,5", 60.5), ("", math.nan), ("NaN", math.nan)]
)
def test_age(text: str, years: float) -> None:
    assert fields.age_years(text) == (pytest.approx(years, nan_ok=True), "")


@pytest.mark.parametrize("text", ["sixty", "-3", "999"])
def test_age_that_is_none_is_unknown_and_said(text: str) -> None:
    age, note = fields.age_years(text)
    assert math.isnan(age)
    assert text in note


def test_dates() -> None:
    assert fields.iso_date("03/04/2021")[0] == "unknown"
    assert "day or month first" in fields.iso_date("03/04/2021")[1]
    assert fields.iso_date("03/04/2021", "mdy") == ("2021-03-04", "")
    assert fields.iso_date("3.4.2021") == ("2021-04-03", "")
    assert fields.iso_date("2021-02-30")[0] == "unknown"
    assert fields.slashed_order(["03/04/2021", "25/04/2021"]) == "dmy"
    assert fields.slashed_order(["03/04/2021"]) == ""
    assert fields.slashed_order(["13/04/2021", "04/13/2021"]) == ""
    with pytest.raises(UsageError, match="date order"):
        fields.iso_date("03/04/2021", "ymd")


def test_labels() -> None:
    assert fields.labels("D，O") == ("D", "O")
    assert fields.labels("2|10|2.0") == ("10", "2")
    with pytest.raises(DataError, match="'D, nan'"):
        fields.labels("D, nan")


@pytest.mark.parametrize("cell", ["../secret.png", "/etc/passwd", "C:\\x.png", "\\\\host\\x.png", "a/../../x.png"])
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, cell: str) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match="leaves the export"):
        Places(tmp_path).find(cell)


def test_files_are_found_by_path_end_of_path_name_and_stem(tmp_path: Path) -> None:
    export = tmp_path / "export"
    for name in ("in/a.png", "in/b.png", "other/b.png"):
        (export / name).parent.mkdir(parents=True, exist_ok=True)
        (export / name).touch()
    (tmp_path / "secret.png").touch()
    (export / "link.png").symlink_to(tmp_path / "secret.png")
    places = Places(export, (".png",))
    assert places.find("in\\a.png") == places.find("a.png") == places.find("a") == "in/a.png"
    for cell, message in (("b.png", "2 files"), ("x/a.png", "no file"), ("link.png", "is a link"), ("", "no image")):
        with pytest.raises(DataError, match=message):
            places.find(cell)
