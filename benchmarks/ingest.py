"""Ingest of photographs against a straightforward loop: Pillow decode, SHA-256, resize, one SQLite insert per image.

Both read the same JPEG files from disk; Tapetum besides keeps the files in its vault, flushed, and computes what
duplicates, quality and laterality need. Order alternates; best of two rounds.
`python benchmarks/ingest.py [IMAGES [SIDE]]`
"""

from __future__ import annotations

import csv
import hashlib
import io
import shutil
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tapetum.archive import IngestConfig, ingest
from tapetum.phantom import ClinicConfig, make_clinic


def straightforward(images: list[Path], place: Path) -> float:
    """The loop that is usually written."""
    started = time.perf_counter()
    db = sqlite3.connect(place / "loop.sqlite")
    db.execute("CREATE TABLE images (id TEXT, width INTEGER, height INTEGER, thumb BLOB)")
    for path in images:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            thumb = image.convert("RGB").resize((512, 512))
            row = (hashlib.sha256(data).hexdigest(), *image.size, thumb.tobytes())
        db.execute("INSERT INTO images VALUES (?, ?, ?, ?)", row)
        db.commit()
    db.close()
    return time.perf_counter() - started


def write_export(folder: Path, count: int, side: int) -> list[Path]:
    """Photographs of `side` pixels: eight phantom eyes enlarged, each with its own grain and its own table row."""
    clinic = make_clinic(folder / "clinic", ClinicConfig(patients=4, size=512))
    eyes = [cv2.imread(str(p)) for p in sorted((clinic.path / "images").glob("*.jpg"))]
    large = [cv2.resize(eye, (side, side), interpolation=cv2.INTER_CUBIC) for eye in eyes if eye is not None]
    rng = np.random.default_rng(0)
    grain = rng.integers(0, 10, (side, side, 3), dtype=np.uint8)
    export = folder / "export"
    export.mkdir()
    with (export / "table.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("file", "patient", "report"))
        for n in range(count):
            picture = cv2.add(large[n % len(large)], np.roll(grain, (n * 37) % side, axis=1))
            cv2.imwrite(str(export / f"{n:05d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
            table.writerow((f"{n:05d}.jpg", f"p{n // 2}", "normal fundus"))
    return sorted(export.glob("*.jpg"))


def main(count: int = 2000, side: int = 2000) -> None:
    """Both, twice, the faster round of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = write_export(folder, count, side)
        size = sum(p.stat().st_size for p in images) / 2**20
        print(f"{count} JPEG photographs of {side} x {side}, {size:.0f} MiB")
        ours, theirs = [], []
        for _ in range(2):
            theirs.append(straightforward(images, folder))
            (folder / "loop.sqlite").unlink()
            started = time.perf_counter()
            summary = ingest([folder / "export"], folder / "a.tap", IngestConfig(pack="fundus"))
            ours.append(time.perf_counter() - started)
            assert summary.images == count, summary
            started = time.perf_counter()
            assert ingest([folder / "export"], folder / "a.tap").unchanged == count
            again = time.perf_counter() - started
            shutil.rmtree(folder / "a.tap")
    print(f"straightforward loop  {min(theirs):8.1f} s  {count / min(theirs):6.1f} images/s")
    print(f"tapetum ingest        {min(ours):8.1f} s  {count / min(ours):6.1f} images/s")
    print(f"ratio                 {min(theirs) / min(ours):8.2f} x   (again, nothing new: {again:.1f} s)")


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
