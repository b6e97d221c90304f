"""What a reader hands over: one row per image of an export, or the reason why a row was refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tapetum.core.errors import DataError
from tapetum.core.types import UNKNOWN, Laterality, Split

# In the provenance of a patient id that a table may replace.
INTERNAL = "internal number"
# In the provenance of labels that came from several columns and so are written `COLUMN:TEXT`.
SEVERAL_COLUMNS = "columns "


@dataclass(frozen=True)
class Row:
    """One image of an export with what the export says of it.

    Attributes:
        file: the image's place inside the export, relative, with forward slashes; `#…` follows where one file holds
            several images (`scan.e2e#2`).
        row: row of the table as a spreadsheet counts it (the header is row 1); 0 where there is no table.
        read: returns the file's bytes; called once, when the image is taken in.
        split: the part the export itself assigns, `Split.NONE` where it assigns none.
        frames: of a volume, a video or a multi-frame object. device: maker and model of the camera.
        provenance: field → where its value came from, `{"laterality": "DICOM ImageLaterality"}`.
        identifiers: who the patient is, as the export says (`name`, `birth_date`, `accession`, `phone`, `address`,
            `other_id`, `physician`, `institution`; further values under `name_2`, …). For scrubbing only, never stored.
        notes: what was understood with a remark, for example an age that is no number.
    """

    file: str
    row: int
    patient_id: str
    read: Callable[[], bytes]
    visit_id: str = UNKNOWN
    laterality: Laterality = Laterality.UNKNOWN
    modality: str = UNKNOWN
    mm_per_pixel: float = math.nan
    age_years: float = math.nan
    sex: str = UNKNOWN
    captured: str = UNKNOWN
    report: str = ""
    labels: tuple[str, ...] = ()
    split: Split = Split.NONE
    notes: tuple[str, ...] = ()
    frames: int = 1
    device: str = UNKNOWN
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])
    identifiers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Refusal:
    """A row or file that was not taken, and why; kept in the archive's quarantine."""

    file: str
    row: int
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}, row {self.row}" if self.row else self.file
        return f"{place}: {self.reason}"


@dataclass(frozen=True)
class Note:
    """A remark for the person at the screen: nothing was refused."""

    text: str


def one_line(error: DataError) -> str:
    """What was found and expected, on one line of the quarantine."""
    return f"{error.found} (expected: {error.expected})" if error.expected else error.found
