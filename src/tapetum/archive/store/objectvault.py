"""The vault in an object store, through fsspec: whole objects, each looked at again after its upload."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from tapetum.archive.store.vault import Vault, address, is_id
from tapetum.core.errors import ArtefactError, MissingExtraError, TapetumError

_CONNECTIONS = 8


class ObjectVault(Vault):
    """Content-addressed objects below one URL: `s3://bucket/prefix/ab/abcdef…`.

    An object store shows an object whole or not at all, so there are no parts and nothing to flush: an image counts as
    stored once the store has answered with its length and a checksum that fits.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any]) -> None:
        try:
            from fsspec.core import url_to_fs

            self._fs, root = url_to_fs(url, **{"use_listings_cache": False, **storage_options})
        except ImportError as error:
            raise MissingExtraError(
                f"a vault at {url} needs a driver: {error}", "fsspec and s3fs", "pip install 'tapetum[s3]'"
            ) from None
        except ValueError as error:
            raise ArtefactError(f"no vault can be at {url}: {error}", "s3://BUCKET/PREFIX") from None
        self.url = url
        self._root = str(root).rstrip("/")

    def __str__(self) -> str:
        return self.url

    def place(self, image_id: str) -> NoReturn:
        """There is no local file.

        Raises:
            ArtefactError: always; `read` gives the bytes.
        """
        raise ArtefactError(f"image {image_id[:12]} lies in {self.url}, not in a local file", "", "")

    def __contains__(self, image_id: str) -> bool:
        return self._info(image_id) is not None

    def read(self, image_id: str) -> bytes:
        """The bytes of an image.

        Raises:
            ArtefactError: the vault has no such image, or does not answer.
        """
        with self._answering():
            try:
                return self._fs.cat_file(self._key(image_id))
            except FileNotFoundError:
                raise ArtefactError(
                    f"image {image_id[:12]} is not in the vault {self.url}", "", "tapetum verify ARCHIVE"
                ) from None

    def digest(self, image_id: str) -> str:
        """SHA-256 of the bytes as they are read now, empty where there is no such image."""
        return hashlib.sha256(self.read(image_id)).hexdigest() if image_id in self else ""

    def size(self, image_id: str) -> int:
        """Length in bytes, 0 where there is no such image."""
        info = self._info(image_id)
        return 0 if info is None else int(info["size"])

    def remove(self, image_ids: Iterable[str]) -> int:
        """Delete images; those that are gone already are no error. Returns how many were there."""
        there = [image_id for image_id in image_ids if image_id in self]
        with self._answering():
            for image_id in there:
                self._fs.rm_file(self._key(image_id))
        return len(there)

    def put(self, items: Iterable[tuple[str, bytes]]) -> None:
        """Upload images and check what arrived; those already there are left alone.

        Raises:
            ArtefactError: the store does not answer, or holds other bytes than were sent; what arrived whole stays.
        """
        missing = dict(items)
        with ThreadPoolExecutor(_CONNECTIONS) as connections:
            for done in [connections.submit(self._put, image_id, data) for image_id, data in missing.items()]:
                done.result()

    def ids(self) -> tuple[str, ...]:
        """Ids of all images in the vault, sorted."""
        return tuple(sorted(name.rpartition("/")[2] for name in self._names() if is_id(name.rpartition("/")[2])))

    def leftovers(self) -> tuple[Path, ...]:
        """Nothing: an upload that was cut off leaves no object."""
        return ()

    def strangers(self) -> tuple[str, ...]:
        """Objects that are no images, by their path below the vault."""
        names = (name.removeprefix(self._root).lstrip("/") for name in self._names())
        return tuple(sorted(n for n in names if not is_id(n[3:]) or n != address(n[3:])))

    def _put(self, image_id: str, data: bytes) -> None:
        info = self._info(image_id)
        if info is not None and int(info["size"]) == len(data):
            return
        with self._answering():
            self._fs.pipe_file(self._key(image_id), data)
        info = self._info(image_id)
        if info is None or int(info["size"]) != len(data) or not self._arrived(image_id, data, info):
            with contextlib.suppress(Exception):
                self._fs.rm_file(self._key(image_id))
            raise ArtefactError(
                f"image {image_id[:12]} did not arrive whole in {self.url}", "the bytes that were sent", "run it again"
            )

    def _arrived(self, image_id: str, data: bytes, info: Mapping[str, Any]) -> bool:
        """Whether the checksum fits; where that is no MD5 (several parts, encrypted), the object is read back."""
        etag = str(info.get("ETag", "")).strip('"')
        if etag == hashlib.md5(data, usedforsecurity=False).hexdigest():
            return True
        return self.digest(image_id) == image_id

    def _info(self, image_id: str) -> dict[str, Any] | None:
        with self._answering():
            try:
                return self._fs.info(self._key(image_id))
            except FileNotFoundError:
                return None

    def _names(self) -> list[str]:
        with self._answering():
            try:
                return list(self._fs.find(self._root))
            except FileNotFoundError:
                return []

    def _key(self, image_id: str) -> str:
        return f"{self._root}/{address(image_id)}"

    @contextlib.contextmanager
    def _answering(self) -> Generator[None, None, None]:
        """Whatever a driver raises becomes one error: drivers share no base class, and no image is at fault."""
        try:
            yield
        except (TapetumError, FileNotFoundError):
            raise
        except Exception as error:
            raise ArtefactError(
                f"the vault {self.url} does not answer: {type(error).__name__}: {error}",
                "a store that can be reached, with credentials in the environment",
                "mend that and run the same again",
            ) from error
