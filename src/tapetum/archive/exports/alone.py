"""Images of a set that names no patients: each stands as a patient of its own, which a note says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tapetum.archive.exports.hashed import hashed_split
from tapetum.archive.rows import Note, Row
from tapetum.core.types import Laterality


def each_alone(
    root: Path, labelled: Iterable[tuple[str, str]], *, salt: str, modality: str, side: Laterality
) -> Iterator[Row | Note]:
    """A row per image, with a split that never changes.

    Args:
        root: the export's folder.
        labelled: file below the root and its label.
        salt: see `hashed_split`, of the file's place.
        modality: of all images.
        side: of all images.
    """
    yield Note(f"{root.name}: the patients are not published; each image counts as a patient of its own")
    for file, label in labelled:
        yield Row(
            file=file, row=0, patient_id=file, read=(root / file).read_bytes, laterality=side, modality=modality,
            labels=(label,), split=hashed_split(file, salt),
        )  # fmt: skip
