"""What stands outside the field of view is blanked; the inside stays."""

from __future__ import annotations

import importlib.util
import io

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image

from tapetum.archive.deidentify import Key, Pseudonyms, clean
from tapetum.archive.deidentify.cleaning import OUTSIDE, UNSEEN
from tapetum.archive.deidentify.field import find_field
from tapetum.archive.pixels import decode
from tapetum.core.errors import DataError
from tapetum.phantom.dicom import Header, wrap

NAMES = Pseudonyms(Key(bytes(range(32))))
OCR = pytest.mark.skipif(
    importlib.util.find_spec("rapidocr_onnxruntime") is None, reason="the text detector is not installed"
)


def eye(side=512, *, radius=0.44, white=False, words=(), noise=3.0):
    """A disc with vessels on black or white, and words at places given as parts of the side."""
    image = np.full((side, side, 3), 250 if white else 2, np.uint8)
    cv2.circle(image, (side // 2, side // 2), int(radius * side), (190, 100, 50), -1)
    for n in range(9):
        end = (int(side * (0.5 + 0.36 * np.cos(n))), int(side * (0.5 + 0.36 * np.sin(n))))
        cv2.line(image, (side // 2, side // 2), end, (120, 40, 30), max(1, side // 150))
    image = np.clip(image + np.random.default_rng(1).normal(0, noise, image.shape), 0, 255).astype(np.uint8)
    for text, x, y, grey in words:
        colour = (grey, grey, grey)
        cv2.putText(image, text, (int(x * side), int(y * side)), cv2.FONT_HERSHEY_SIMPLEX, side / 900, colour, 1)
    return image


def encoded(image, form="JPEG", **options):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, form, **({"quality": 92} | options if form == "JPEG" else options))
    return stream.getvalue()


def take(data, **options):
    return clean(data, pseudonyms=NAMES, patient_id="P1", identifiers={}, **options)


def inside(side, radius=0.43):
    rows, columns = np.mgrid[:side, :side]
    return np.hypot(rows - side / 2, columns - side / 2) < radius * side


CORNER = (("MEYER", 0.02, 0.06, 240),)


def test_a_clean_photograph_stays_as_it_is():
    for image in (eye(), eye(700), eye(white=True), eye(radius=0.55)):
        data = encoded(image)
        made = take(data)
        assert made.data is data
        assert made.notes == ()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("grey", [240, 60])
def test_words_in_the_corner_go_and_the_inside_stays(subsampling, grey):
    data = encoded(eye(words=(("MEYER", 0.02, 0.06, grey),)), subsampling=subsampling)
    made = take(data)
    before, after = decode(data, min_side=0).astype(int), decode(made.data, min_side=0).astype(int)
    assert made.notes == (OUTSIDE,)
    assert np.abs(before[:60, :120] - np.median(before[:60, :120], axis=(0, 1))).max() > 30
    assert after[:60, :120].max() < 12
    assert np.abs(before - after)[inside(512)].mean() < 0.25
    image = Image.open(io.BytesIO(made.data))
    assert image.quantization == Image.open(io.BytesIO(data)).quantization
    assert take(data).data == made.data
    assert take(made.data).data is made.data


def test_words_that_touch_the_rim_go():
    data = encoded(eye(1024, words=(("MEYER ANNA", 0.60, 0.09, 230), ("1950", 0.09, 0.80, 230))))
    after = decode(take(data).data, min_side=0)
    assert after[~inside(1024, 0.46)].max() < 40


def test_a_white_surround_keeps_its_colour():
    image = eye(white=True)
    cv2.putText(image, "MEYER", (8, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (10, 10, 10), 2)
    after = decode(take(encoded(image)).data, min_side=0)
    assert after[:40, :120].min() > 235


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_turned_photograph_is_blanked_where_it_shows(orientation):
    image = eye(words=CORNER)[:, 40:]
    cv2.putText(image, "MEYER", (4, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (240, 240, 240), 2)
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(image, exif=exif)
    seen, after = decode(data, min_side=0), decode(take(data).data, min_side=0)
    assert seen.shape == after.shape
    changed = np.abs(seen.astype(int) - after).max(axis=2) > 60
    assert changed.sum() > 50
    field = find_field(seen)
    assert field is not None
    assert not (changed & field.inside(seen.shape[1], seen.shape[0], -0.02)).any()
    assert find_field(after) is not None
    assert not find_field(after).marked


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_png_stays_exact_inside(mode):
    image = Image.fromarray(eye(words=CORNER)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    before, after = decode(stream.getvalue(), min_side=0), decode(take(stream.getvalue()).data, min_side=0)
    assert np.array_equal(before[inside(512)], after[inside(512)])
    assert after[:60, :120].max() < 15


def test_tiff_becomes_png():
    made = take(encoded(eye(words=CORNER), "TIFF"))
    assert made.data[:4] == b"\x89PNG"
    assert np.array_equal(decode(made.data, min_side=0)[inside(512)], eye(words=CORNER)[inside(512)])


def test_an_oval_is_a_field_only_where_it_is_known_to_be_one():
    squeezed = cv2.resize(eye(words=CORNER), (400, 512))
    data = encoded(squeezed)
    assert take(data).notes == (UNSEEN,)
    assert take(data, modality="fundus").notes == (OUTSIDE,)
    assert take(encoded(eye(words=CORNER)), modality="cxr").notes == (UNSEEN,)


def test_what_is_no_photograph_is_left_alone():
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    square = np.zeros((300, 300, 3), np.uint8)
    square[60:240, 60:240] = 180
    for image in (noise, square, np.zeros((300, 300, 3), np.uint8), np.full((20, 20, 3), 9, np.uint8)):
        assert find_field(image) is None
        data = encoded(image, "PNG")
        assert take(data).data == data


def dicom(image, native=False):
    jpeg = encoded(image)
    data = wrap(jpeg, image.shape[0], Header("k", "P1", "F", 61, "OD", "2023-05-02", "cam", "site", 1))
    if not native:
        return data
    ds = pydicom.dcmread(io.BytesIO(data))
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.PhotometricInterpretation = "RGB"
    ds.PixelData = image.tobytes()
    ds["PixelData"].is_undefined_length = False
    stream = io.BytesIO()
    ds.save_as(stream)
    return stream.getvalue()


@pytest.mark.parametrize("native", [False, True])
def test_dicom_pixels_are_blanked(native):
    data = dicom(eye(words=CORNER), native)
    made = take(data)
    before, after = decode(data, min_side=0).astype(int), decode(made.data, min_side=0).astype(int)
    assert made.notes == (OUTSIDE,)
    assert after[:60, :120].max() < 12
    assert np.abs(before - after)[inside(512)].mean() < (0.25 if not native else 1e-9)
    ds = pydicom.dcmread(io.BytesIO(made.data))
    assert ds.BurnedInAnnotation == "NO"
    assert "113101" in [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]


def test_burnt_in_and_not_looked_for_is_refused():
    square = np.zeros((128, 128, 3), np.uint8)
    square[30:100, 30:100] = 150
    ds = pydicom.dcmread(io.BytesIO(dicom(square)))
    ds.BurnedInAnnotation = "YES"
    stream = io.BytesIO()
    ds.save_as(stream)
    with pytest.raises(DataError, match="burnt"):
        take(stream.getvalue())
    ds.BurnedInAnnotation = "NO"
    stream = io.BytesIO()
    ds.save_as(stream)
    made = take(stream.getvalue())
    assert made.notes == (UNSEEN,)
    done = [i.CodeValue for i in pydicom.dcmread(io.BytesIO(made.data)).DeidentificationMethodCodeSequence]
    assert "113101" not in done


@OCR
def test_words_inside_the_field_go_with_ocr():
    image = eye(700)
    clear = image.copy()
    cv2.putText(image, "MEYER ANNA", (220, 480), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (245, 245, 245), 3)
    written = np.abs(image.astype(int) - clear).max(axis=2) > 40
    without, made = take(encoded(image)), take(encoded(image), ocr=True)
    assert without.notes == ()
    after = decode(made.data, min_side=0)
    assert after[written].max() < 60
    assert (np.abs(after.astype(int) - image).max(axis=2) > 60).sum() < 8 * written.sum()


@OCR
def test_nothing_is_blanked_where_nothing_is_written():
    data = encoded(eye(700))
    assert take(data, ocr=True).data is data
