"""BUSI: breast ultrasound, normal or with a benign or malignant mass, and a mask of each mass.

The set publishes no patients, and holds near copies: each image stands as a patient of its own, `tapetum audit` lists
the copies, and tested images that look like learned ones are left out of a benchmark.

Source: Al-Dhabyani, Gomaa, Khaled, Fahmy, Data in Brief 2020. Differs: the masks are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.exports.alone import each_alone
from tapetum.archive.exports.card import Card
from tapetum.archive.places import IMAGE_SUFFIXES
from tapetum.archive.rows import Note, Row
from tapetum.core.errors import DataError
from tapetum.core.types import Laterality

__all__ = ["busi"]

_CLASSES = ("normal", "benign", "malignant")
_SALT = "busi"  # fixed for good: another one would move test images into training

CARD = Card(
    name="BUSI",
    licence="unknown (the authors ask to be cited)",
    source="Al-Dhabyani et al., Data in Brief 2020",
    layout={f"{name}/images/": ("JPEG",) for name in _CLASSES},
    counts={"images": 780},
    modality="ultrasound",
)


def busi(root: Path) -> Iterator[Row | Note]:
    """Rows of the images, the folder's name as the label.

    Args:
        root: the folder with `normal/`, `benign/` and `malignant/`, each with `images/`.

    Raises:
        DataError: one of them is missing.
    """
    missing = [name for name in _CLASSES if not (root / name / "images").is_dir()]
    if missing:
        raise DataError(f"{root} has no {missing[0]}/images/", "a folder for each class", "tapetum ingest busi:PATH")
    files = ((path, name) for name in _CLASSES for path in sorted((root / name / "images").iterdir()))
    labelled = ((f"{n}/images/{p.name}", n) for p, n in files if p.suffix.lower() in IMAGE_SUFFIXES)
    yield from each_alone(root, labelled, salt=_SALT, modality=CARD.modality, side=Laterality.UNKNOWN)
