"""TVHL, OCT scans of the macula: with or without diabetic macular oedema.

Patients are split by a hash of their number, and alike for the photographs of the same set (`tvhl_fundus`).

Source: the set's own tables. Differs: the column's 0 and 1 become the labels `no_diabetic_macular_oedema` and
    `diabetic_macular_oedema`; there is no domain pack for OCT yet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.exports.card import Card
from tapetum.archive.exports.hashed import hashed_split
from tapetum.archive.exports.tabular import tabular_rows
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables.settings import TableSettings
from tapetum.core.errors import DataError

__all__ = ["tvhl_oct"]

_SALT = "tvhl11"  # fixed for good; of twelve, the first with every grade in every part, before any result
_OEDEMA = {"0": "no_diabetic_macular_oedema", "1": "diabetic_macular_oedema"}

CARD = Card(
    name="TVHL OCT",
    licence="unknown (the authors ask to be cited)",
    source="TVHL: fundus photographs and OCT scans of the same patients, with grades",
    layout={"oct.csv": ("Name", "patient_id", "eye", "DME", "DR"), "oct/": ("JPEG",)},
    counts={"images": 705},
    modality="oct",
)


def tvhl_oct(root: Path) -> Iterator[Row | Refusal | Note]:
    """Rows of the scans, macular oedema as the label.

    Args:
        root: the folder with `oct.csv` and `oct/`.

    Raises:
        DataError: there is no `oct.csv`, or it lacks a column.
    """
    if not (root / "oct.csv").is_file():
        raise DataError(f"{root} has no oct.csv", "a folder with oct.csv and oct/", "tapetum ingest tvhl_oct:PATH")
    settings = TableSettings("image=Name,patient=patient_id,eye=eye,labels=DME", table="oct.csv")
    for row in tabular_rows(root, settings, images="oct"):
        if isinstance(row, Refusal):
            yield row
        elif isinstance(row, Row):
            oedema = _OEDEMA.get(row.labels[0] if row.labels else "")
            if oedema is None:
                yield Refusal(row.file, row.row, "neither 0 nor 1 in the column DME")
            else:
                yield dataclasses.replace(row, labels=(oedema,), split=hashed_split(row.patient_id, _SALT))
        else:
            yield row
