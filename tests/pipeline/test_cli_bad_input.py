"""The list of bad input through the command line: file and row are named, the rest is taken, the code is 3."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tapetum.archive import open_archive
from tapetum.cli import app

HEADER = "file,patient,eye,report,label\n"


def picture(number, form="PNG", mode="RGB"):
    image = np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(image).convert(mode).save(stream, form)
    return stream.getvalue()


@pytest.fixture
def export(tmp_path):
    folder = tmp_path / "export"
    folder.mkdir()
    for i in range(4):
        (folder / f"{i}.png").write_bytes(picture(i))
    rows = [f"{i}.png,p{i},OD,a report,{'AB'[i % 2]}\n" for i in range(4)]
    (folder / "clinic.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
    return folder


def ingest(folder, *words):
    done = CliRunner().invoke(app, ["ingest", str(folder), "--out", str(folder.parent / "a.tap"), *words])
    assert "Traceback" not in done.output
    return done


QUARANTINED = {
    "does not decode": (picture(9)[:300], "x.png,p9,OD,text,A"),
    "no image": (b"hello", "x.png,p9,OD,text,A"),
    "16 bit": (cv2.imencode(".png", np.zeros((8, 8), np.uint16))[1].tobytes(), "x.png,p9,OD,text,A"),
    "empty report": (picture(9), "x.png,p9,OD,,A"),
    "duplicate file": (picture(1), "x.png,p1,OD,text,A"),
    "two patients with one image": (picture(1), "x.png,p9,OD,text,A"),
    "path traversal": (None, "../../x.png,p9,OD,text,A"),
    "NaN label": (picture(9), "x.png,p9,OD,text,NaN"),
    "missing file": (None, "x.png,p9,OD,text,A"),
}


@pytest.mark.parametrize("case", QUARANTINED)
def test_item_is_quarantined_and_the_rest_taken(export, case):
    data, row = QUARANTINED[case]
    if data is not None:
        (export / "x.png").write_bytes(data)
    with (export / "clinic.csv").open("a") as stream:
        stream.write(row + "\n")
    done = ingest(export)
    assert done.exit_code == 3
    assert f"{row.split(',')[0]}, row 6: " in done.stderr
    assert len(open_archive(export.parent / "a.tap").records) >= 3
    digest = open_archive(export.parent / "a.tap").digest
    again = ingest(export, "--json")
    assert again.exit_code == 3
    result = json.loads(again.stdout)
    assert (result["added"], result["digest"]) == (0, digest)
    assert any(reason["row"] == 6 for reason in result["reasons"])


def test_one_patient_number_for_two_people_is_quarantined(export):
    (export / "clinic.csv").write_text(
        "file,patient,eye,sex,report\n0.png,p0,OD,F,text\n1.png,p0,OS,M,text\n2.png,p2,OS,M,text\n"
    )
    done = ingest(export)
    assert done.exit_code == 3
    assert "row 2" in done.stderr
    assert "row 3" in done.stderr
    assert "contradicts itself" in done.stderr


@pytest.mark.parametrize(
    ("name", "data"), [("x.jpg", picture(9)), ("x.png", picture(9, mode="L")), ("x.tif", picture(9, "TIFF"))]
)
def test_wrong_extension_and_one_channel_are_taken(export, name, data):
    (export / name).write_bytes(data)
    with (export / "clinic.csv").open("a") as stream:
        stream.write(f"{name},p9,OD,text,A\n")
    done = ingest(export)
    assert done.exit_code == 0
    assert "5 images" in done.stdout
    if name == "x.jpg":
        assert "x.jpg: a PNG file by its content" in done.stderr


def test_missing_column_and_unknown_encoding_write_nothing(export):
    table = export / "clinic.csv"
    text = table.read_text()
    table.write_text(text.replace("patient", "who"))
    done = ingest(export)
    assert done.exit_code == 1
    assert "no column for patient in clinic.csv" in done.stderr
    assert "--map" in done.stderr or "map=" in done.stderr
    assert ingest(export, "--map", "patient=who").exit_code == 0
    table.write_bytes((HEADER + "0.png,p0,OD,眼底出血,A\n").encode("gb18030"))
    assert "encoding of clinic.csv is unknown" in ingest(export).stderr
    assert ingest(export, "encoding=gb18030").exit_code == 0


def test_one_class_only_is_told(export):
    table = export / "clinic.csv"
    table.write_text(table.read_text().replace(",B\n", ",A\n"))
    done = ingest(export, "--labels", "label")
    assert done.exit_code == 0
    assert "one class only" in done.stderr


def test_what_cannot_be_learned_is_said(export):
    ingest(export, "--labels", "label", "pack=fundus")
    archive = str(export.parent / "a.tap")
    for words in (
        ["pretrain", archive, "--out", str(export.parent / "m"), "encoders=tiny()", "text_encoder=tiny()"],
        ["adapt", archive, "--out", str(export.parent / "m"), "encoders=tiny()", "findings=drusen"],
        ["bench", "zero_shot", archive, "encoders=tiny()", "text_encoder=tiny()"],
    ):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 1, (words, done.output)
        assert done.stderr.startswith("error: ")
    assert not (export.parent / "m").exists()
