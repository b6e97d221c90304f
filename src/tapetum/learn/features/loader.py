"""Images for training: decoded once, kept as bytes on disk, changed anew in every epoch.

What an epoch makes of an image follows from seed, epoch and image id alone, so that batches, their order, the number of
workers and a restart in the middle change nothing.
"""

from __future__ import annotations

import ast
import hashlib
import json
import threading
import warnings
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.learn.augment import Augmentation
from tapetum.learn.features.embed import ImageSource, decode_side
from tapetum.learn.features.preprocess import Preprocess

FAMILY = Family("tapetum.learn.augment")
_VERSION = 1  # raise when the same settings would give other bytes


def parse_augmentations(text: str) -> tuple[Spec, ...]:
    """Specs of `"geometric() + photometric(strength=0.3)"`, in the order written; none for an empty text.

    Raises:
        UsageError: the text is no sum of specs.

    Example:
        >>> [str(s) for s in parse_augmentations("geometric + erase(area=0.1)")]
        ['geometric()', 'erase(area=0.1)']
    """
    if not text.strip():
        return ()
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise UsageError(
            f"cannot read the augmentations {text!r}", "specs joined by +", "augment='geometric()'"
        ) from None
    parts: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts.append(node.right)
        node = node.left
    return tuple(Spec.parse(ast.unparse(part)) for part in [node, *reversed(parts)])


def image_rng(seed: int, epoch: int, image_id: str, view: int = 0) -> np.random.Generator:
    """The generator of one image in one epoch; `view` tells two draws of the same image apart."""
    name = int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8])
    return np.random.default_rng((seed, epoch, view, name))


class Loader:
    """Rows of images, by number, as an encoder wants them.

    Args:
        archive: where the pixels come from.
        preprocess: the encoder's.
        image_ids: row number → image.
        augment: specs of `learn/augment` joined by `+`, applied in this order; `""` = none.
        seed: of the augmentation.
        cache: keep the decoded squares below `archive.cache`, 8 bit, one file per preprocessing.
        workers: threads that decode.

    Raises:
        DataError: an id is not in the archive. UsageError: an unknown augmentation or option.
    """

    def __init__(
        self,
        archive: ImageSource,
        preprocess: Preprocess,
        image_ids: Sequence[str],
        *,
        augment: str = "",
        seed: int = 0,
        cache: bool = True,
        workers: int = 2,
    ) -> None:
        self.preprocess = preprocess
        self.image_ids = tuple(image_ids)
        self.seed = seed
        self.workers = workers
        self.augment: tuple[Augmentation, ...] = tuple(FAMILY.build(spec) for spec in parse_augmentations(augment))
        places = {record.image_id: i for i, record in enumerate(archive.records)}
        unknown = [i for i in self.image_ids if i not in places]
        if unknown:
            raise DataError(
                f"{len(unknown)} images are not in the archive, first {unknown[0][:12]}", "ids of its records"
            )
        self._archive = archive
        self._places = places
        self._kept = _Squares(archive.cache / "squares", _key(preprocess, places), len(places), preprocess.size)
        self._cache = cache
        std = torch.tensor(preprocess.std)
        self._scale = (1 / (255 * std))[:, None, None]
        self._shift = (torch.tensor(preprocess.mean) / std)[:, None, None]

    def __call__(self, rows: Int[np.ndarray, "b"], epoch: int = -1, *, view: int = 0) -> Float[Tensor, "b 3 s s"]:
        """The normalised images of these rows.

        Args:
            rows: row numbers.
            epoch: from 0; −1 = without augmentation, as `Preprocess` gives them.
            view: another number gives another draw of the same image in the same epoch.

        Raises:
            DataError: an image cannot be decoded.
        """
        x = torch.from_numpy(self.squares(rows)).permute(0, 3, 1, 2).contiguous().float()
        if epoch >= 0 and self.augment:
            x /= 255
            rngs = [image_rng(self.seed, epoch, self.image_ids[int(row)], view) for row in rows]
            for change in self.augment:
                x = change(x, rngs=rngs)
            x *= 255
        return x.mul_(self._scale).sub_(self._shift)

    def squares(self, rows: Int[np.ndarray, "b"]) -> UInt8[np.ndarray, "b s s 3"]:
        """The 8-bit squares of these rows; what is not yet on disk is decoded and kept."""
        ids = [self.image_ids[int(row)] for row in rows]
        size = self.preprocess.size
        found = np.empty((len(ids), size, size, 3), dtype=np.uint8)
        wanted: dict[str, list[int]] = {}
        for i, image_id in enumerate(ids):
            if not (self._cache and self._kept.read(self._places[image_id], found[i])):
                wanted.setdefault(image_id, []).append(i)
        if wanted:
            # Decoders silence warnings in several threads, and Python 3.11 keeps one list of filters for all of them.
            with warnings.catch_warnings(), ThreadPoolExecutor(max(1, self.workers)) as pool:
                squares = list(pool.map(self._decode, wanted))
            for (image_id, at), square in zip(wanted.items(), squares, strict=True):
                found[at] = square
                if self._cache:
                    self._cache = self._kept.write(self._places[image_id], square)
        return found

    def fill(self, progress: Callable[[int, int], None] | None = None, *, batch: int = 64) -> None:
        """Decode all rows now instead of in the first epoch."""
        for start in range(0, len(self.image_ids), batch):
            rows = np.arange(start, min(start + batch, len(self.image_ids)))
            self.squares(rows)
            if progress:
                progress(int(rows[-1]) + 1, len(self.image_ids))

    def _decode(self, image_id: str) -> UInt8[np.ndarray, "s s 3"]:
        return self.preprocess.resized(self._archive.pixels(image_id, min_side=decode_side(self.preprocess.size)))


class _Squares:
    """One file of equal squares and one of their checksums; several processes may fill it side by side.

    Written through the file, not through the map: a full disk is then an error that can be told, not the end of the
    process. The checksum is written after the square and compared at the first reading, so that a square that was cut
    by a crash is decoded again.
    """

    def __init__(self, folder: Path, key: str, count: int, size: int) -> None:
        self._squares = folder / f"{key}.u8"
        self._sums = folder / f"{key}.crc"
        self._shape = (count, size, size, 3)
        self._bytes = size * size * 3
        self._lock = threading.Lock()
        self._seen = np.zeros(count, dtype=bool)
        self._map: UInt8[np.ndarray, "n s s 3"] | None = None
        self._crc: Int[np.ndarray, "n"] | None = None

    def read(self, place: int, target: UInt8[np.ndarray, "s s 3"]) -> bool:
        """Copy a kept square; False where there is none."""
        squares, sums = self._open()
        if squares is None or sums is None or not sums[place]:
            return False
        target[:] = squares[place]
        if not self._seen[place]:
            if _checksum(target) != int(sums[place]):
                warnings.warn(
                    f"image {place} of {self._squares.name} is damaged and decoded again", RuntimeWarning, stacklevel=4
                )
                return False
            self._seen[place] = True
        return True

    def write(self, place: int, square: UInt8[np.ndarray, "s s 3"]) -> bool:
        """Keep a square; False where the disk takes no more."""
        try:
            with self._lock:
                self._make()
                _put(self._squares, place * self._bytes, square.tobytes())
                _put(self._sums, place * 4, _checksum(square).to_bytes(4, "little"))
        except OSError as error:
            warnings.warn(f"decoded images are not kept on disk: {error}", RuntimeWarning, stacklevel=4)
            return False
        self._seen[place] = True
        return True

    def _open(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        if self._map is None and self._sums.exists():
            self._map = np.memmap(self._squares, dtype=np.uint8, mode="r", shape=self._shape)
            self._crc = np.memmap(self._sums, dtype="<u4", mode="r", shape=self._shape[:1])
        return self._map, self._crc

    def _make(self) -> None:
        """Both files at full length, holes where nothing is kept; the checksums last, since they are looked for."""
        if self._map is not None:
            return
        self._squares.parent.mkdir(parents=True, exist_ok=True)
        for path, length in ((self._squares, self._bytes), (self._sums, 4)):
            with path.open("ab") as stream:
                stream.truncate(self._shape[0] * length)


def _put(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


def _checksum(square: UInt8[np.ndarray, "s s 3"]) -> int:
    """CRC-32, never 0: 0 stands for "not there"."""
    return zlib.crc32(square.tobytes()) or 1


def _key(preprocess: Preprocess, places: dict[str, int]) -> str:
    """What the bytes depend on: the square, not mean and standard deviation; and which image stands where."""
    square = [preprocess.size, preprocess.fit, preprocess.resample, preprocess.view, _VERSION]
    whole = json.dumps([square, list(places)])
    return f"{preprocess.size}-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
