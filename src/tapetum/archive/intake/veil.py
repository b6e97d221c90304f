"""What may be written down of an export: everything as it stands, or nothing but pseudonyms.

One object decides it for the whole ingest, so that records, quarantine, remarks on the screen and the command line
kept in `meta.json` cannot disagree. What a pseudonym stands for is kept beside it, sealed with the key.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tapetum.archive.intake.resolve import ORIGIN
from tapetum.archive.intake.sight import VERSION, Cleaning
from tapetum.archive.rows import Row
from tapetum.archive.store.catalog import Identity
from tapetum.core.types import UNKNOWN

if TYPE_CHECKING:
    from tapetum.archive.deidentify import Key, Pseudonyms

# Above this age a year of birth tells who somebody is: 90 stands for "90 or older".
OLDEST_TOLD = 90.0
HIDDEN = "[…]"
# Raised whenever the same file is pseudonymised to other bytes: files are then read again.
CLEANING_VERSION = 3
OBJECT = "object"  # kind of identity: what UIDs and numbers in a stored DICOM object stand for
_UID = re.compile(r"[0-2](?:\.\d+)+")
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_TELLING = re.compile(r"\b\d{4}[-./]\d{1,2}[-./]\d{1,2}\b|\b\d{1,2}[-./]\d{1,2}[-./]\d{2,4}\b|\b\w*\d{5,}\w*\b")
_FRAGMENT = re.compile(r"#[\w.=]{1,24}")
_SUFFIX = re.compile(r"(?:\.nii)?\.[A-Za-z0-9]{1,5}")


@dataclasses.dataclass(frozen=True)
class Written:
    """A row as it may be written down, with what its pseudonyms stand for.

    Attributes:
        more: what the statement keeps beside the record's fields.
    """

    file: str
    row: Row
    identities: tuple[Identity, ...] = ()
    more: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])


@dataclasses.dataclass(frozen=True)
class Origin:
    """What the pseudonyms of one statement follow from: kept sealed, so that another key can take its place.

    Attributes:
        report: as exported, None where nothing in it had to be replaced.
        known: of the patient's identifiers only those that stand in the report.
    """

    file: str
    patient_id: str
    visit_id: str
    captured: str
    report: str | None
    known: Mapping[str, str]

    def text(self) -> str:
        """As one line, the same for the same origin."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False)


@dataclasses.dataclass(frozen=True)
class Hidden:
    """The pseudonyms of one origin; `report` is None where the text stays as it is."""

    file: str
    patient_id: str
    visit_id: str
    captured: str
    report: str | None
    origin: str
    identities: tuple[Identity, ...]


class OpenVeil:
    """Nothing is hidden: public sets, the phantom, and archives whose keeper asked for it."""

    hides = False
    key_file = ""

    def file(self, file: str) -> str:
        """The file's name as written."""
        return file

    def source_digest(self, data: bytes) -> str:
        """What tells that a file was taken before: the digest of its bytes."""
        return hashlib.sha256(data).hexdigest()

    def cleaning(self, row: Row, *, modality: str, ocr: bool) -> Cleaning | None:
        """Files stay as they are."""
        del row, modality, ocr

    def write(self, row: Row) -> Written:
        """The row as it is."""
        return Written(row.file, row)

    def patient(self, patient_id: str) -> str:
        """The patient's number as given."""
        return patient_id

    def sealed(
        self, file: str, reasons: Iterable[str] = (), patients: Iterable[str] = ()
    ) -> tuple[Identity, ...]:  # fmt: skip
        """Nothing is hidden, so nothing is sealed."""
        del file, reasons, patients
        return ()

    def object(self, image_id: str, replaced: Mapping[str, str]) -> tuple[Identity, ...]:
        """Nothing was replaced."""
        del image_id, replaced
        return ()

    def remark(self, text: str, known: Iterable[str] = ()) -> str:
        """The remark as it is."""
        del known
        return text

    def command(self, line: str) -> str:
        """The command line as typed."""
        return line


class Veil(OpenVeil):
    """Nothing is written but pseudonyms.

    Args:
        key: the secret. profile: `longitudinal` or `basic`.
    """

    hides = True

    def __init__(self, key: Key, profile: str) -> None:
        from tapetum.archive.deidentify import Pseudonyms

        self.names: Pseudonyms = Pseudonyms(key, profile)
        self._secret = key.secret
        self.key_file = str(key.path or "")
        self._scrub = lru_cache(maxsize=256)(self._scrubbed)

    def file(self, file: str) -> str:
        """A token that keeps the ending, and which of several images in the file it is."""
        path, _, _ = file.partition("#")
        fragment = file[len(path) :]
        suffix = PurePosixPath(path).suffix
        ending = suffix if _SUFFIX.fullmatch(suffix) else ""
        kept = fragment if _FRAGMENT.fullmatch(fragment) else ""
        return self.names.token(file or "no name", "file") + ending.lower() + kept

    def source_digest(self, data: bytes) -> str:
        """A keyed digest: it says that a file was seen and not what it was."""
        return f"{CLEANING_VERSION}.{VERSION}.{self.names.profile}.{self.names.digest(data)}"

    def cleaning(self, row: Row, *, modality: str, ocr: bool) -> Cleaning | None:
        """How the child is to pseudonymise the row's file."""
        return Cleaning(self._secret, self.names.profile, row.patient_id, dict(row.identifiers), modality, ocr)

    def write(self, row: Row) -> Written:
        """The row under its pseudonyms: patient, visit, dates, report, file."""
        patient, identifiers = row.patient_id, tuple(sorted(row.identifiers.items()))
        report, known = self._scrub(row.report, patient, identifiers) if row.report else ("", {})
        origin = Origin(
            row.file, patient, row.visit_id, row.captured, None if report == row.report else row.report, known
        )
        hidden = self.hide(origin)
        age = row.age_years if math.isnan(row.age_years) else min(row.age_years, OLDEST_TOLD)
        told = (patient, *row.identifiers.values(), row.file)
        written = dataclasses.replace(
            row, file=hidden.file, patient_id=hidden.patient_id, visit_id=hidden.visit_id, captured=hidden.captured,
            report=report, age_years=age, notes=tuple(self.remark(note, told) for note in row.notes), identifiers={},
            labels=tuple(_unnamed(label, told) for label in row.labels),
        )  # fmt: skip
        return Written(hidden.file, written, hidden.identities, {ORIGIN: hidden.origin})

    def hide(self, origin: Origin) -> Hidden:
        """The pseudonyms of an origin, and what they stand for, sealed."""
        names, patient = self.names, origin.patient_id
        file, hidden, visit = self.file(origin.file), names.patient(patient), origin.visit_id
        stands = [("patient", hidden, patient), ("file", file, origin.file)]
        if visit != UNKNOWN:
            visit = names.uid(visit) if _UID.fullmatch(visit) else names.token(visit, "visit")
            stands.append(("visit", visit, origin.visit_id))
        captured = names.date(origin.captured, patient) if origin.captured != UNKNOWN else UNKNOWN
        report = origin.report
        if report is not None:
            report, _ = self._scrub(report, patient, tuple(sorted(origin.known.items())))
        token = names.token(origin.text(), ORIGIN)
        stands.append((ORIGIN, token, origin.text()))
        identities = tuple(Identity(kind, pseudonym, names.seal(text)) for kind, pseudonym, text in stands)
        return Hidden(file, hidden, visit, captured, report, token, identities)

    def origin(self, sealed: bytes) -> Origin:
        """A sealed origin, opened.

        Raises:
            ArtefactError: it was sealed with another key.
        """
        return Origin(**json.loads(self.names.unseal(sealed)))

    def patient(self, patient_id: str) -> str:
        """The patient's pseudonym."""
        return self.names.patient(patient_id)

    def sealed(
        self, file: str, reasons: Iterable[str] = (), patients: Iterable[str] = ()
    ) -> tuple[Identity, ...]:  # fmt: skip
        """A file's name, whose it is and, word by word, why it was refused: under pseudonyms, for who has the key."""
        names, token, told = self.names, self.file(file), "; ".join(reasons)
        stands = [("file", token, file), *(("patient", names.patient(p), p) for p in patients)]
        if told:
            stands.append(("reason", token, told))
        return tuple(Identity(kind, pseudonym, names.seal(text)) for kind, pseudonym, text in stands)

    def object(self, image_id: str, replaced: Mapping[str, str]) -> tuple[Identity, ...]:
        """What the UIDs and numbers in a stored object stand for, under the image's id."""
        text = json.dumps(dict(replaced), sort_keys=True, ensure_ascii=False)
        return (Identity(OBJECT, image_id, self.names.seal(text)),) if replaced else ()

    def remark(self, text: str, known: Iterable[str] = ()) -> str:
        """A sentence without quotations, long numbers, dates and what is known of the patient."""
        return _unnamed(_QUOTED.sub(HIDDEN, text), known)

    def command(self, line: str) -> str:
        """The verb alone: paths of an export name people."""
        return " ".join(line.split()[:2])

    def _scrubbed(
        self, text: str, patient: str, identifiers: tuple[tuple[str, str], ...]
    ) -> tuple[str, dict[str, str]]:
        """The text without identifiers, and those of the given ones that stand in it."""
        from tapetum.archive.deidentify import scrub

        given = dict(identifiers)
        done = scrub(text, identifiers=given, patient_id=patient, pseudonyms=self.names)
        # Parts of an address are joined, and a birth date settles the order of day and month in another date.
        met, kinds = {span.known for span in done.spans}, {span.kind for span in done.spans if span.known}
        more = tuple(key for kind, key in (("ADDRESS", "address"), ("DATE", "birth_date")) if kind in kinds)
        met |= {key for key in given if more and key.startswith(more)}
        return done.text, {key: value for key, value in given.items() if key in met}


def _unnamed(text: str, known: Iterable[str]) -> str:
    """A text without long numbers, dates and what is known of the patient."""
    for value in sorted({v for name in known for v in _forms(name)}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", HIDDEN, text, flags=re.IGNORECASE)
    return _TELLING.sub(HIDDEN, text)


def _forms(name: Any) -> Iterable[str]:
    """A name whole, and the parts of it that are long enough to tell somebody."""
    text = str(name)
    yield from (part for part in (text, *re.split(r"[\s^=,;/\\_.#-]+", text)) if len(part.strip()) > 2)
