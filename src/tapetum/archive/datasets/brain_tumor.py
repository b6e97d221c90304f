"""Brain tumours in MR images: glioma, meningioma, pituitary tumour or none, with the set's own parts.

The set publishes no patients. Many files are there twice, in both parts, too: equal files are one patient, who stands
where the first of them does, training before test. Near copies across the parts and labels that are doubted stay as
they are, so that `tapetum audit` and `tapetum bench noise` can find them.

Source: Bhuvaji, Kadam, Bhumkar, Dedge, Kanchan, Kaggle 2020 (Brain Tumor Classification (MRI)). Differs: 15 % of the
    training part stands as the validation part, or all images are split anew.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tapetum.archive.exports.alone import each_alone
from tapetum.archive.exports.card import Card
from tapetum.archive.places import IMAGE_SUFFIXES
from tapetum.archive.rows import Note, Row
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Laterality, Split

__all__ = ["brain_tumor"]

_CLASSES = ("glioma_tumor", "meningioma_tumor", "no_tumor", "pituitary_tumor")
_SALT = "brain_tumor"  # fixed for good: another one would move validation images into training

CARD = Card(
    name="Brain tumours, MR",
    licence="MIT (as its catalogue says)",
    source="Bhuvaji et al., Kaggle 2020",
    layout={f"{part}/{name}/": ("JPEG",) for part in ("Training", "Testing") for name in _CLASSES},
    counts={"images": 3264},
    modality="mr",
)


def brain_tumor(root: Path, *, parts: Literal["own", "mixed"] = "own") -> Iterator[Row | Note]:
    """Rows of the images, the inner folder's name as the label, the outer one's as the part.

    Args:
        root: the folder with `Training/` and `Testing/`, each with a folder per class.
        parts: `own` keeps the set's test part; `mixed` splits all images anew by a hash, so that images of both parts
            are learned on and doubted.

    Raises:
        DataError: one of them is missing. UsageError: other parts.
    """
    if parts not in ("own", "mixed"):
        raise UsageError(f"parts={parts!r}", "own or mixed")
    missing = [place for place in CARD.layout if not (root / place).is_dir()]
    if missing:
        raise DataError(f"{root} has no {missing[0]}", "a folder for each class", "tapetum ingest brain_tumor:PATH")
    files = ((place, path.name) for place in CARD.layout for path in sorted((root / place).iterdir()))
    labelled = ((f"{p}{name}", p.split("/")[1]) for p, name in files if Path(name).suffix.lower() in IMAGE_SUFFIXES)
    first: dict[bytes, Row] = {}
    for row in each_alone(root, labelled, salt=_SALT, modality=CARD.modality, side=Laterality.NOT_PAIRED):
        if isinstance(row, Note):
            yield row
            continue
        same = first.setdefault(hashlib.sha256(row.read()).digest(), row)
        yield dataclasses.replace(row, patient_id=same.patient_id, split=_part(same) if parts == "own" else same.split)


def _part(row: Row) -> Split:
    """The set's own test part; what a hash would test of its training part is trained on."""
    if row.file.startswith("Testing/"):
        return Split.TEST
    return Split.VAL if row.split == Split.VAL else Split.TRAIN
