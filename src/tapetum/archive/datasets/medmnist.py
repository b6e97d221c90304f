"""MedMNIST: small standardised images in one `.npz` of arrays, with the official train and validation parts.

The patients behind the images are not published. Each image stands as a patient of its own, which a note says; the same
picture met twice is the same patient, so that it cannot stand on both sides of a split.

Source: Yang, Shi, Wei, Liu, Zhao, Ke, Pfister, Ni, Scientific Data 2023 (MedMNIST v2). Differs: reads the arrays
    directly, without the `medmnist` package; images go into the vault as PNG; an official test part is taken only if
    the file has one.
"""

from __future__ import annotations

import functools
import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from tapetum.archive.exports.card import Card
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.core.errors import DataError
from tapetum.core.types import Laterality, Split

__all__ = ["medmnist"]

CARD = Card(
    name="MedMNIST",
    licence="CC BY 4.0 (RetinaMNIST, PneumoniaMNIST); CC BY-NC 4.0 (DermaMNIST)",
    source="Yang et al., Scientific Data 2023 (MedMNIST v2)",
    layout={"*.npz": ("train_images", "train_labels", "val_images", "val_labels")},
    counts={
        "retinamnist_train_val.npz": 1200,
        "pneumoniamnist_train_val.npz": 5231,
        "dermamnist_train_val.npz": 8010,
    },
)
_PARTS = {"train": Split.TRAIN, "val": Split.VAL, "test": Split.TEST}
_PAIRED = ("retina", "breast")


def medmnist(root: Path) -> Iterator[Row | Refusal | Note]:
    """Rows of one MedMNIST file: PNG bytes, class or grade number as the label, official parts kept.

    Args:
        root: the `.npz` file, or a folder with exactly one.

    Returns:
        A row per image, in the file's order; no report.

    Raises:
        DataError: no or several files, arrays missing, or images that are not 8-bit.
    """
    files = sorted(root.glob("*.npz")) if root.is_dir() else [root]
    if len(files) != 1:
        raise DataError(f"{root} holds {len(files)} .npz files", "one", "tapetum ingest medmnist:PATH/FILE.npz")
    arrays = _arrays(files[0])
    yield Note(f"{files[0].name}: the patients are not published; each image counts as a patient of its own")
    side = Laterality.UNKNOWN if files[0].name.startswith(_PAIRED) else Laterality.NOT_PAIRED
    first_of: dict[bytes, int] = {}
    number = 0
    for part, split in _PARTS.items():
        if f"{part}_images" not in arrays:
            continue
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        for i, (image, label) in enumerate(zip(images, labels, strict=True)):
            # A repeated picture takes the number of its first appearance: one patient, and a duplicate that is refused.
            patient = first_of.setdefault(image.tobytes(), number)
            texts = tuple(str(int(k)) for k in np.atleast_1d(label)) if label.size == 1 else _several(label)
            yield Row(
                file=f"{part}/{i:05d}.png",
                row=0,
                patient_id=f"image-{patient}",
                read=functools.partial(_png, image),
                laterality=side,
                labels=texts,
                split=split,
            )
            number += 1


def _arrays(file: Path) -> Mapping[str, np.ndarray]:
    try:
        with np.load(file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{file.name} is no .npz of plain arrays: {error}", "a MedMNIST file") from None
    missing = [name for name in CARD.layout["*.npz"] if name not in arrays]
    if missing:
        raise DataError(f"{file.name} has no array {missing[0]!r}", ", ".join(CARD.layout["*.npz"]))
    for part in _PARTS:
        images, labels = arrays.get(f"{part}_images"), arrays.get(f"{part}_labels")
        if images is None or labels is None:
            continue
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
            raise DataError(f"{part}_images is {images.dtype} {images.shape}", "uint8 [n h w] or [n h w 3]")
        if len(images) != len(labels):
            raise DataError(f"{len(images)} {part}_images, {len(labels)} {part}_labels", "one row of labels per image")
    return arrays


def _several(label: np.ndarray) -> tuple[str, ...]:
    """Labels of a file with one column of 0 and 1 per class: the numbers of the classes that are present."""
    return tuple(str(k) for k in np.flatnonzero(label)) or ("none",)


def _png(image: UInt8[np.ndarray, "h w *c"]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()
