"""oct-converter reads of a made-up `.fda` what we read of it: pixels, eye, day, person, model, size of a sample."""

from __future__ import annotations

import importlib.util
import io
import math
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from kinds_of_files import fda_bytes, fda_chunks
from tapetum.archive.readers.vendor import vendor
from tapetum.archive.rows import Row
from tapetum.archive.tables.settings import TableSettings
from tapetum.archive.volumes import topcon

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("oct_converter") is None,
    reason="the peer is not installed: pip install --no-deps oct-converter",
)


@pytest.fixture
def peer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Its reader of this format, with what it needs and the present numpy no longer has; it wants HDF5 for another."""
    if importlib.util.find_spec("h5py") is None:
        monkeypatch.setitem(sys.modules, "h5py", types.ModuleType("h5py"))
    monkeypatch.setattr(np, "fromstring", np.frombuffer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from oct_converter.readers.fda import FDA
    return FDA


@pytest.mark.parametrize(("eye", "side"), [(0, "R"), (1, "L")])
def test_the_same_is_read(tmp_path: Path, peer: Any, eye: int, side: str) -> None:
    rng = np.random.default_rng(eye)
    scans = rng.integers(0, 256, (110, 16, 128), dtype=np.uint8)
    photo = rng.integers(0, 256, (40, 56, 3), dtype=np.uint8)
    place = tmp_path / "a.fda"
    place.write_bytes(fda_bytes(fda_chunks(scans, photo=photo, eye=eye)))
    theirs = peer(place)
    volume = theirs.read_oct_volume()
    ours = {row.file: row for row in vendor(tmp_path, TableSettings()) if isinstance(row, Row)}
    row, coloured = ours["a.fda"], ours["a.fda#fundus"]
    pixels = {row.file: pydicom.dcmread(io.BytesIO(row.read())) for row in (row, coloured)}
    np.testing.assert_array_equal(pixels["a.fda"].pixel_array, np.stack(volume.volume))
    np.testing.assert_array_equal(pixels["a.fda#fundus"].pixel_array, theirs.read_fundus_image().image)
    assert (volume.laterality, row.laterality.value) == (side, {"R": "OD", "L": "OS"}[side])
    assert row.captured == volume.acquisition_date.date().isoformat()
    assert row.patient_id == volume.patient_id
    assert row.identifiers["name"] == f"{volume.first_name} {volume.surname}"
    assert row.identifiers["birth_date"] == volume.DOB.date().isoformat()
    assert row.device == f"Topcon {volume.metadata['hw_info_03']['model_name']}"
    facts = topcon.describe(str(place))[0]
    said = [facts[key] for key in ("column_mm", "between_mm", "row_mm")]
    assert all(math.isclose(a, b) for a, b in zip(said, volume.pixel_spacing, strict=True))


def test_every_chunk_of_the_made_up_file_is_one_that_the_peer_knows(tmp_path: Path, peer: Any) -> None:
    place = tmp_path / "a.fda"
    place.write_bytes(fda_bytes(fda_chunks(np.zeros((1, 8, 8), np.uint8), photo=np.zeros((8, 8, 3), np.uint8))))
    theirs = peer(place)
    assert theirs.header["file_type"] == "FDA"
    read = {name.decode().removeprefix("@").lower() for name in theirs.chunk_dict}
    assert read - set(theirs.read_all_metadata()) == {"img_jpeg", "img_fundus", "contour_info"}
    assert len(theirs.chunk_dict[b"@CONTOUR_INFO"][0]) == 2
