"""The settings of an ingest, as a recipe or the command line gives them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class IngestConfig:
    """How an export is read.

    Attributes:
        map: which column plays which role, `"patient=pid,image=file,eye=side,report=text"`.
        labels: name of the column with labels (letters, numbers, or several separated by `,` `;` `|`). Of several
            columns, `DME+DR`, the labels are `DME:1`, `DR:2`, and an empty cell leaves that column's unknown.
        label_map: label text → finding, `"D=diabetic_retinopathy,…"`; `"-="` says that `-` means no label.
        pack: domain pack. modality: of images that do not say theirs. name: of the archive; default its folder's.
        fractions: train, validation and test part of the patients. seed: of the split.
        dataset: read the source as this public set. reader: `folder`, `dicom`, `vendor`, `nifti`, `video`, …;
            recognised if empty. header_row: row of the table that names the columns.
        table: file name of the table, if the folder has several. encoding: of the table, recognised if empty.
        date_order: `dmy` or `mdy`, for dates with slashes. report_required: an empty report refuses the row.
        deidentify: `longitudinal` (every date of a patient moved alike) or `basic` (no dates) writes pseudonyms only,
            `none` keeps names and numbers. If empty: `longitudinal` where a key is given or the export tells who its
            patients are (DICOM headers; a table with names, birth dates or phones), else `none`.
        key: file of the key that the pseudonyms follow from, made where there is none; never inside the archive.
        ocr: search every picture for text and blank it (`pip install --no-deps rapidocr-onnxruntime`).
        vault: where the images go, a folder or `s3://BUCKET/PREFIX`; inside the archive if empty.
        verify_pixels: decode every frame at full size, and not only at about 512 pixels, before a file is taken.
        engine: `ray` looks at the files on Ray's workers (extra `ray`); this machine's processors if empty.
    """

    map: str = ""
    labels: str = ""
    label_map: str = ""
    pack: str = ""
    modality: str = ""
    name: str = ""
    fractions: tuple[float, ...] = (0.6, 0.15, 0.25)
    seed: int = 0
    dataset: str = ""
    reader: str = ""
    table: str = ""
    encoding: str = ""
    date_order: str = ""
    report_required: bool = True
    header_row: int = 1
    deidentify: str = ""
    key: str = ""
    ocr: bool = False
    vault: str = ""
    engine: str = ""
    verify_pixels: bool = False
