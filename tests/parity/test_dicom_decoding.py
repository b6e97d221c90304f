"""Every file that comes with pydicom: decoded as pydicom decodes and converts it, or refused for a stated reason."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array

from tapetum.archive.pixels import decode, probe
from tapetum.archive.sandbox import Sandbox
from tapetum.core.errors import DataError

FOLDER = Path(pydicom.__file__).parent / "data"
NOT_DICOM = (".py", ".pyc", ".json", ".txt", ".sha256", ".md")
FILES = sorted(p for p in FOLDER.rglob("*") if p.is_file() and p.suffix not in NOT_DICOM)
# Reasons for which a file of this folder may be refused, and those files that pydicom itself would decode.
REASONS = (
    r"no pixels", r"no image that is read here", r"samples of 32 bits", r"has no (Columns|BitsAllocated)",
    r"NumberOfFrames is no number", r"is cut short", r"codestream has \d+ × 1024",
)  # fmt: skip
REFUSED_THOUGH_PYDICOM_DECODES = {
    "SC_rgb_rle_32bit.dcm", "SC_rgb_rle_32bit_2frame.dcm", "rtdose.dcm", "rtdose_1frame.dcm", "rtdose_expb.dcm",
    "rtdose_expb_1frame.dcm", "rtdose_rle.dcm", "rtdose_rle_1frame.dcm",
}  # fmt: skip
DECODED_THOUGH_PYDICOM_CANNOT = {"JPGExtended.dcm", "JPEG-lossy.dcm", "SC_rgb_jpeg_gdcm.dcm"}


def reference(path: Path) -> np.ndarray | None:
    """The middle frame as pydicom decodes it and converts it to RGB, as floats 0..255; None where it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = pydicom.dcmread(path)
            frames = int(ds.get("NumberOfFrames", 1) or 1)
            samples = pixel_array(ds, index=frames // 2)
            return _rgb(ds, samples)
        except Exception:  # whatever pydicom raises: it cannot
            return None


def _rgb(ds: Any, samples: np.ndarray) -> np.ndarray:
    bits = int(ds.BitsStored)
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        looked = apply_color_lut(samples, ds)
        return looked.astype(float) * (255 / np.iinfo(looked.dtype).max)
    if samples.ndim == 3:
        return samples.astype(float) * (255 / (2**bits - 1))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if ds.PixelRepresentation else (0, 2**bits - 1)
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    shown = apply_voi_lut(apply_modality_lut(samples, ds), ds, index=0).astype(float)
    grey = (shown - low * slope - intercept) * 255 / ((high - low) * slope)
    grey = 255 - grey if ds.PhotometricInterpretation == "MONOCHROME1" else grey
    return np.repeat(grey[..., None], 3, axis=2)


def test_files_are_decoded_as_by_pydicom_or_refused_for_a_stated_reason() -> None:
    compared, refused, ours_only, decoded = 0, set[str](), set[str](), set[str]()
    for path in FILES:
        data, expected = path.read_bytes(), reference(path)
        rgb, reason = _decoded(data)
        if rgb is None:
            assert any(re.search(known, reason) for known in REASONS), (path.name, reason)
            refused.update([path.name] if expected is not None else [])
            continue
        decoded.add(path.name)
        assert rgb.dtype == np.uint8
        found = probe(data)
        assert rgb.shape == (found.height, found.width, 3)
        if expected is None:
            ours_only.add(path.name)
            continue
        compared += 1
        assert rgb.shape == expected.shape, path.name
        assert np.abs(np.clip(expected, 0, 255) - rgb).max() <= 1.0, path.name
    assert refused == REFUSED_THOUGH_PYDICOM_DECODES
    assert ours_only <= DECODED_THOUGH_PYDICOM_CANNOT <= decoded  # our plug-in, once registered, serves pydicom too
    assert compared >= 80


def _decoded(data: bytes) -> tuple[np.ndarray | None, str]:
    try:
        return decode(data, min_side=0), ""
    except DataError as error:
        return None, error.found


def test_only_the_wanted_frame_is_decoded_and_the_middle_one_by_default() -> None:
    path = FOLDER / "test_files" / "examples_ybr_color.dcm"
    data, ds = path.read_bytes(), pydicom.dcmread(path)
    assert probe(data).frames == 30
    assert np.array_equal(decode(data, min_side=0), decode(data, min_side=0, frame=15))
    for frame in (0, 15, 29):
        whole = pixel_array(ds, index=frame).astype(float)
        assert np.abs(decode(data, min_side=0, frame=frame) - whole).max() <= 1
        half = decode(data, min_side=96, frame=frame).astype(float)
        assert half.shape == (96, 128, 3)
        assert abs(half.mean() - whole.mean()) < 0.5
    for frame in (-1, 30):
        with pytest.raises(DataError, match=f"frame {frame} of a file with 30"):
            decode(data, min_side=0, frame=frame)


def test_jpeg_of_twelve_bits_and_lossless_jpeg_show_the_same_picture_as_their_uncompressed_twins() -> None:
    folder = FOLDER / "test_files"
    lossless = decode((folder / "SC_rgb_jpeg_gdcm.dcm").read_bytes(), min_side=0)
    assert np.array_equal(lossless, decode((folder / "SC_rgb_rle.dcm").read_bytes(), min_side=0))
    twelve = decode((folder / "JPGExtended.dcm").read_bytes(), min_side=0)
    assert twelve.max() == round(264 * 255 / 4095)
    assert np.array_equal(twelve, decode((folder / "JPEG-lossy.dcm").read_bytes(), min_side=0))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1) as pool:
        yield pool


def shape(data: bytes) -> list[int]:
    return list(decode(data, min_side=0).shape)


def test_every_file_is_accounted_for_in_the_sandbox(sandbox: Sandbox) -> None:
    every = [p for p in sorted(FOLDER.rglob("*")) if p.is_file()]
    outcomes = list(sandbox.map("test_dicom_decoding:shape", ((p.read_bytes(),) for p in every)))
    assert len(outcomes) == len(every)
    for path, outcome in zip(every, outcomes, strict=True):
        if outcome.error:
            assert isinstance(outcome.error, DataError)
            assert not re.search("crash|memory|failed", outcome.error.found), (path.name, outcome.error.found)
