"""Canaries in every place of an export, then a byte-level search of everything that was written: none is found."""

from __future__ import annotations

import contextlib
import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tapetum.archive import open_archive
from tapetum.archive.deidentify import Key, Pseudonyms, clean, scrub
from tapetum.archive.pixels import decode
from tapetum.cli import app
from tapetum.core.errors import DataError
from tapetum.phantom import ClinicConfig, make_clinic
from tapetum.phantom.identifiers import COLUMNS

REFUSED = 3  # what `ingest` ends in where something was refused
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "latin-1")


def values_of(clinic: Path) -> set[str]:
    with (clinic / "truth" / "identifiers.csv").open(encoding="utf-8") as stream:
        return {row["value"] for row in csv.DictReader(stream)}


def found_in(data: bytes, values: set[str]) -> list[str]:
    low = data.lower()
    return [f"{value} ({e})" for value in sorted(values) for e in ENCODINGS if value.lower().encode(e) in low]


def spoil(clinic: Path) -> None:
    """Files that are refused for different reasons: cut, no image, no pixels, a row without a file."""
    files = sorted((clinic / "images").iterdir())
    files[0].write_bytes(files[0].read_bytes()[:900])
    files[1].write_bytes(b"not an image " + files[1].name.encode())
    table = clinic / "clinic.csv"
    with table.open(encoding="utf-8", newline="") as stream:
        row = list(csv.DictReader(stream))[-1]
    with table.open("a", encoding="utf-8", newline="") as stream:
        csv.DictWriter(stream, list(row)).writerow(row | {"file": f"images/{files[2].stem}_gone.jpg"})


@pytest.mark.parametrize("form", ["jpeg", "dicom"])
def test_canaries_are_there_before(tmp_path, form):
    make_clinic(tmp_path / "c", ClinicConfig(patients=2, size=128, form=form, identifiers=True))
    values = values_of(tmp_path / "c")
    assert len(values) >= 20
    everything = (tmp_path / "c" / "clinic.csv").read_bytes()
    for file in (tmp_path / "c" / "images").iterdir():
        everything += file.read_bytes() + file.name.encode()
    assert {hit.rpartition(" (")[0] for hit in found_in(everything, values)} == values


@pytest.mark.parametrize("form", ["jpeg", "dicom"])
@pytest.mark.parametrize("profile", ["longitudinal", "basic"])
def test_clean_and_scrub_leave_none(tmp_path, form, profile):
    clinic = make_clinic(tmp_path / "c", ClinicConfig(patients=3, size=256, form=form, identifiers=True))
    spoil(clinic.path)
    values, names = values_of(clinic.path), Pseudonyms(Key(bytes(range(32))), profile)
    taken = refused = 0
    with clinic.table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        identifiers = {column: row[column] for column in COLUMNS}
        text = scrub(row["report"], identifiers=identifiers, patient_id=row["patient"], pseudonyms=names).text
        assert found_in(text.encode(), values) == []
        place = clinic.path / row["file"]
        data = place.read_bytes() if place.exists() else b""
        made = why = None
        try:
            made = clean(data, pseudonyms=names, patient_id=row["patient"], identifiers=identifiers, modality="fundus")
        except DataError as error:
            why = str(error)
        if made is None:
            assert found_in(str(why).encode(), values) == []
            refused += 1
            continue
        taken += 1
        assert found_in(made.data, values) == []
        assert found_in(" ".join(made.notes).encode(), values) == []
        check_corners(data, made.data)
    assert (taken, refused) == (4, 3)


def check_corners(before: bytes, after: bytes) -> None:
    """Name and number stood in the corners at the left, as bright strokes; now there is background."""
    for image, written in ((decode(before, min_side=0), True), (decode(after, min_side=0), False)):
        side = image.shape[0]
        for corner in (image[: side // 24, : side // 8], image[-side // 24 :, : side // 8]):
            bright = cv2.absdiff(corner, np.full_like(corner, np.median(corner))).max()
            assert (bright > 80) == written


def spoil_rows(clinic: Path) -> None:
    """Rows that are refused or remarked on, with a name in every field that a message might quote; cut pixels."""
    half = sorted((clinic / "images").iterdir())[3]
    half.write_bytes(half.read_bytes()[: half.stat().st_size * 6 // 10])
    table = clinic / "clinic.csv"
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    last = rows[-1]
    more = [
        last | {"patient": rows[0]["patient"]},  # two patients claim one image
        last | {"eye": last["name"]},
        last | {"age": last["phone"]},
        last | {"date": last["birth_date"] + " " + last["name"]},
        last | {"sex": last["name"], "file": f"images/../{last['name']}.jpg"},
        last | {"patient": ""},
    ]
    with table.open("a", encoding="utf-8", newline="") as stream:
        csv.DictWriter(stream, list(last)).writerows(more)


class Desk:
    """A place to work at, with its own folder for temporary files; what commands print is searched."""

    def __init__(self, place: Path, values: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.values, self.temporary = place, values, place / "t"
        self.temporary.mkdir()
        (place / "k").mkdir()
        monkeypatch.chdir(place)
        for name in ("TMPDIR", "TEMP", "HOME", "XDG_DATA_HOME"):
            monkeypatch.setenv(name, str(self.temporary))

    def run_apart(self, *words: str, code: int) -> str:
        """What a `tapetum` command printed that ran in a process of its own."""
        script = "import sys; from tapetum.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"
        (self.temporary / "run_verb.py").write_text(script)
        done = subprocess.run(
            [sys.executable, self.temporary / "run_verb.py", *words], capture_output=True, check=False, timeout=300
        )
        assert done.returncode == code, (words, done.stderr.decode()[-2000:])
        assert found_in(done.stdout + done.stderr, self.values) == [], words
        return (done.stdout + done.stderr).decode()

    def run(self, *words: str, code: int = 0, says: bool = False) -> str:
        """What a command printed, which names nobody (but for what was asked for), ending in `code`."""
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == code, (words, done.output[-2000:])
        assert says or found_in(done.output.encode(), self.values) == [], words
        return done.output

    def search(self, *secrets: bytes) -> int:
        """Look at every byte of the archive and of what lies in the temporary folder; how many files there were."""
        looked_at = 0
        for file in (*(self.place / "a.tap").rglob("*"), *self.temporary.rglob("*")):
            assert found_in(file.name.encode(), self.values) == []
            with contextlib.suppress(IsADirectoryError):
                data = file.read_bytes()
                assert found_in(data, self.values) == [], file.name
                assert not any(secret in data for secret in secrets), file.name
                looked_at += 1
        return looked_at


@pytest.mark.parametrize("profile", ["longitudinal", "basic"])
@pytest.mark.parametrize("form", ["jpeg", "dicom"])
def test_nothing_that_an_ingest_writes_names_anybody(tmp_path, monkeypatch, form, profile):
    """From the command line: ingest twice, verify, report, another key, who is it, forget; a search after each."""
    clinic = make_clinic(tmp_path / "c", ClinicConfig(patients=3, size=192, form=form, identifiers=True))
    spoil(clinic.path)
    spoil_rows(clinic.path)
    desk = Desk(tmp_path, values_of(clinic.path), monkeypatch)
    key = Key.create(tmp_path / "k" / "key.json")
    asked = ("c", "--out", "a.tap", f"deidentify={profile}", "modality=fundus")
    said = desk.run_apart("ingest", *asked, "key=k/key.json", code=REFUSED)
    assert desk.search(key.secret) >= 5
    archive = open_archive(tmp_path / "a.tap")
    assert len(archive.records) >= 2
    assert len(archive.quarantine) >= 4, said
    assert {r.modality for r in archive.records} == {"fundus"}
    desk.run("ingest", *asked, "key=k/key.json", code=REFUSED)
    desk.run("verify", "a.tap")
    desk.run("audit", "a.tap")
    desk.search(key.secret)
    who = archive.records[0].patient_id
    desk.run("reidentify", "a.tap", who, "--key", "k/key.json", "--role", "passer-by", "--reason", "curious", code=2)
    told = desk.run(
        "reidentify", "a.tap", who, "--key", "k/key.json", "--role", "data manager", "--reason", "recall", says=True
    )
    assert "MRN" in told
    log = (tmp_path / "k" / "key.json.log").read_text()
    assert who in log
    assert found_in(log.encode(), desk.values) == []
    desk.run("rekey", "a.tap", "--key", "k/key.json", "--new-key", "k/new.json")
    new = Key.load(tmp_path / "k" / "new.json")
    desk.search(key.secret, new.secret, who.encode(), key.id.encode())
    desk.run("reidentify", "a.tap", who, "--key", "k/new.json", "--role", "data manager", "--reason", "recall", code=1)
    who = open_archive(tmp_path / "a.tap").records[0].patient_id
    desk.run("forget", "a.tap", who)
    assert who not in {r.patient_id for r in open_archive(tmp_path / "a.tap").records}
    desk.search(key.secret, new.secret, who.encode())
    desk.run("verify", "a.tap")
