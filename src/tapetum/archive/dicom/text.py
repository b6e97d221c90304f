"""The text of a report that comes as a DICOM object: an Encapsulated PDF or a structured report.

The functions here parse untrusted bytes and are meant to run in a child process (`sandbox.apart`).

Source: DICOM PS3.3 A.35 (structured reports), A.45.1 (Encapsulated PDF), PS3.16 CID 29 ff. Differs: observer, language
and acquisition context are left out, since they say nothing of the patient's eye.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

from tapetum.archive.dicom import values
from tapetum.archive.dicom.classes import PDF_CLASS, SR_CLASSES, class_name
from tapetum.archive.dicom.pixels import read_dicom
from tapetum.core.errors import DataError

MAX_PAGES = 100
MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 64
# DCM codes of content that describes the document's language, not the patient.
_ABOUT_LANGUAGE = frozenset({"121045", "121046", "121047", "121048", "121049"})


def document_text(data: bytes) -> str:
    """The text of a DICOM report object.

    Args:
        data: the whole file.

    Raises:
        DataError: no report object, a damaged or encrypted document, or one without text (a scan).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds = read_dicom(data)
        uid = values.text(ds, "SOPClassUID")
        if uid == PDF_CLASS:
            pdf = values.value_of(ds, "EncapsulatedDocument")
            found = pdf_text(pdf if isinstance(pdf, bytes) else b"")
        elif uid in SR_CLASSES:
            found = structured_text(ds)
        else:
            raise DataError(f"no report ({class_name(uid)})", "an Encapsulated PDF or a structured report")
    if not found.strip():
        raise DataError("the document holds no text", "a report as text (a scanned page is a picture)")
    return found


def pdf_text(data: bytes) -> str:
    """The text of a PDF, page by page, at most 100 pages; `""` for a scan.

    Raises:
        DataError: it does not open, or needs a password.
    """
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it reports each repair of a broken file
    # The value of a DICOM element has even length: a NUL may follow the document.
    try:
        reader = PdfReader(io.BytesIO(data.rstrip(b"\0")))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError("the PDF needs a password", "a PDF that opens")
        pages: list[str] = []
        for number, page in enumerate(reader.pages):
            if number >= MAX_PAGES or sum(map(len, pages)) > MAX_CHARACTERS:
                raise DataError(f"a PDF of more than {MAX_PAGES} pages or {MAX_CHARACTERS:,} characters", "a report")
            pages.append(_clean(page.extract_text()))
    except (PyPdfError, *values.HEADER_ERRORS) as error:
        raise DataError(f"the PDF does not open: {error}", "a whole, undamaged PDF") from None
    return "\n\n".join(page for page in pages if page)


def structured_text(ds: Any) -> str:
    """Headings, texts, codes and numbers of a structured report's content tree, one line each.

    Raises:
        DataError: a tree deeper than 64 levels.
    """
    lines: list[str] = []
    title = _meaning(ds, "ConceptNameCodeSequence")
    if title:
        lines.append(title)
    size = 0
    for line in _lines(ds, 0):
        lines.append(line)
        size += len(line)
        if size > MAX_CHARACTERS:
            raise DataError(f"a structured report of more than {MAX_CHARACTERS:,} characters", "a report")
    # A title alone says nothing.
    return "\n".join(lines) if size else ""


def _lines(ds: Any, depth: int) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise DataError(f"a structured report nested more than {MAX_DEPTH} deep", "a report")
    for item in values.items(ds, "ContentSequence"):
        if values.text(item, "RelationshipType") in ("HAS OBS CONTEXT", "HAS ACQ CONTEXT"):
            continue
        if _code_value(item) in _ABOUT_LANGUAGE:
            continue
        name, kind = _meaning(item, "ConceptNameCodeSequence"), values.text(item, "ValueType")
        if kind == "CONTAINER":
            inside = list(_lines(item, depth + 1))
            if inside:
                yield from ["", name, *inside] if name else inside
            continue
        said = _said(item, kind)
        if said:
            yield f"{name}: {said}" if name else said
        yield from _lines(item, depth + 1)


def _said(item: Any, kind: str) -> str:
    if kind == "TEXT":
        return _clean(values.text(item, "TextValue"))
    if kind == "CODE":
        return _meaning(item, "ConceptCodeSequence")
    if kind == "NUM":
        for measured in values.items(item, "MeasuredValueSequence"):
            unit = _meaning(measured, "MeasurementUnitsCodeSequence", "CodeValue")
            return f"{values.text(measured, 'NumericValue')} {unit if unit != '1' else ''}".strip()
    return ""


def _meaning(item: Any, name: str, part: str = "CodeMeaning") -> str:
    return next((_clean(values.text(code, part)) for code in values.items(item, name)), "")


def _code_value(item: Any) -> str:
    return next((values.text(code, "CodeValue") for code in values.items(item, "ConceptNameCodeSequence")), "")


def _clean(text: str) -> str:
    """Line ends of one kind, no control characters, no run of blanks."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    plain = re.sub(r"[^\S\n]+", " ", "".join(c for c in plain if c == "\n" or c.isprintable() or c in " \t\u3000"))
    return "\n".join(line.strip() for line in plain.split("\n")).strip()
