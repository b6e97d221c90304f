"""What a PACS lists: studies by QIDO-RS or by Orthanc's feed of changes, and the objects of a study.

Servers page differently, ignore filters, or list more than they hold: a listing is read until a page brings nothing
new, and what was asked for is checked again here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from tapetum.archive.dicom.classes import is_document
from tapetum.archive.pacs.source import is_uid
from tapetum.archive.pacs.web import AbsentError, Server
from tapetum.core.errors import DataError, UsageError

PAGE = 200
CHANGES_PAGE = 500
_JSON = "application/dicom+json"
_STUDY, _SERIES, _INSTANCE, _CLASS = "0020000D", "0020000E", "00080018", "00080016"
_DATE, _MODALITIES, _MODALITY, _PATIENT, _COUNT = "00080020", "00080061", "00080060", "00100020", "00201208"


@dataclass(frozen=True)
class Wanted:
    """Which studies are wanted; empty means all.

    Attributes:
        modalities: of series, `("OP", "OPT")`; reports of their studies come with them.
        since, until: study dates as YYYYMMDD, both included. patients: Patient IDs.
    """

    modalities: tuple[str, ...] = ()
    since: str = ""
    until: str = ""
    patients: tuple[str, ...] = ()

    @staticmethod
    def of(modality: str, since: str, until: str, patients: str) -> Wanted:
        """From the reader's options.

        Raises:
            UsageError: no date, or no modality.
        """
        modalities = tuple(part for part in re.split(r"[\s,;\\]+", modality.upper()) if part)
        wrong = next((part for part in modalities if not re.fullmatch(r"[A-Z0-9_ ]{1,16}", part)), None)
        if wrong is not None:
            raise UsageError(f"modality {wrong!r}", "DICOM's codes, for example OP,OPT")
        return Wanted(modalities, _day(since), _day(until), tuple(p for p in re.split(r"[,;\n]+", patients) if p))

    def questions(self) -> Iterator[list[tuple[str, str]]]:
        """QIDO parameters, one set for each patient and modality: lists in one parameter are read differently."""
        days = [("StudyDate", f"{self.since}-{self.until}")] if self.since or self.until else []
        for patient, modality in itertools.product(self.patients or ("",), self.modalities or ("",)):
            chosen = [("PatientID", patient)] if patient else []
            yield [*chosen, *days, *([("ModalitiesInStudy", modality)] if modality else [])]

    def takes(self, study: Study) -> bool:
        """Whether a study is wanted, whatever the server made of the question."""
        if (self.since or self.until) and not (self.since or "0") <= (study.day or "!") <= (self.until or "9"):
            return False
        if self.patients and study.patient_id not in self.patients:
            return False
        return not (self.modalities and study.modalities) or bool(set(self.modalities) & set(study.modalities))


@dataclass(frozen=True)
class Study:
    """A study as listed. `count`: of objects, as the server says, -1 where it does not."""

    uid: str
    day: str = ""
    patient_id: str = ""
    modalities: tuple[str, ...] = ()
    count: int = -1


@dataclass(frozen=True)
class Listed:
    """An object of a study as listed."""

    series: str
    uid: str
    sop_class: str = ""
    modality: str = ""

    @property
    def is_report(self) -> bool:
        """Whether it holds the text of a report."""
        return is_document(self.sop_class)


def studies(server: Server, wanted: Wanted) -> Iterator[Study]:
    """The studies that are wanted, page by page, each once.

    Raises:
        DataError: no DICOMweb server, or none that answers.
    """
    met: set[str] = set()
    for question in wanted.questions():
        for found in _pages(server, "/studies", question, _STUDY):
            study = _study(found)
            if study.uid not in met and wanted.takes(study):
                met.add(study.uid)
                yield study


def study_of(server: Server, uid: str) -> Study | None:
    """One study by its UID, None where it is not there (any more)."""
    for found in _pages(server, "/studies", [("StudyInstanceUID", uid)], _STUDY):
        study = _study(found)
        if study.uid == uid:
            return study
    return None


def objects(server: Server, study: Study, wanted: Wanted) -> tuple[list[Listed], int]:
    """The wanted objects of a study, sorted by UID, and how many are listed in all.

    Raises:
        DataError: the listing cannot be read, or names something that is no UID.
    """
    query = [("includefield", _CLASS), ("includefield", _MODALITY)]
    found = [
        Listed(_one(item, _SERIES), _one(item, _INSTANCE), _one(item, _CLASS), _one(item, _MODALITY))
        for item in _pages(server, f"/studies/{study.uid}/instances", query, _INSTANCE, promised=study.count)
    ]
    if not all(is_uid(item.series) and is_uid(item.uid) for item in found):
        raise DataError("the PACS lists an object whose UID is none", "digits and dots, at most 64")
    chosen = [
        item
        for item in found
        if not wanted.modalities or not item.modality or item.modality in wanted.modalities or item.is_report
    ]
    return sorted(chosen, key=lambda item: item.uid), len(found)


def orthanc_root(server: Server) -> str | None:
    """Where Orthanc's own interface lies, None where this is another PACS."""
    root = server.root.rpartition("/")[0]
    try:
        said = server.json(f"{root}/system")
    except DataError:
        return None
    known = isinstance(said, dict) and "ApiVersion" in said and "DicomAet" in said
    return root if known else None


def last_change(server: Server, root: str) -> int:
    """The number of the newest change."""
    return _page_of_changes(server, f"{root}/changes", [("last", "")])[1]


def changed(server: Server, root: str, since: int) -> Iterator[tuple[list[str], int]]:
    """UIDs of the studies that objects came to, page by page, each page with the number it reaches to.

    Args:
        server: an Orthanc.
        root: of its own interface.
        since: number of the last change that was read.
    """
    while True:
        query = [("since", str(since)), ("limit", str(CHANGES_PAGE))]
        changes, last, done = _page_of_changes(server, f"{root}/changes", query)
        fresh = [str(c.get("ID", "")) for c in changes if c.get("ChangeType") == "NewInstance"]
        if last > since:
            yield list(_studies_of(server, root, fresh)), last
        if done or last <= since:
            return
        since = last


def _page_of_changes(
    server: Server, path: str, query: Sequence[tuple[str, str]]
) -> tuple[list[dict[str, Any]], int, bool]:
    said = server.json(path, query)
    try:
        return [dict(c) for c in said["Changes"]], int(said["Last"]), bool(said["Done"])
    except (TypeError, KeyError, ValueError):
        raise DataError("the PACS's list of changes cannot be read", "Changes, Last and Done") from None


def _studies_of(server: Server, root: str, ids: Sequence[str]) -> Iterator[str]:
    """Studies of objects by Orthanc's ids; the objects of a series that is looked at are known from then on."""
    known: dict[str, str] = {}
    for one in dict.fromkeys(ids):
        if one in known or not re.fullmatch(r"[0-9a-f-]{44}", one):
            continue
        try:
            study = server.json(f"{root}/instances/{one}/study")
            uid = str(study["MainDicomTags"]["StudyInstanceUID"])
            for series in study["Series"]:
                if re.fullmatch(r"[0-9a-f-]{44}", str(series)):
                    known |= dict.fromkeys(map(str, server.json(f"{root}/series/{series}")["Instances"]), uid)
        except AbsentError:
            continue  # deleted since
        except (KeyError, TypeError):
            raise DataError("the PACS describes a study in a way that is not understood", "Orthanc's own") from None
        if uid not in known:
            known[uid] = uid
            yield uid


def _pages(
    server: Server, path: str, query: Sequence[tuple[str, str]], key: str, *, promised: int = -1
) -> Iterator[dict[str, Any]]:
    met: set[str] = set()
    offset = 0
    while True:
        paging = [("limit", str(PAGE)), ("offset", str(offset))]
        page = server.json(server.root + path, [*query, *paging], _JSON)
        if not isinstance(page, list) or not all(isinstance(item, dict) for item in cast(list[Any], page)):
            raise DataError(f"the PACS answers to {path.rpartition('/')[2]} with no list", "QIDO-RS, DICOM JSON")
        items = cast(list[dict[str, Any]], page)
        fresh = [item for item in items if _one(item, key) not in met]
        met.update(_one(item, key) for item in fresh)
        yield from fresh
        # Also where the server knows no paging and says the same again.
        if not fresh or (len(met) == promised and len(items) < PAGE):
            return
        offset += len(items)


def _study(item: dict[str, Any]) -> Study:
    uid = _one(item, _STUDY)
    if not is_uid(uid):
        raise DataError("the PACS lists a study whose UID is none", "digits and dots, at most 64")
    count = _one(item, _COUNT)
    return Study(
        uid, _one(item, _DATE), _one(item, _PATIENT), tuple(_all(item, _MODALITIES)),
        int(count) if count.isdigit() else -1,
    )  # fmt: skip


def _one(item: dict[str, Any], tag: str) -> str:
    return next(iter(_all(item, tag)), "")


def _all(item: dict[str, Any], tag: str) -> list[str]:
    element = item.get(tag)
    values = cast(dict[str, Any], element).get("Value") if isinstance(element, dict) else None
    return [str(value).strip() for value in cast(list[Any], values)] if isinstance(values, list) else []


def _day(text: str) -> str:
    plain = text.replace("-", "")
    if plain and not re.fullmatch(r"(19|20)\d\d(0[1-9]|1[0-2])([0-2]\d|3[01])", plain):
        raise UsageError(f"the date {text!r}", "a day as 2024-01-31")
    return plain
