"""Metadata of JPEG, PNG and TIFF files goes, pixels stay bit by bit."""

from __future__ import annotations

import datetime
import io
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tapetum.archive.deidentify.files import strip, strip_jpeg
from tapetum.archive.pixels import decode
from tapetum.core.errors import DataError
from tapetum.phantom.identifiers import draw_identity, sign_jpeg

WHO = draw_identity(np.random.default_rng(3), 61, datetime.date(2023, 5, 2))
PICTURE = Image.fromarray((np.mgrid[:40, :64].sum(axis=0)[..., None] * np.array([2, 1, 1])).astype(np.uint8))


def saved(form, **options):
    stream = io.BytesIO()
    PICTURE.save(stream, form, **options)
    return stream.getvalue()


def exif(orientation):
    block = Image.Exif()
    block[274], block[270] = orientation, WHO.name
    return block


def check_gone(data):
    low = data.lower()
    for text in (WHO.family, WHO.given, WHO.patient_id, WHO.phone, WHO.email):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            assert text.lower().encode(encoding) not in low


def test_jpeg_loses_everything_but_the_picture():
    plain = saved("JPEG", quality=90)
    made = strip(sign_jpeg(plain, WHO))
    check_gone(made)
    assert made == strip(plain) == plain


def test_a_plain_file_is_the_same_object():
    for data in (saved("JPEG"), saved("PNG"), saved("JPEG", progressive=True)):
        assert strip(data) is data


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_stays(orientation):
    for data in (saved("JPEG", exif=exif(orientation)), saved("PNG", exif=exif(orientation))):
        made = strip(data)
        check_gone(made)
        assert Image.open(io.BytesIO(made)).getexif().get(274, 1) == orientation
        assert np.array_equal(decode(made, min_side=0), decode(data, min_side=0))
        assert strip(made) is made


def test_progressive_with_restarts_and_thumbnail():
    data = saved("JPEG", progressive=True, restart_marker_blocks=1, dpi=(72, 72))
    jfif = data.index(b"JFIF\0")
    thumbnail = WHO.name.encode().ljust(3 * 16, b".")
    body = data[jfif : jfif + 12] + bytes((16, 1)) + thumbnail
    spoilt = data[:4] + (len(body) + 2).to_bytes(2, "big") + body + data[jfif + 14 :]
    made = strip(spoilt)
    check_gone(made)
    assert made == data


def test_png_text_time_profile_and_trailer_go():
    info = PngInfo()
    info.add_text("Author", WHO.name)
    info.add_text("Comment", WHO.name, zip=True)
    info.add_itxt("XML:com.adobe.xmp", WHO.email)
    data = saved("PNG", pnginfo=info, icc_profile=WHO.name.encode() * 3) + WHO.name.encode()
    made = strip(data)
    check_gone(made)
    assert not {b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf"} & {made[i : i + 4] for i in range(len(made))}
    assert made == saved("PNG")
    place, crcs = 8, 0
    while place < len(made):
        length = int.from_bytes(made[place : place + 4], "big")
        body = made[place + 4 : place + 8 + length]
        assert zlib.crc32(body) == int.from_bytes(made[place + 8 + length : place + 12 + length], "big")
        place, crcs = place + 12 + length, crcs + 1
    assert crcs >= 3


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
@pytest.mark.parametrize("big", [False, True])
def test_tiff_is_written_anew(compression, big):
    from PIL import TiffImagePlugin

    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"MM" if big else b"II")
    tags[315], tags[270], tags[33432], tags[65000] = WHO.name, WHO.email, WHO.family, WHO.phone
    data = saved("TIFF", compression=compression, tiffinfo=tags) + WHO.name.encode()
    assert WHO.family.lower().encode() in data.lower()
    made = strip(data)
    check_gone(made)
    assert np.array_equal(decode(made, min_side=0), decode(data, min_side=0))
    assert set(Image.open(io.BytesIO(made)).tag_v2) <= {256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 347, 530}
    assert strip(made) == made


def test_tiff_orientation_stays():
    data = saved("TIFF", exif=exif(6))
    made = strip(data)
    check_gone(made)
    assert decode(made, min_side=0).shape == decode(data, min_side=0).shape == (64, 40, 3)


def test_damaged_files_are_refused_without_their_contents():
    whole = sign_jpeg(saved("JPEG"), WHO)
    pages = io.BytesIO()
    PICTURE.save(pages, "TIFF", save_all=True, append_images=[PICTURE])
    for data in (whole[:300], whole[:60], saved("JPEG")[:-2], saved("PNG")[:-20], saved("TIFF")[:-40], b"",
                 b"GIF89a" + WHO.name.encode(), pages.getvalue(), b"II*\0\xff\xff\xff\xff"):  # fmt: skip
        with pytest.raises(DataError) as caught:
            strip(data)
        assert WHO.family not in str(caught.value)


def test_every_cut_of_a_jpeg_is_refused_or_whole():
    data = sign_jpeg(saved("JPEG"), WHO)
    end = data.index(b"\xff\xd9\0trailer") + 2
    for cut in range(2, end, 7):
        with pytest.raises(DataError):
            strip_jpeg(data[:cut])
