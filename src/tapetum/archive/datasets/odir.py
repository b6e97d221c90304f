"""ODIR-5K: colour photographs of both eyes, with the doctors' diagnostic keywords and one letter per eye.

File names carry age, sex and label. They are kept as `source`, for people; nothing reads them as a feature.
The set comes without a split. Patients get one here by a hash of their number, so that results can be compared between
sites and versions, and so that settings chosen on the train and val patients have never seen the test patients.

Source: Peking University International Competition on Ocular Disease Intelligent Recognition (ODIR-2019). Differs:
    read from a table with one row per eye (`pairs.csv`), not from the competition's spreadsheet with one row per
    patient.
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

__all__ = ["odir"]

_SALT = "s7"  # fixed for good: another one would move test patients into training

CARD = Card(
    name="ODIR-5K",
    licence="CC BY-SA 4.0 (as stated by a catalogue)",
    source="ODIR-2019, Peking University International Competition on Ocular Disease Intelligent Recognition",
    layout={
        "pairs.csv": ("file", "patient_id", "eye", "age", "sex", "keywords", "label"),
        "images/": ("JPEG",),
    },
    counts={"images": 4023, "patients": 2107},
    label_map={
        "N": "normal_fundus",
        "D": "diabetic_retinopathy",
        "G": "glaucoma",
        "C": "cataract",
        "A": "age_related_macular_degeneration",
        "H": "hypertensive_retinopathy",
        "M": "pathological_myopia",
    },
    pack="fundus",
    modality="fundus",
)


def odir(root: Path) -> Iterator[Row | Refusal | Note]:
    """Rows of ODIR: keywords as the report, the letter as the label (`O`, other disease, stays `O`).

    Args:
        root: the folder with `pairs.csv` and `images/`.

    Raises:
        DataError: there is no `pairs.csv`, or it lacks a column.
    """
    if not (root / "pairs.csv").is_file():
        raise DataError(f"{root} has no pairs.csv", "a folder with pairs.csv and images/", "tapetum ingest odir:PATH")
    columns = "image=file,patient=patient_id,eye=eye,age=age,sex=sex,report=keywords,labels=label"
    settings = TableSettings(columns, table="pairs.csv", encoding="utf-8-sig")
    for row in tabular_rows(root, settings):
        yield dataclasses.replace(row, split=hashed_split(row.patient_id, _SALT)) if isinstance(row, Row) else row
