"""A flipped bit anywhere in an archive is found, and the file is named; what was not damaged is not accused."""

from __future__ import annotations

import random
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapetum.archive import ingest, verify
from tapetum.archive.store.catalog import Catalog, SightRow
from tapetum.archive.store.vault import content_id
from tapetum.core.errors import ArtefactError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verify")
    (root / "images").mkdir()
    lines = ["file,patient,eye,age,sex,report,label\n"]
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(noise).save(root / "images" / f"{i}.png")
        lines.append(f"{i}.png,p{i},OD,{50 + i},F,report {i},A\n")
    (root / "clinic.csv").write_text("".join([*lines, "gone.png,p9,OD,50,F,x,A\n"]), encoding="utf-8")
    ingest([root], root.parent / f"{root.name}.tap")
    return root.parent / f"{root.name}.tap"


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "a.tap"))


def files(place: Path) -> list[Path]:
    return sorted(p for p in place.rglob("*") if p.is_file())


def flip(file: Path, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


def test_whole_archive_is_well(place: Path) -> None:
    assert verify(place) == ()
    assert {p.name for p in files(place) if p.parent == place} >= {
        "archive.sha256", "catalog.sqlite", "meta.json", "quarantine.csv",
    }  # fmt: skip


def test_verify_writes_nothing(place: Path) -> None:
    before = {p: p.read_bytes() for p in files(place)}
    verify(place)
    assert {p: p.read_bytes() for p in files(place)} == before


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bit_in_each_file_is_named(made: Path, tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    for name in [p.relative_to(made) for p in files(made)]:
        place = Path(shutil.copytree(made, tmp_path / "a.tap"))
        bit = rng.randrange((place / name).stat().st_size * 8)
        flip(place / name, bit)
        found = verify(place)
        short = name.name[:12] if name.parts[0] == "vault" else name.name
        assert any(short in line for line in found), f"bit {bit} of {name}: {found}"
        others = {p.name for p in files(made) if p.parent == made} - {name.name}
        accused = {line.split()[0] for line in found if line.endswith("than it was written with")}
        assert not accused & others, f"bit {bit} of {name}: {found}"
        shutil.rmtree(place)


def test_every_bit_of_the_catalogs_header_is_covered(place: Path) -> None:
    """Bytes 18 and 19 say whether there is a log: SQLite itself would quietly set them right on opening."""
    file = place / "catalog.sqlite"
    whole = file.read_bytes()
    for bit in range(0, 100 * 8, 7):
        file.write_bytes(whole)
        flip(file, bit)
        assert any("catalog.sqlite" in line for line in verify(place)), bit


def test_missing_file_is_named(made: Path, tmp_path: Path) -> None:
    for name in ("catalog.sqlite", "quarantine.csv", "meta.json"):
        place = Path(shutil.copytree(made, tmp_path / "a.tap"))
        (place / name).unlink()
        assert any(name in line and "missing" in line for line in verify(place)), name
        shutil.rmtree(place)


def test_orphan_stranger_and_sight_without_image_are_said(place: Path) -> None:
    orphan = content_id(b"orphan")
    (place / "vault" / orphan[:2]).mkdir(exist_ok=True)
    (place / "vault" / orphan[:2] / orphan).write_bytes(b"orphan")
    (place / "vault" / "Thumbs.db").write_bytes(b"")
    catalog = Catalog(place / "catalog.sqlite")
    with catalog.writing() as run:
        catalog.write([], run, sights=[SightRow("e" * 64, {}, np.zeros(1), np.zeros(1, np.float32))])
    catalog.close()
    found = verify(place)
    assert len(found) == 3
    assert any(orphan[:12] in line and "tapetum gc" in line for line in found)
    assert any("Thumbs.db" in line for line in found)
    assert any("eeeeeeeeeeee" in line and "sight" in line for line in found)


def test_archive_of_the_first_version_is_checked_as_it_is(place: Path) -> None:
    """No seal, the old schema: well, and neither brought up nor sealed by looking at it."""
    db = sqlite3.connect(place / "catalog.sqlite")
    for table in ("sights", "identities", "seen", "cursors", "snapshots", "members"):
        db.execute(f"DROP TABLE {table}")
    db.execute("DROP INDEX statements_by_image")
    db.execute("UPDATE schema_version SET version = 1")
    db.commit()
    db.close()
    (place / "archive.sha256").unlink()
    assert verify(place) == ()
    db = sqlite3.connect(place / "catalog.sqlite")
    assert db.execute("SELECT version FROM schema_version").fetchone() == (1,)
    db.close()
    assert not (place / "archive.sha256").exists()
    Catalog(place / "catalog.sqlite").close()
    assert verify(place) == ()


def test_no_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError):
        verify(tmp_path)
