"""The vault: image files by the SHA-256 of their bytes, written once and never changed."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tapetum.core.errors import ArtefactError

_WRITERS = 8
_ID = re.compile(r"[0-9a-f]{64}")


def content_id(data: bytes) -> str:
    """SHA-256 of the bytes, in hexadecimal: an image's id and its address.

    Example:
        >>> content_id(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


class Vault:
    """Content-addressed files below one folder: `ab/abcdef…`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, image_id: str) -> Path:
        """Where an image lies or would lie.

        Raises:
            ArtefactError: the id is no SHA-256, so it cannot become a file name.
        """
        if not _ID.fullmatch(image_id):
            raise ArtefactError(f"{image_id!r} is no image id", "64 hexadecimal digits")
        return self.path / image_id[:2] / image_id

    def __contains__(self, image_id: str) -> bool:
        return self.place(image_id).is_file()

    def read(self, image_id: str) -> bytes:
        """The bytes of an image.

        Raises:
            ArtefactError: the vault has no such image.
        """
        try:
            return self.place(image_id).read_bytes()
        except FileNotFoundError:
            raise ArtefactError(f"image {image_id[:12]} is not in the vault", "", "tapetum verify ARCHIVE") from None

    def put(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Write images and flush them to disk, files first and then their folders; those already there are left alone.

        Raises:
            OSError: the disk is full or cannot be written; what was written whole stays.
        """
        folders: set[Path] = set()
        missing: dict[Path, bytes] = {}
        for image_id, data in items:
            place = self.place(image_id)
            if place.is_file() and place.stat().st_size == len(data):
                continue
            if not place.parent.is_dir():
                place.parent.mkdir(parents=True, exist_ok=True)
                folders.add(self.path)
            missing[place] = data
            folders.add(place.parent)
        # Flushing waits for the disk, not for the processor: side by side, the file system flushes many at once.
        with ThreadPoolExecutor(_WRITERS) as writers:
            for done in [writers.submit(_write, place, data) for place, data in missing.items()]:
                done.result()
        for folder in sorted(folders):
            _flush_folder(folder)

    def ids(self) -> tuple[str, ...]:
        """Ids of all images in the vault, sorted."""
        return tuple(sorted(p.name for p in self.path.glob("??/*") if _ID.fullmatch(p.name)))

    def leftovers(self) -> tuple[Path, ...]:
        """Parts of files that a crash left behind."""
        return tuple(sorted(self.path.glob("??/.*.part")))


def _write(place: Path, data: bytes) -> None:
    part = place.with_name(f".{place.name}.part")  # one writer at a time: the catalog's lock sees to it
    try:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(place)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _flush_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
