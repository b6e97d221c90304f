"""Coverage-guided rubbish for the DICOM reader and decoder and for the other formats: only `DataError` may come out.

Run as a script with a target's name, it is the fuzzer itself: `python test_fuzz_pixels.py dicom CORPUS -runs=1000`.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzzing import fuzz_for_a_while

TARGETS = ("header", "dicom", "pillow")


def seeds(target: str) -> list[bytes]:
    """Small sound files to begin with."""
    from PIL import Image

    if target == "pillow":
        grey = Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))
        found: list[bytes] = []
        for image in (grey, grey.convert("RGB"), grey.convert("P"), grey.convert("1")):
            for form in ("PNG", "TIFF", *(("JPEG",) if image.mode in ("L", "RGB") else ())):
                buffer = io.BytesIO()
                image.save(buffer, form)
                found.append(buffer.getvalue())
        return found
    import pydicom

    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return [p.read_bytes() for p in sorted(folder.glob("*.dcm")) if p.stat().st_size < 8000]


def fuzz(target: str, arguments: list[str]) -> None:
    """Run the fuzzer; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["tapetum.archive"]):
        from tapetum.archive.dicom.file import read_dicom
        from tapetum.archive.pixels import decode_sight
    from tapetum.core.errors import DataError

    def one(data: bytes) -> None:
        try:
            read_dicom(data) if target == "header" else decode_sight(data)
        except DataError:
            return

    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_rubbish_raises_nothing_but_data_errors(target: str, tmp_path: Path) -> None:
    fuzz_for_a_while(__file__, target, seeds(target), tmp_path, longest=8192)


if __name__ == "__main__":
    fuzz(sys.argv[1], sys.argv[2:])
