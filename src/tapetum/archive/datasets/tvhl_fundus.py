"""TVHL, colour photographs: grade of diabetic retinopathy of the graded eyes.

Photographs without a grade are refused: nearly all of them have macular oedema and come from another batch, so that a
model told to find the oedema would find the batch. Patients are split by a hash of their number, and alike for the OCT
scans of the same set (`tvhl_oct`), so that a patient stands on one side in both.

Source: the set's own tables. Differs: grades NPDR and PDR become findings of the pack, grade 0 keeps its text `DR 0`.
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

__all__ = ["tvhl_fundus"]

_SALT = "tvhl11"  # fixed for good; of twelve, the first with every grade in every part, before any result
_GRADES = {"0": "DR 0", "NPDR": "NPDR", "PDR": "PDR"}

CARD = Card(
    name="TVHL fundus",
    licence="unknown (the authors ask to be cited)",
    source="TVHL: fundus photographs and OCT scans of the same patients, with grades",
    layout={"fundus.csv": ("Name", "patient_id", "eye", "DME", "DR"), "fundus/": ("JPEG",)},
    counts={"images": 341},
    label_map={"NPDR": "nonproliferative_dr", "PDR": "proliferative_dr"},
    pack="fundus",
    modality="fundus",
)


def tvhl_fundus(root: Path) -> Iterator[Row | Refusal | Note]:
    """Rows of the graded photographs, the grade as the label.

    Args:
        root: the folder with `fundus.csv` and `fundus/`.

    Raises:
        DataError: there is no `fundus.csv`, or it lacks a column.
    """
    if not (root / "fundus.csv").is_file():
        raise DataError(
            f"{root} has no fundus.csv", "a folder with fundus.csv and fundus/", "tapetum ingest tvhl_fundus:PATH"
        )
    settings = TableSettings("image=Name,patient=patient_id,eye=eye,labels=DR", table="fundus.csv")
    for row in tabular_rows(root, settings, images="fundus"):
        if isinstance(row, Refusal):
            yield row
        elif isinstance(row, Row):
            grade = _GRADES.get(row.labels[0] if row.labels else "")
            if grade is None:
                yield Refusal(row.file, row.row, "no grade of diabetic retinopathy")
            else:
                yield dataclasses.replace(row, labels=(grade,), split=hashed_split(row.patient_id, _SALT))
        else:
            yield row
