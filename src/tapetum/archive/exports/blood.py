"""White blood cells of one device: a folder of images, a table of their numbers and classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.exports.alone import each_alone
from tapetum.archive.exports.card import Card
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables.table import read_table
from tapetum.core.errors import DataError
from tapetum.core.types import Laterality

_CLASSES = {"1": "neutrophil", "2": "lymphocyte", "3": "eosinophil", "4": "monocyte", "5": "basophil"}
_SALT = "wbc"  # fixed for good: another one would move test images into training


def cells(root: Path, card: Card) -> Iterator[Row | Refusal | Note]:
    """Rows of the images that the table numbers, the kind of cell as the label.

    Args:
        root: the folder with the card's table and images.
        card: its layout names a table with the columns of the image's number and of the class 1 to 5, and a folder of
            images named by their number.

    Raises:
        DataError: the table, one of its columns, or the folder is missing.
    """
    table, folder = card.layout
    number, kind = card.layout[table]
    if not (root / table).is_file() or not (root / folder).is_dir():
        raise DataError(f"{root} has no {table} or no {folder}", f"{table} beside {folder}")
    read = read_table(root / table)
    missing = [column for column in (number, kind) if column not in read.columns]
    if missing:
        raise DataError(f"{table} has no column {missing[0]!r}", f"the columns {number!r} and {kind!r}")
    numbered = {path.stem.lstrip("0") or "0": path.name for path in (root / folder).iterdir() if path.stem.isdecimal()}
    for row, texts in read.ragged:
        yield Refusal(table, row, texts)
    found: list[tuple[str, str]] = []
    for row, said in read.rows:
        image, name = said[number].strip(), _CLASSES.get(said[kind].strip(), "")
        if image not in numbered or not name:
            yield Refusal(image, row, f"no image {image!r} in {folder}, or {said[kind]!r} is no class 1 to 5")
        else:
            found.append((f"{folder}{numbered[image]}", name))
    yield from each_alone(root, found, salt=_SALT, modality=card.modality, side=Laterality.NOT_PAIRED)
