"""The vault: image files by the SHA-256 of their bytes, written once and never changed.

On a local folder here; in an object store (`s3://bucket/prefix`) through `objectvault`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.store import file_digest

_WRITERS = 8
_ID = re.compile(r"[0-9a-f]{64}")


def content_id(data: bytes) -> str:
    """SHA-256 of the bytes, in hexadecimal: an image's id and its address.

    Example:
        >>> content_id(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def address(image_id: str) -> str:
    """Where an image lies below the vault: `ab/abcdef…`.

    Raises:
        ArtefactError: the id is no SHA-256, so it cannot become a file name.
    """
    if not _ID.fullmatch(image_id):
        raise ArtefactError(f"{image_id!r} is no image id", "64 hexadecimal digits")
    return f"{image_id[:2]}/{image_id}"


def is_id(text: str) -> bool:
    """Whether a text is an image id."""
    return _ID.fullmatch(text) is not None


def open_vault(place: str | Path, *, storage_options: Mapping[str, Any] | None = None) -> Vault:
    """The vault in a folder, or in an object store.

    Args:
        place: a folder, `file://…`, or a URL that fsspec knows, such as `s3://bucket/prefix`.
        storage_options: for the store's driver (end point, region). Credentials belong into the environment or
            fsspec's own configuration; they are never kept in an archive.

    Raises:
        UsageError: the URL holds credentials. MissingExtraError: the store's driver is not installed.

    Example:
        >>> open_vault("memory://some-vault").ids()
        ()
    """
    text = str(place)
    scheme, is_url, rest = text.partition("://") if isinstance(place, str) else ("", "", "")
    if not is_url:
        return Vault(Path(place))
    if scheme == "file":
        return Vault(Path(rest))
    if "@" in rest.partition("/")[0]:
        raise UsageError(
            "a vault's address with credentials in it", "s3://BUCKET/PREFIX", "AWS_ACCESS_KEY_ID=… in the environment"
        )
    from tapetum.archive.store.objectvault import ObjectVault

    return ObjectVault(text, storage_options or {})


def archive_vault(archive: Path, settings: Mapping[str, Any]) -> Vault:
    """The vault of an archive: where its setting `vault` says, else its folder `vault`.

    Args:
        archive: the archive's folder.
        settings: its settings, as in `meta.json` and the catalog.
    """
    named = str(settings.get("vault") or "vault")
    return open_vault(named if "://" in named else archive / named)


class Vault:
    """Content-addressed files below one folder: `ab/abcdef…`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def place(self, image_id: str) -> Path:
        """Where an image lies or would lie.

        Raises:
            ArtefactError: the id is no SHA-256, so it cannot become a file name.
        """
        return self.path / address(image_id)

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

    def digest(self, image_id: str) -> str:
        """SHA-256 of the bytes as they are read now, empty where there is no such image."""
        place = self.place(image_id)
        return file_digest(place) if place.is_file() else ""

    def size(self, image_id: str) -> int:
        """Length in bytes, 0 where there is no such image."""
        place = self.place(image_id)
        return place.stat().st_size if place.is_file() else 0

    def remove(self, image_ids: Iterable[str]) -> int:
        """Delete images; those that are gone already are no error. Returns how many were there."""
        removed, folders = 0, set[Path]()
        for image_id in image_ids:
            place = self.place(image_id)
            if place.is_file():
                place.unlink()
                removed += 1
                folders.add(place.parent)
        for folder in sorted(folders):
            _flush_folder(folder)
        return removed

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
        return tuple(sorted(p.name for p in self.path.glob("??/*") if is_id(p.name)))

    def leftovers(self) -> tuple[Path, ...]:
        """Parts of files that a crash left behind."""
        return tuple(sorted(self.path.glob("??/.*.part")))

    def strangers(self) -> tuple[str, ...]:
        """Files that are neither images nor parts of them, by their path below the vault."""
        files = (p.relative_to(self.path) for p in self.path.rglob("*") if p.is_file())
        return tuple(sorted(f.as_posix() for f in files if not _may_lie(f.as_posix())))


def _may_lie(name: str) -> bool:
    file = name.rpartition("/")[2]
    return (is_id(file) and name == address(file)) or (file.startswith(".") and file.endswith(".part"))


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
